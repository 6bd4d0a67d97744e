import { expect, test } from "vitest";
import { Reg, SegmentRegister } from "../../src/engine/cpu-state.ts";
import { ExitKind, Vector } from "../../src/engine/exits.ts";
import { BASE_MFN, CODE_VA, Pte, TinyGuest } from "./tiny-guest.ts";

/** Runs until something other than the budget ends it. */
function runToExit(guest: TinyGuest, slice = 1000): ExitKind {
  for (let i = 0; i < 100_000; i++) {
    const kind = guest.engine.run(0, slice);
    if (kind !== ExitKind.budget) return kind;
  }
  throw new Error("no exit");
}
function guestWith(code: readonly number[], options?: ConstructorParameters<typeof TinyGuest>[1]): TinyGuest {
  const guest = new TinyGuest(2048, options);
  guest.write(CODE_VA, code);
  return guest;
}
const le32 = (n: number): number[] => [n & 255, (n >> 8) & 255, (n >> 16) & 255, (n >> 24) & 255];

const INT3 = 0xcc;
/** mov eax, n; lea edx, [rax*4+1]; loop: add rdx, rax; dec eax; jnz loop; int3 */
const countdown = (n: number): number[] => [
  0xb8,
  ...le32(n),
  0x31,
  0xd2,
  0x48,
  0x01,
  0xc2,
  0xff,
  0xc8,
  0x75,
  0xf9,
  INT3,
];

test("a loop runs through real page tables", () => {
  const guest = guestWith(countdown(1000));
  expect(runToExit(guest)).toBe(ExitKind.softInt);
  expect(guest.cpu.exitVector).toBe(3);
  expect(guest.cpu.number(Reg.rdx)).toBe(500500);
  expect(guest.cpu.exitInsnRip).toBe(CODE_VA + 14);
  expect(guest.cpu.va(Reg.rip)).toBe(CODE_VA + 15);
});

test("instructions are counted exactly, whatever the slices", () => {
  for (const slice of [1, 2, 7, 1000, 1_000_000]) {
    const guest = guestWith(countdown(100));
    runToExit(guest, slice);
    // mov, xor, 100 turns of three, int3
    expect(guest.engine.stats(0).instructions).toBe(2 + 300 + 1);
  }
});

test("the same state and budget give the same state, whatever is cached", () => {
  const trace = (warm: boolean): unknown[] => {
    const guest = guestWith(countdown(200));
    if (warm) {
      runToExit(guest);
      guest.cpu.setNumber(Reg.rip, CODE_VA);
    }
    const states: unknown[] = [];
    for (let i = 0; i < 60; i++) {
      guest.engine.run(0, 13);
      states.push([guest.cpu.big(Reg.rip), guest.cpu.big(Reg.rax), guest.cpu.rflags]);
      if (!warm && i % 7 === 0) guest.engine.flushTlb("all");
    }
    return states;
  };
  expect(trace(true)).toEqual(trace(false));
});

test("an access sets the accessed bit, a store the dirty bit", () => {
  // mov al, [0x500000]; mov [0x501000], al; int3
  const guest = guestWith([0x8a, 0x04, 0x25, ...le32(0x500000), 0x88, 0x04, 0x25, ...le32(0x501000), INT3]);
  expect(guest.pte(0x500000) & 0x60n).toBe(0n);
  runToExit(guest);
  expect(guest.pte(0x500000) & 0x60n).toBe(0x20n);
  expect(guest.pte(0x501000) & 0x60n).toBe(0x60n);
  expect(guest.pte(CODE_VA) & 0x60n).toBe(0x20n);
});

