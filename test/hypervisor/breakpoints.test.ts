/** Breakpoints of the debug registers: #DB before instructions and behind data accesses (Intel SDM vol. 3, section 18.2). */
import { describe, expect, test } from "vitest";
import { HYPERVISOR } from "../../src/abi/xen.ts";
import { Reg } from "../../src/engine/cpu-state.ts";
import { setDebugRegister } from "../../src/hypervisor/traps/debug-registers.ts";
import { BareGuest, CODE, call, DATA, handlerOf, movImm, push, STAY, USER_CODE } from "./bare-guest.ts";

const RF = 0x1_0000;
const L0 = 1;
const Condition = { execute: 0, write: 1, readWrite: 3 } as const;
const LEN = { 1: 0, 2: 1, 8: 2, 4: 3 } as const;

const dr7 = (condition: number, length: keyof typeof LEN = 1): number => L0 | (condition << 16) | (LEN[length] << 18);

const word32 = (value: number): number[] => [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, value >>> 24];
/** mov [at], eax; mov eax, [at]; mov [at], rax. */
const store = (at: number): number[] => [0x89, 0x04, 0x25, ...word32(at)];
const load = (at: number): number[] => [0x8b, 0x04, 0x25, ...word32(at)];
const store64 = (at: number): number[] => [0x48, ...store(at)];

/** A guest that meets DR0 and DR7 while it runs `code`. */
function watched(code: readonly number[], address: number, control: number): BareGuest {
  const guest = new BareGuest().handle(1).code(CODE, [...code, ...STAY]);
  expect(setDebugRegister(guest.vcpu, 0, address, 0)).toBe(0);
  expect(setDebugRegister(guest.vcpu, 7, control, 0)).toBe(0);
  return guest.run(20_000);
}

/** Where #DB came, and what DR6 says; undefined when none came. */
function debugged(guest: BareGuest): { rip: number; rflags: number; dr6: number } | undefined {
  if (guest.rip !== handlerOf(1)) return undefined;
  const [, , rip, , rflags] = guest.frame(5);
  return { rip: rip!, rflags: rflags!, dr6: guest.vcpu.cpu.debugRegister(6)[0] & 0x400f };
}

describe("an instruction's breakpoint", () => {
  test("comes before it, without RF in the frame", () => {
    const hit = debugged(watched([0x90, ...store(DATA), 0x90], CODE + 1, dr7(Condition.execute)));
    expect(hit).toMatchObject({ rip: CODE + 1, dr6: 1 });
    expect(hit!.rflags & RF).toBe(0);
  });

  test("is met again when the kernel returns to it, and passed when it returns with RF", () => {
    const returning = (flags: number) => [
      ...[0xe02b, 0x9000, flags, 0xe030, CODE + 0x100, 0, 0, 0, 0].flatMap(push),
      ...movImm(0, HYPERVISOR.iret),
      0x0f,
      0x05,
    ];
    const run = (flags: number) => {
      const guest = new BareGuest().handle(1).code(CODE, returning(flags));
      guest.code(CODE + 0x100, [...movImm(3, 77), ...STAY]);
      setDebugRegister(guest.vcpu, 0, CODE + 0x100, 0);
      setDebugRegister(guest.vcpu, 7, dr7(Condition.execute), 0);
      return guest.run(20_000);
    };
    expect(debugged(run(0x202))).toMatchObject({ rip: CODE + 0x100, dr6: 1 });
    const passed = run(0x202 | RF);
    expect([debugged(passed), passed.reg("rbx")]).toEqual([undefined, 77]);
  });

  test("is for user code too", () => {
    const guest = new BareGuest()
      .handle(1)
      .code(USER_CODE, [0x90, 0x90, ...STAY])
      .inUserMode();
    setDebugRegister(guest.vcpu, 0, USER_CODE + 1, 0);
    setDebugRegister(guest.vcpu, 7, dr7(Condition.execute), 0);
    expect(debugged(guest.run(20_000))).toMatchObject({ rip: USER_CODE + 1, dr6: 1 });
  });

  test("comes together with a single step's trap of the instruction before, in its turn", () => {
    const guest = new BareGuest().handle(1).code(CODE, [0x90, 0x90, ...STAY]);
    guest.vcpu.cpu.rflags = 0x302;
    setDebugRegister(guest.vcpu, 0, CODE + 1, 0);
    setDebugRegister(guest.vcpu, 7, dr7(Condition.execute), 0);
    expect(debugged(guest.run(20_000))).toMatchObject({ rip: CODE + 1, dr6: 0x4000 });
  });
});

