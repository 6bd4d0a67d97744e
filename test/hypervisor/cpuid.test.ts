/** CPUID's features (AMD APM vol. 3, appendix E) and what the processor executes: the one is there exactly when the other is. */
import { describe, expect, test } from "vitest";
import { cpuid } from "../../src/hypervisor/traps/cpuid.ts";
import { BareGuest, CODE, DATA, handlerOf, movImm, STAY } from "./bare-guest.ts";

const [EBX, ECX, EDX] = [1, 2, 3] as const;
/** [rax], where rax is DATA. */
const AT_RAX = 0x00;

/** Runs an instruction with rax at DATA and rcx, rdx 0: whether it went by, without #UD. */
function executes(bytes: readonly number[]): boolean {
  const guest = new BareGuest()
    .handle(6)
    .code(CODE, [...movImm(0, DATA), ...movImm(1, 0), ...movImm(2, 0), ...bytes, ...movImm(3, 77), ...STAY])
    .run(20_000);
  if (guest.rip === handlerOf(6)) return false;
  expect(guest.reg("rbx")).toBe(77);
  return true;
}

const offers = (leaf: number, register: number, bit: number): boolean =>
  ((cpuid(1, 40, leaf, 0)[register]! >>> bit) & 1) === 1;

/** Feature, where CPUID tells of it, and an instruction that is there with it alone. */
const features: readonly (readonly [
  name: string,
  leaf: number,
  register: number,
  bit: number,
  code: readonly number[],
])[] = [
  ["FPU: fninit", 1, EDX, 0, [0xdb, 0xe3]],
  ["TSC: rdtsc", 1, EDX, 4, [0x0f, 0x31]],
  ["CMPXCHG8B", 1, EDX, 8, [0x0f, 0xc7, 0x08]],
  ["SEP: sysexit", 1, EDX, 11, [0x0f, 0x35]],
  ["CMOV", 1, EDX, 15, [0x0f, 0x44, 0xc1]],
  ["CLFSH: clflush", 1, EDX, 19, [0x0f, 0xae, 0x38]],
  ["MMX: paddb", 1, EDX, 23, [0x0f, 0xfc, 0xc1]],
  ["FXSR: fxsave", 1, EDX, 24, [0x0f, 0xae, AT_RAX]],
  ["SSE: addps", 1, EDX, 25, [0x0f, 0x58, 0xc1]],
  ["SSE2: addpd", 1, EDX, 26, [0x66, 0x0f, 0x58, 0xc1]],
  ["SSE3: haddpd", 1, ECX, 0, [0x66, 0x0f, 0x7c, 0xc1]],
  ["PCLMULQDQ", 1, ECX, 1, [0x66, 0x0f, 0x3a, 0x44, 0xc1, 0]],
  ["SSSE3: pshufb", 1, ECX, 9, [0x66, 0x0f, 0x38, 0x00, 0xc1]],
  ["CMPXCHG16B", 1, ECX, 13, [0x48, 0x0f, 0xc7, 0x08]],
  ["SSE4.1: pmulld", 1, ECX, 19, [0x66, 0x0f, 0x38, 0x40, 0xc1]],
  ["SSE4.2: crc32", 1, ECX, 20, [0xf2, 0x0f, 0x38, 0xf1, 0xc1]],
  ["MOVBE", 1, ECX, 22, [0x0f, 0x38, 0xf0, AT_RAX]],
  ["POPCNT", 1, ECX, 23, [0xf3, 0x0f, 0xb8, 0xc1]],
  ["AES: aesenc", 1, ECX, 25, [0x66, 0x0f, 0x38, 0xdc, 0xc1]],
  ["XSAVE: xsave", 1, ECX, 26, [0x0f, 0xae, 0x20]],
  ["OSXSAVE: xgetbv", 1, ECX, 27, [0x0f, 0x01, 0xd0]],
  ["AVX: vaddps", 1, ECX, 28, [0xc5, 0xf8, 0x58, 0xc1]],
  ["RDRAND", 1, ECX, 30, [0x0f, 0xc7, 0xf0]],
  ["FSGSBASE: rdfsbase", 7, EBX, 0, [0xf3, 0x48, 0x0f, 0xae, 0xc0]],
  ["RDSEED", 7, EBX, 18, [0x0f, 0xc7, 0xf8]],
  ["ADX: adcx", 7, EBX, 19, [0x66, 0x0f, 0x38, 0xf6, 0xc1]],
  ["SMAP: clac", 7, EBX, 20, [0x0f, 0x01, 0xca]],
  ["CLFLUSHOPT", 7, EBX, 23, [0x66, 0x0f, 0xae, 0x38]],
  ["CLWB", 7, EBX, 24, [0x66, 0x0f, 0xae, 0x30]],
  ["SHA: sha1msg1", 7, EBX, 29, [0x0f, 0x38, 0xc9, 0xc1]],
  ["RDPID", 7, ECX, 22, [0xf3, 0x0f, 0xc7, 0xf8]],
  ["LahfSahf: lahf", 0x8000_0001, ECX, 0, [0x9f]],
  ["SSE4A: extrq", 0x8000_0001, ECX, 6, [0x66, 0x0f, 0x79, 0xc1]],
  ["RDTSCP", 0x8000_0001, EDX, 27, [0x0f, 0x01, 0xf9]],
  ["3DNow: pfadd", 0x8000_0001, EDX, 31, [0x0f, 0x0f, 0xc1, 0x9e]],
];

describe.each(features)("%s", (_name, leaf, register, bit, code) => {
  const offered = offers(leaf, register, bit);
  test(offered ? "is offered, and works" : "is not offered, and #UD", () => expect(executes(code)).toBe(offered));
});

test("PREFETCHW is there, as on every AMD processor with long mode", () => {
  expect(offers(0x8000_0001, EDX, 29)).toBe(true);
  expect(executes([0x0f, 0x0d, 0x08])).toBe(true);
});

test("TZCNT and LZCNT are not offered: their F3 is not looked at, and they scan for bits", () => {
  expect([offers(7, EBX, 3), offers(0x8000_0001, ECX, 5)]).toEqual([false, false]);
  const scan = (opcode: number) =>
    new BareGuest()
      .code(CODE, [...movImm(1, 0x10), 0xf3, 0x48, 0x0f, opcode, 0xd9, ...STAY])
      .run(2000)
      .reg("rbx");
  // LZCNT of it would be 59.
  expect([scan(0xbc), scan(0xbd)]).toEqual([4, 4]);
});

test("misaligned operands of SSE instructions are #GP, for MisAlignSse is not offered, and MXCSR's bit for it is reserved", () => {
  expect(offers(0x8000_0001, ECX, 7)).toBe(false);
  const guest = (code: readonly number[]) =>
    new BareGuest()
      .handle(13)
      .code(CODE, [...movImm(0, DATA), ...code, ...STAY])
      .run(2000).rip;
  expect(guest([0x0f, 0x58, 0x40, 0x04])).toBe(handlerOf(13));
  // mov dword [rax], 0x21f80; ldmxcsr [rax]
  expect(guest([0xc7, 0x00, 0x80, 0x1f, 0x02, 0x00, 0x0f, 0xae, 0x10])).toBe(handlerOf(13));
});