const faults: [string, (guest: TinyGuest) => void, readonly number[], number, number, number | undefined][] = [
  ["a load from an absent page", (g) => g.map(0x500000, 0, 0), [0x8a, 0x04, 0x25, ...le32(0x500008)], 14, 4, 0x500008],
  ["a store to an absent page", (g) => g.map(0x500000, 0, 0), [0x88, 0x04, 0x25, ...le32(0x500008)], 14, 6, 0x500008],
  [
    "a store to a read-only page",
    (g) => g.map(0x500000, 1280, Pte.present | Pte.user),
    [0x88, 0x04, 0x25, ...le32(0x500008)],
    14,
    7,
    0x500008,
  ],
  [
    "a load from a supervisor page",
    (g) => g.map(0x500000, 1280, Pte.present),
    [0x8a, 0x04, 0x25, ...le32(0x500008)],
    14,
    5,
    0x500008,
  ],
  [
    "a reserved bit",
    (g) => g.map(0x500000, 1280, 7n | (1n << 50n)),
    [0x8a, 0x04, 0x25, ...le32(0x500008)],
    14,
    13,
    0x500008,
  ],
  [
    "a jump to a page that is not executable",
    (g) => g.map(0x500000, 1280, 7n | (1n << 63n)),
    [0xe9, ...le32(0x500000 - CODE_VA - 5)],
    14,
    0x15,
    0x500000,
  ],
  [
    "a load that crosses into an absent page",
    (g) => g.map(0x501000, 0, 0),
    [0x48, 0x8b, 0x04, 0x25, ...le32(0x500ffc)],
    14,
    4,
    0x501000,
  ],
  ["hlt", () => undefined, [0xf4], 13, 0, undefined],
  ["ud2", () => undefined, [0x0f, 0x0b], 6, 0, undefined],
  ["a division by zero", () => undefined, [0xf7, 0xf1], 0, 0, undefined],
];
test.each(faults)("%s faults with the right code", (_name, prepare, code, vector, errorCode, cr2) => {
  const guest = guestWith(code);
  prepare(guest);
  guest.cpu.setNumber(Reg.rcx, 0);
  expect(guest.engine.run(0, 100)).toBe(ExitKind.exception);
  expect(guest.cpu.exitVector).toBe(vector);
  expect(guest.cpu.exitErrorCode).toBe(errorCode);
  if (cr2 !== undefined) expect(guest.cpu.cr2).toBe(cr2);
  // A bad fetch is the target's own fault.
  expect(guest.cpu.va(Reg.rip)).toBe((errorCode & 0x10) !== 0 ? cr2 : CODE_VA);
});

test("a frame outside memory is an exit of its own, never an access", () => {
  const guest = guestWith([0x8a, 0x04, 0x25, ...le32(0x500008)]);
  guest.map(0x500000, guest.frames + 5);
  expect(guest.engine.run(0, 10)).toBe(ExitKind.badFrame);
  expect(guest.cpu.cr2).toBe(0x500008);
  expect(guest.cpu.va(Reg.rip)).toBe(CODE_VA);
});

test("a non-canonical address is #GP, and #SS by way of the stack pointer", () => {
  // mov al, [rbx]
  const data = guestWith([0x8a, 0x03]);
  data.cpu.setBig(Reg.rbx, 0x800000000000n);
  expect(data.engine.run(0, 10)).toBe(ExitKind.exception);
  expect(data.cpu.exitVector).toBe(Vector.generalProtection);
  // mov al, [rbp+0]
  const stack = guestWith([0x8a, 0x45, 0x00]);
  stack.cpu.setBig(Reg.rbp, 0x800000000000n);
  expect(stack.engine.run(0, 10)).toBe(ExitKind.exception);
  expect(stack.cpu.exitVector).toBe(Vector.stackFault);
});

test("code that writes to itself executes what it wrote, in the same block", () => {
  // movb $0x42, 1(next) : c6 05 disp32 imm8; then mov al, 0x11 whose immediate it changes; int3
  const guest = guestWith([0xc6, 0x05, ...le32(1), 0x42, 0xb0, 0x11, INT3]);
  for (const turn of [0, 1]) {
    guest.cpu.setNumber(Reg.rip, CODE_VA);
    runToExit(guest);
    expect([turn, guest.cpu.number(Reg.rax) & 255]).toEqual([turn, 0x42]);
    guest.write(CODE_VA + 8, [0x11]);
  }
});

test("data in a page of code is written without losing the code, and code patched in a loop is followed every turn", () => {
  // loop: inc dword [rip+100]; inc byte [rip+patch]; mov al, 0 (patched); add rbx, rax; dec ecx; jnz loop; int3
  const code = [
    0xff,
    0x05,
    ...le32(100),
    0xfe,
    0x05,
    ...le32(1),
    0xb0,
    0x00,
    0x0f,
    0xb6,
    0xc0,
    0x48,
    0x01,
    0xc3,
    0xff,
    0xc9,
    0x75,
    0xe8,
    INT3,
  ];
  const guest = guestWith(code);
  guest.cpu.setNumber(Reg.rcx, 200);
  runToExit(guest);
  expect(guest.cpu.number(Reg.rbx)).toBe((200 * 201) / 2);
  expect(guest.view.getInt32(CODE_VA + 106, true)).toBe(200);
  expect(guest.engine.stats(0).instructions).toBe(200 * 7 + 1);
});

