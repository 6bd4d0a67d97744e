/** #AC (Intel SDM vol. 3, 6.15): Xen sets CR0.AM, and PV kernels have CPL 3 as their user code has, so rflags.AC counts for both. */
import { describe, expect, test } from "vitest";
import { HYPERVISOR } from "../../src/abi/xen.ts";
import { BareGuest, CODE, DATA, handlerOf, movImm, push, STAY, USER_CODE } from "./bare-guest.ts";

const AC = 0x4_0000;
const POPF = 0x9d;
const word32 = (value: number): number[] => [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, value >>> 24];
const load32 = (at: number): number[] => [0x8b, 0x04, 0x25, ...word32(at)];
const store64 = (at: number): number[] => [0x48, 0x89, 0x04, 0x25, ...word32(at)];
const setFlags = (flags: number): number[] => [...push(flags), POPF];

/** Runs kernel code that meets `code` with AC set by POPF. */
function aligned(code: readonly number[], before: readonly number[] = []): BareGuest {
  return new BareGuest()
    .handle(14)
    .handle(17)
    .code(CODE, [...before, ...setFlags(0x202 | AC), ...code, ...movImm(3, 77), ...STAY])
    .run(20_000);
}
const start = (before: readonly number[] = []): number => CODE + before.length + setFlags(0).length;

describe("with AC set", () => {
  test.each<[string, readonly number[], boolean]>([
    ["a misaligned load is #AC", load32(DATA + 2), true],
    ["a misaligned store is #AC", store64(DATA + 4), true],
    ["one across pages is #AC", store64(DATA + 4092), true],
    ["an aligned load is none", load32(DATA + 4), false],
    ["a byte is always aligned", [0x8a, 0x04, 0x25, ...word32(DATA + 3)], false],
  ])("%s", (_what, code, faults) => {
    const guest = aligned(code);
    if (!faults) return expect(guest.reg("rbx")).toBe(77);
    expect(guest.rip).toBe(handlerOf(17));
    const [, , errorCode, rip, , rflags] = guest.frame(6);
    expect({ errorCode, rip, ac: rflags! & AC }).toEqual({ errorCode: 0, rip: start(), ac: AC });
    expect(guest.vcpu.cpu.rflags & AC).toBe(0);
  });

  test("translations of before are looked at too", () => {
    const before = [...load32(DATA + 2), ...store64(DATA + 4)];
    expect(aligned(store64(DATA + 4), before).rip).toBe(handlerOf(17));
  });

  test("it comes before a page fault of the same operand", () => {
    expect(aligned(load32(0x4000_0002)).rip).toBe(handlerOf(17));
    expect(aligned(load32(0x4000_0004)).rip).toBe(handlerOf(14));
  });

  test("nothing is checked any more once it is clear", () => {
    expect(aligned([...setFlags(0x202), ...load32(DATA + 2)]).reg("rbx")).toBe(77);
  });

  test("a string instruction copies aligned elements, and stops at the first that is not", () => {
    const copy = (from: number) => [...movImm(6, from), ...movImm(7, DATA + 512), ...movImm(1, 4), 0xf3, 0x48, 0xa5];
    expect(aligned(copy(DATA)).reg("rbx")).toBe(77);
    const guest = aligned(copy(DATA + 1));
    // The handler is entered with its address in rcx; the frame has what was there.
    expect([guest.rip, guest.frame(1)[0]]).toEqual([handlerOf(17), 4]);
  });
});

test("user code has it from the frame that the kernel returns by, and the handler runs without", () => {
  const toUser = [0xe02b, 0x1_2000, 0x202 | AC, 0xe033, USER_CODE, 0, 0, 0, 0].flatMap(push);
  const guest = new BareGuest()
    .handle(17)
    .code(CODE, [...toUser, ...movImm(0, HYPERVISOR.iret), 0x0f, 0x05])
    .code(USER_CODE, [...load32(USER_CODE + 1), ...STAY]);
  guest.code(handlerOf(17), [...load32(DATA + 2), ...STAY]);
  guest.run(20_000);
  expect(guest.rip).toBe(handlerOf(17) + load32(0).length);
  expect(guest.frame(6)[3]).toBe(USER_CODE);
});
