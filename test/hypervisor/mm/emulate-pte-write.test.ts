import { beforeEach, describe, expect, test } from "vitest";
import { Reg } from "../../../src/engine/cpu-state.ts";
import { ExitKind } from "../../../src/engine/exits.ts";
import { BASE_MFN } from "../../../src/hypervisor/mm/memory-map.ts";
import { emulatePteWrite } from "../../../src/hypervisor/traps/emulate-pte-write.ts";
import type { Vcpu } from "../../../src/hypervisor/vcpu.ts";
import { audit } from "./audit.ts";
import { P, RW, USER, World } from "./world.ts";

let world: World;
let vcpu: Vcpu;
/** What the instruction at rip does: its "execution" by the fake engine. */
let instruction: () => ExitKind;
const registers = new Int32Array(64);

beforeEach(() => {
  world = new World();
  world.boot();
  registers.fill(0);
  registers[Reg.rip * 2] = 0x1000;
  const cpu = {
    kernelMode: 1,
    rflags: 0x202,
    lo: (reg: number) => registers[reg * 2]!,
    hi: (reg: number) => registers[reg * 2 + 1]!,
    set: (reg: number, lo: number, hi: number) => registers.set([lo, hi], reg * 2),
  };
  const engine = {
    flushPage: () => {},
    step: () => {
      registers[Reg.rip * 2]! += 3;
      return instruction();
    },
  };
  vcpu = { id: 0, cpu, domain: { memory: world.memory, engine } } as unknown as Vcpu;
});

/** The page tables are mapped read-only at their own addresses: the L1 is at 4 * 4096. */
const L1 = 4 * 4096;
const entry = (pfn: number, flags: number) => BigInt(BASE_MFN + pfn) * 4096n + BigInt(flags);
/** A store by the guest's instruction, through the vCPU's page tables. */
function store(va: number, value: bigint, bytes: number): ExitKind {
  const offset = world.caches.translate(0, va, "write");
  if (offset < 0) return ExitKind.exception;
  const view = new DataView(world.memory.buffer);
  for (let i = 0; i < bytes; i++) view.setUint8(offset + i, Number((value >> BigInt(8 * i)) & 0xffn));
  return ExitKind.budget;
}

describe("a store to a page table that is mapped read-only", () => {
  test.each<[string, () => ExitKind, boolean, bigint]>([
    ["clears an entry", () => store(L1 + 20 * 8, 0n, 8), true, 0n],
    [
      "maps another page",
      () => store(L1 + 20 * 8, entry(21, P | RW | USER), 8),
      true,
      entry(21, P | RW | USER | 0x100),
    ],
    ["changes one byte", () => store(L1 + 20 * 8 + 7, 0x80n, 1), true, entry(20, P | RW | USER | 0x160) | (1n << 63n)],
    [
      "that changes nothing is done",
      () => store(L1 + 20 * 8, entry(20, P | RW | USER | 0x160), 8),
      true,
      entry(20, P | RW | USER | 0x160),
    ],
    [
      "that maps a page table writable is refused",
      () => store(L1 + 20 * 8, entry(1, P | RW), 8),
      false,
      entry(20, P | RW | USER | 0x160),
    ],
    [
      "across two entries is refused",
      () => store(L1 + 20 * 8 + 4, 0x1234_5678_9abcn, 8),
      false,
      entry(20, P | RW | USER | 0x160),
    ],
    ["that faults elsewhere is not done", () => ExitKind.exception, false, entry(20, P | RW | USER | 0x160)],
  ])("%s", (_name, execute, done, expected) => {
    const mapping = world.read(4, 4);
    instruction = execute;
    expect(emulatePteWrite(vcpu, L1 + 20 * 8)).toBe(done);
    expect(world.read(4, 20)).toBe(expected);
    expect(world.read(4, 4)).toBe(mapping);
    expect(audit(world.memory, world.engine)).toEqual([]);
  });

  test("that is refused leaves the registers as they were", () => {
    instruction = () => {
      registers[Reg.rax * 2] = 99;
      return store(L1, entry(1, P | RW), 8);
    };
    expect(emulatePteWrite(vcpu, L1)).toBe(false);
    expect(registers[Reg.rax * 2]).toBe(0);
    expect(registers[Reg.rip * 2]).toBe(0x1000);
  });

  test.each([
    ["an L2 page table", 3 * 4096],
    ["a page that is writable", 20 * 4096],
    ["a page that is not mapped", 0x4000_0000],
    ["the hypervisor's range", -(2 ** 47)],
  ])("is not emulated for %s", (_name, va) => {
    instruction = () => ExitKind.budget;
    expect(emulatePteWrite(vcpu, va)).toBe(false);
    expect(registers[Reg.rip * 2]).toBe(0x1000);
  });

  test("is not emulated for user mode", () => {
    vcpu.cpu.kernelMode = 0;
    expect(emulatePteWrite(vcpu, L1)).toBe(false);
  });
});