test("a write by an alias of the page is seen, and one by the hypervisor after invalidateCode", () => {
  // mov byte [0x700000 + 16], 5 ; jmp +? ... at 16: mov al, 1; int3
  const code = [
    0xc6,
    0x04,
    0x25,
    ...le32(0x700011),
    0x05,
    0xeb,
    0x06,
    0x90,
    0x90,
    0x90,
    0x90,
    0x90,
    0x90,
    0xb0,
    0x01,
    INT3,
  ];
  const guest = guestWith(code);
  guest.map(0x700000, CODE_VA / 4096);
  // First the target is decoded.
  guest.cpu.setNumber(Reg.rip, CODE_VA + 16);
  runToExit(guest);
  expect(guest.cpu.number(Reg.rax) & 255).toBe(1);
  guest.cpu.setNumber(Reg.rip, CODE_VA);
  runToExit(guest);
  expect(guest.cpu.number(Reg.rax) & 255).toBe(5);
  guest.write(CODE_VA + 17, [9]);
  guest.cpu.setNumber(Reg.rip, CODE_VA + 16);
  runToExit(guest);
  expect(guest.cpu.number(Reg.rax) & 255).toBe(9);
});

test("an instruction across two pages follows a change of either page, and of the mapping", () => {
  // mov eax, imm32 with its immediate in the second page
  const guest = guestWith([]);
  const at = CODE_VA + 4096 - 2;
  guest.write(at, [0xb8, 0x11, 0x22, 0x33, 0x44, INT3]);
  const go = (): number => {
    guest.cpu.setNumber(Reg.rip, at);
    expect(runToExit(guest)).toBe(ExitKind.softInt);
    return guest.cpu.lo(Reg.rax);
  };
  expect(go()).toBe(0x44332211);
  expect(go()).toBe(0x44332211);
  guest.write(CODE_VA + 4096, [0x55]);
  expect(go()).toBe(0x44335511);
  guest.write(at + 1, [0x66]);
  expect(go()).toBe(0x44335566);
  // Another frame behind the first.
  guest.write(0x600000, [1, 2, 3, INT3]);
  guest.map(CODE_VA + 4096, 0x600);
  guest.engine.flushTlb("all");
  expect(go()).toBe(0x03020166);
  // And none.
  guest.map(CODE_VA + 4096, 0, 0);
  guest.engine.flushTlb("all");
  guest.cpu.setNumber(Reg.rip, at);
  expect(guest.engine.run(0, 10)).toBe(ExitKind.exception);
  expect([guest.cpu.exitVector, guest.cpu.exitErrorCode, guest.cpu.cr2]).toEqual([14, 0x14, CODE_VA + 4096]);
  expect(guest.cpu.va(Reg.rip)).toBe(at);
});

test("rep movs and stos are interruptible, and as exact as their elements", () => {
  // rep movsb; int3
  for (const slice of [1, 3, 100, 100_000]) {
    const guest = guestWith([0xf3, 0xa4, INT3]);
    const bytes = Array.from({ length: 9000 }, (_, i) => (i * 7) & 255);
    guest.write(0x500123, bytes);
    guest.cpu.setNumber(Reg.rsi, 0x500123);
    guest.cpu.setNumber(Reg.rdi, 0x520fff);
    guest.cpu.setNumber(Reg.rcx, 9000);
    const kind = guest.engine.run(0, slice);
    if (slice < 9000) {
      expect(kind).toBe(ExitKind.budget);
      expect(guest.cpu.va(Reg.rip)).toBe(CODE_VA);
      expect(guest.cpu.number(Reg.rcx)).toBe(9000 - slice);
    }
    if (kind === ExitKind.budget) runToExit(guest, slice);
    expect(guest.cpu.number(Reg.rcx)).toBe(0);
    expect([...new Uint8Array(guest.memory.buffer, guest.ramOffset + 0x520fff, 9000)]).toEqual(bytes);
    expect(guest.engine.stats(0).instructions).toBe(9001);
  }
});

test("a fault in the middle of rep stos leaves what was done", () => {
  const guest = guestWith([0xf3, 0x48, 0xab, INT3]);
  guest.map(0x502000, 0, 0);
  guest.cpu.setNumber(Reg.rdi, 0x501ff0);
  guest.cpu.setNumber(Reg.rcx, 10);
  guest.cpu.setBig(Reg.rax, 0x1122334455667788n);
  expect(guest.engine.run(0, 1000)).toBe(ExitKind.exception);
  expect([guest.cpu.exitVector, guest.cpu.exitErrorCode, guest.cpu.cr2]).toEqual([14, 6, 0x502000]);
  expect([guest.cpu.number(Reg.rcx), guest.cpu.number(Reg.rdi)]).toEqual([8, 0x502000]);
});