describe("a data breakpoint", () => {
  test.each<[string, readonly number[], number, number, boolean]>([
    ["for writes meets a write", store(DATA), DATA, dr7(Condition.write, 4), true],
    ["for writes passes a read", load(DATA), DATA, dr7(Condition.write, 4), false],
    ["for both meets a read", load(DATA), DATA, dr7(Condition.readWrite, 4), true],
    ["for both meets a write", store(DATA), DATA, dr7(Condition.readWrite, 4), true],
    ["of one byte meets a wider access over it", store64(DATA), DATA + 5, dr7(Condition.write, 1), true],
    ["of one byte passes what ends before it", store(DATA), DATA + 4, dr7(Condition.write, 1), false],
    ["of eight bytes meets a byte's access within", store(DATA + 7), DATA, dr7(Condition.write, 8), true],
    ["does not look at the address bits that its length covers", store(DATA), DATA + 3, dr7(Condition.write, 4), true],
    ["meets an access that crosses pages", store64(DATA + 4092), DATA + 4096, dr7(Condition.write, 4), true],
    ["meets a push", [0x50], 0x9000 - 8, dr7(Condition.write, 8), true],
    ["passes an access to the same page elsewhere", store(DATA + 64), DATA, dr7(Condition.readWrite, 8), false],
  ])("%s", (_what, code, address, control, meets) => {
    const hit = debugged(watched(code, address, control));
    expect(hit).toEqual(meets ? expect.objectContaining({ rip: CODE + code.length, dr6: 1 }) : undefined);
  });

  test("comes when the access is done", () => {
    const guest = watched([...movImm(0, 0x1234), ...store(DATA)], DATA, dr7(Condition.write, 4));
    expect([guest.rip, guest.word(DATA)]).toEqual([handlerOf(1), 0x1234]);
  });

  test("comes between two turns of a repeated string instruction", () => {
    const stos = [...movImm(7, DATA), ...movImm(1, 16), 0xf3, 0xaa];
    const guest = watched(stos, DATA + 8, dr7(Condition.write, 1));
    expect(debugged(guest)).toMatchObject({ rip: CODE + stos.length - 2, dr6: 1 });
    expect([guest.vcpu.cpu.number(Reg.rdi), guest.word(guest.rsp)]).toEqual([DATA + 9, 7]);
  });

  test("is silent about an instruction that faults", () => {
    // The push goes to a read-only page table; what it would have read is watched.
    const guest = new BareGuest()
      .handle(1)
      .handle(14)
      .code(CODE, [0xff, 0x34, 0x25, ...word32(DATA), ...STAY]);
    guest.vcpu.cpu.setNumber(Reg.rsp, 0x10_0008);
    setDebugRegister(guest.vcpu, 0, DATA, 0);
    setDebugRegister(guest.vcpu, 7, dr7(Condition.readWrite, 8), 0);
    guest.run(20_000);
    expect([debugged(guest), guest.vcpu.cpu.debugRegister(6)[0] & 0xf]).toEqual([undefined, 0]);
  });

  test("is silent about what the hypervisor reads for the guest", () => {
    const guest = watched(call(HYPERVISOR.xenVersion, 1, DATA), DATA, dr7(Condition.readWrite, 8));
    expect(debugged(guest)).toBeUndefined();
    expect(guest.word(DATA)).not.toBe(0);
  });

  test("is gone when DR7 no longer asks for it", () => {
    const guest = new BareGuest().handle(1).code(CODE, [...store(DATA), ...STAY]);
    setDebugRegister(guest.vcpu, 0, DATA, 0);
    setDebugRegister(guest.vcpu, 7, dr7(Condition.write, 4), 0);
    guest.run(20_000);
    expect(debugged(guest)).toBeDefined();
    setDebugRegister(guest.vcpu, 7, 0, 0);
    guest.vcpu.cpu.setNumber(Reg.rip, CODE);
    guest.run(20_000);
    expect(guest.rip).toBe(CODE + 7);
  });
});
