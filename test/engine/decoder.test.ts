import { expect, test } from "vitest";
import { Reg } from "../../src/engine/cpu-state.ts";
import { decodeInstruction, Instruction, isHighByte, registerOperand } from "../../src/engine/decoder.ts";
import { effectiveAddress } from "../../src/engine/effective-address.ts";
import { CODE_VA, TinyGuest } from "./tiny-guest.ts";

function decoded(bytes: readonly number[]): Instruction {
  const insn = decodeInstruction(Uint8Array.from(bytes));
  if (!(insn instanceof Instruction)) throw new Error(insn);
  return insn;
}

const forms: [string, readonly number[], string, number, number][] = [
  ["mov [rdi], rax", [0x48, 0x89, 0x07], "mov", 8, 3],
  ["mov eax, imm32", [0xb8, 1, 2, 3, 4], "mov", 4, 5],
  ["mov rax, imm64", [0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8], "mov", 8, 10],
  ["xchg [rdx], rcx", [0x48, 0x87, 0x0a], "xchg", 8, 3],
  ["lock cmpxchg [rdx], rcx", [0xf0, 0x48, 0x0f, 0xb1, 0x0a], "cmpxchg", 8, 5],
  ["lock and qword [rsi], imm8", [0xf0, 0x48, 0x83, 0x26, 0xfd], "and", 8, 5],
  ["a REX prefix before another prefix counts for nothing", [0x48, 0x66, 0x89, 0x07], "mov", 2, 4],
  ["push is 64 bits wide by itself", [0x50], "push", 8, 1],
  ["movabs from an absolute address", [0x48, 0xa1, 1, 2, 3, 4, 5, 6, 7, 8], "mov", 8, 10],
  ["pause", [0xf3, 0x90], "nop1", 8, 2],
  ["xchg r8, rax is no nop", [0x49, 0x90], "xchg", 8, 2],
  ["mov rbx, cr0 whatever ModRM.mod says", [0x0f, 0x20, 0x43], "movfromcr", 8, 3],
  ["mov dr7, rsp too, where memory would have a SIB byte", [0x0f, 0x23, 0x3c], "movtodr", 8, 3],
  ["a near jump of 16 bits has 16 bits of distance", [0x66, 0xe9, 1, 2], "jmp", 2, 4],
  ["REX.W makes it one of 64 bits again", [0x66, 0x48, 0xe9, 1, 2, 3, 4], "jmp", 8, 7],
  ["a far pointer has no 64-bit offset", [0x48, 0x0f, 0xb4, 0x07], "lfs", 4, 4],
  ["enter has two immediates", [0xc8, 0x10, 0x00, 0x02], "enter", 8, 4],
];
test.each(forms)("%s", (_name, bytes, mnemonic, size, length) => {
  const insn = decoded(bytes);
  expect([insn.row.name, insn.size, insn.length]).toEqual([mnemonic, size, length]);
});

const refusals: [string, readonly number[], string][] = [
  ["no bytes", [], "truncated"],
  ["half an immediate", [0xb8, 1, 2], "truncated"],
  ["a prefix too many", [...Array(15).fill(0x66), 0x90], "too long"],
  ["lock on a register", [0xf0, 0x01, 0xc0], "undefined"],
  ["lock on a load", [0xf0, 0x8b, 0x07], "undefined"],
  ["an AVX instruction", [0xc5, 0xf8, 0x58, 0xc1], "undefined"],
  ["push es", [0x06], "undefined"],
  ["popcnt, which is not offered", [0xf3, 0x0f, 0xb8, 0xc0], "undefined"],
];
test.each(refusals)("%s is refused", (_name, bytes, why) => {
  expect(decodeInstruction(Uint8Array.from(bytes))).toBe(why);
});

test("immediates are extended to the operand size and no further", () => {
  expect([decoded([0x83, 0xc0, 0xff]).immLo, decoded([0x83, 0xc0, 0xff]).immHi]).toEqual([-1, 0]);
  expect([decoded([0x48, 0x83, 0xc0, 0xff]).immLo, decoded([0x48, 0x83, 0xc0, 0xff]).immHi]).toEqual([-1, -1]);
  expect(decoded([0x66, 0x83, 0xc0, 0xff]).immLo).toBe(0xffff);
  expect(decoded([0x04, 0xff]).immLo).toBe(0xff);
});

test("register operands are told by number, high bytes by their REX-less encoding", () => {
  const store = decoded([0x4c, 0x89, 0x0f]);
  expect([registerOperand(store, 0), registerOperand(store, 1)]).toEqual([-1, 9]);
  const high = decoded([0x88, 0x27]);
  expect([registerOperand(high, 1), isHighByte(high, 4)]).toEqual([4, true]);
  expect(isHighByte(decoded([0x40, 0x88, 0x27]), 4)).toBe(false);
  expect(registerOperand(decoded([0x48, 0xa3, 0, 0, 0, 0, 0, 0, 0, 0]), 1)).toBe(0);
});

const addresses: [string, readonly number[], number][] = [
  ["base and displacement", [0x48, 0x89, 0x43, 0x10], 0x500010],
  ["base, index and scale", [0x48, 0x89, 0x44, 0xcb, 0x08], 0x500000 + 8 * 3 + 8],
  ["relative to the next instruction", [0x48, 0x89, 0x05, 0, 1, 0, 0], CODE_VA + 7 + 0x100],
  ["GS", [0x65, 0x48, 0x89, 0x04, 0x25, 8, 0, 0, 0], 0x700008],
  ["cut to 32 bits by the prefix", [0x67, 0x48, 0x89, 0x06], 0xfffff000],
  ["negative, as an exact signed double", [0x48, 0x89, 0x06], -4096],
  ["not canonical", [0x48, 0x89, 0x02], Number.NaN],
];
test.each(addresses)("effective address: %s", (_name, bytes, expected) => {
  const { cpu } = new TinyGuest(1280);
  cpu.setNumber(Reg.rip, CODE_VA);
  cpu.setNumber(Reg.rbx, 0x500000);
  cpu.setNumber(Reg.rcx, 3);
  cpu.setNumber(Reg.rsi, -4096);
  cpu.setBig(Reg.rdx, 1n << 60n);
  cpu.setNumber(Reg.gsBase, 0x700000);
  expect(effectiveAddress(cpu, decoded(bytes))).toBe(expected);
});