test("rep stos over decoded code drops it", () => {
  const guest = guestWith([0xf3, 0xaa, 0xff, 0xe3, INT3]);
  const target = 0x500000;
  guest.write(target, [0xb0, 0x01, INT3]);
  guest.cpu.setNumber(Reg.rip, target);
  runToExit(guest);
  guest.cpu.setNumber(Reg.rip, CODE_VA);
  guest.cpu.setNumber(Reg.rdi, target);
  guest.cpu.setNumber(Reg.rcx, 4096);
  guest.cpu.setNumber(Reg.rax, INT3);
  guest.cpu.setNumber(Reg.rbx, target);
  expect(runToExit(guest, 100_000)).toBe(ExitKind.softInt);
  expect(guest.cpu.exitInsnRip).toBe(target);
});

test("syscall hands over with rcx and r11 set", () => {
  const guest = guestWith([0x0f, 0x05]);
  guest.cpu.rflags = 0x246;
  expect(guest.engine.run(0, 10)).toBe(ExitKind.hypercall);
  expect(guest.cpu.va(Reg.rip)).toBe(CODE_VA + 2);
  expect(guest.cpu.number(Reg.rcx)).toBe(CODE_VA + 2);
  expect(guest.cpu.number(Reg.r11)).toBe(0x246);
});

test("cpuid leaves at itself, with its length", () => {
  const guest = guestWith([0x0f, 0xa2]);
  expect(guest.engine.run(0, 10)).toBe(ExitKind.cpuid);
  expect([guest.cpu.va(Reg.rip), guest.cpu.exitLength]).toEqual([CODE_VA, 2]);
});

test("TF gives #DB behind each instruction, popf included one later", () => {
  // push 0x302; popf; nop; nop
  const guest = guestWith([0x68, ...le32(0x302), 0x9d, 0x90, 0x90]);
  expect(guest.engine.run(0, 100)).toBe(ExitKind.exception);
  expect(guest.cpu.exitVector).toBe(Vector.debug);
  expect(guest.cpu.va(Reg.rip)).toBe(CODE_VA + 7);
  expect(guest.cpu.debugRegister(6)[0] & 0x4000).toBe(0x4000);
  expect(guest.engine.run(0, 100)).toBe(ExitKind.exception);
  expect(guest.cpu.va(Reg.rip)).toBe(CODE_VA + 8);
});

test("kernel and user mode have their own page tables, TLB and GS base", () => {
  const guest = guestWith([0x8a, 0x04, 0x25, ...le32(0x500000), INT3]);
  const { cpu } = guest;
  guest.write(0x500000, [7]);
  cpu.gsBaseKernel = [1, 0];
  cpu.gsBaseUser = [2, 0];
  runToExit(guest);
  expect(cpu.number(Reg.rax) & 255).toBe(7);
  cpu.kernelMode = 0;
  expect(cpu.lo(Reg.gsBase)).toBe(2);
  // User mode's tables are empty: the fetch faults.
  cpu.cr3User = BASE_MFN + 100;
  cpu.setNumber(Reg.rip, CODE_VA);
  expect(guest.engine.run(0, 10)).toBe(ExitKind.exception);
  expect([cpu.exitVector, cpu.exitErrorCode]).toEqual([14, 0x14]);
  cpu.kernelMode = 1;
  expect(cpu.lo(Reg.gsBase)).toBe(1);
  runToExit(guest);
});

test.each([
  ["as it is", 0, 0x202],
  ["while a breakpoint is armed", 1, 0x202],
  ["while operands have to be aligned", 0, 0x4_0202],
])("a dropped write translation is looked up again, %s", (_name, dr7, rflags) => {
  // loop: mov [0x500000], al; jmp loop
  const guest = guestWith([0x88, 0x04, 0x25, ...le32(0x500000), 0xeb, 0xf7]);
  guest.cpu.setDebugRegister(7, dr7, 0);
  guest.cpu.rflags = rflags;
  expect(guest.engine.run(0, 1000)).toBe(ExitKind.budget);
  guest.map(0x500000, 0x500, Pte.present | Pte.user);
  guest.engine.dropWriteTranslations(BASE_MFN + 0x500);
  expect(guest.engine.run(0, 1000)).toBe(ExitKind.exception);
  expect([guest.cpu.exitVector, guest.cpu.exitErrorCode]).toEqual([14, 7]);
});

test("a 2 MiB page translates", () => {
  const guest = guestWith([0x8b, 0x04, 0x25, ...le32(0x40201234), INT3]);
  // L2 entry for 0x40200000: the 2 MiB at frame 0x400 - BASE_MFN is 2 MiB aligned.
  guest.map(0x40000000, 0);
  const l3 = Number(guest.view.getBigUint64(guest.root * 4096, true) >> 12n) - BASE_MFN;
  const l2 = Number(guest.view.getBigUint64(l3 * 4096 + 8, true) >> 12n) - BASE_MFN;
  guest.view.setBigUint64(l2 * 4096 + 8, (BigInt(BASE_MFN + 0x400) << 12n) | 0x87n, true);
  guest.write(0x401234, le32(0x12345678));
  guest.engine.flushTlb("all");
  expect(runToExit(guest)).toBe(ExitKind.softInt);
  expect(guest.cpu.lo(Reg.rax)).toBe(0x12345678);
});

test("translate answers as the guest would see it, and disturbs no exit", () => {
  const guest = guestWith([0xf4]);
  guest.engine.run(0, 1);
  guest.map(0x500000, 0, 0);
  expect(guest.engine.translate(0, 0x501004, "write")).toBe(guest.ramOffset + 0x501004);
  expect(guest.engine.translate(0, 0x500004, "write")).toBe(-1);
  expect([guest.cpu.faultVector, guest.cpu.faultErrorCode, guest.cpu.faultAddress]).toEqual([14, 6, 0x500004]);
  expect(guest.engine.translate(0, Number.NaN, "read")).toBe(-1);
  expect(guest.cpu.faultVector).toBe(Vector.generalProtection);
  expect([guest.cpu.exitKind, guest.cpu.exitVector]).toEqual([ExitKind.exception, Vector.generalProtection]);
});

test("a full arena is emptied and execution goes on", () => {
  // A chain of 2000 far-apart jumps, round and round: rcx counts turns.
  const guest = new TinyGuest(3000, { codeArenaBytes: 65536 });
  const place = (i: number): number => CODE_VA + i * 2048;
  for (let i = 0; i < 900; i++) guest.write(place(i), [0x48, 0xff, 0xc0, 0xe9, ...le32(place(i + 1) - place(i) - 8)]);
  guest.write(place(900), [0x48, 0xff, 0xc9, 0x0f, 0x85, ...le32(place(0) - place(900) - 9), INT3]);
  guest.cpu.setNumber(Reg.rcx, 5);
  expect(runToExit(guest, 1000)).toBe(ExitKind.softInt);
  expect(guest.cpu.number(Reg.rax)).toBe(4500);
  expect(guest.engine.stats(0).codeBytes).toBeLessThanOrEqual(65536);
});

test("iretq within ring 3 takes stack, flags and selectors, and refuses 32-bit code with a line in the log", () => {
  const guest = guestWith([0x48, 0xcf]);
  const frame = (cs: bigint): void => {
    const at = 0x500000;
    [BigInt(CODE_VA + 64), cs, 0x3246n & ~0x3000n, 0x600000n, 0xe02bn].forEach((v, i) => {
      guest.view.setBigUint64(at + i * 8, v, true);
    });
    guest.cpu.setNumber(Reg.rsp, at);
    guest.cpu.setNumber(Reg.rip, CODE_VA);
  };
  guest.write(CODE_VA + 64, [INT3]);
  frame(0xe033n);
  expect(runToExit(guest)).toBe(ExitKind.softInt);
  expect(guest.cpu.number(Reg.rsp)).toBe(0x600000);
  expect(guest.cpu.rflags).toBe(0x246);
  expect(guest.cpu.selector(SegmentRegister.ss)).toBe(0xe02b);
  expect(guest.cpu.selector(SegmentRegister.cs)).toBe(0xe033);
  frame(0xe023n);
  expect(runToExit(guest)).toBe(ExitKind.exception);
  expect([guest.cpu.exitVector, guest.cpu.exitErrorCode]).toEqual([13, 0xe020]);
  expect(guest.log.join()).toContain("32-bit code segment");
});

test("an instruction that is not there is #UD and one line naming its bytes", () => {
  // vaddps
  const guest = guestWith([0xc5, 0xf8, 0x58, 0xc1]);
  expect(guest.engine.run(0, 10)).toBe(ExitKind.exception);
  expect(guest.cpu.exitVector).toBe(Vector.invalidOpcode);
  expect(guest.log).toEqual([expect.stringContaining("0x400000: c5 f8 58 c1")]);
});

test("rdtsc asks the host", () => {
  const guest = guestWith([0x0f, 0x31, INT3], { tsc: () => 0x123456789a });
  runToExit(guest);
  expect([guest.cpu.number(Reg.rax), guest.cpu.number(Reg.rdx)]).toEqual([0x3456789a, 0x12]);
});
