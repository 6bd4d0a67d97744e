/**
 * Floating-point and debug state (the classes of XSA-52 and XSA-267, and of XSA-265).
 *
 * Both are large, seldom used, and were loaded lazily or left in place: what one guest computed, another could read (52, 267); what one
 * guest set to trap, trapped somebody else, or the hypervisor itself, in a place that was not ready for it (265). The invariants: the
 * registers of a vCPU are in its own domain's memory and nowhere else, so a new domain's are at reset; CR0.TS is the guest's own
 * affair; a breakpoint is never on the hypervisor's addresses; single stepping ends where the guest's kernel begins.
 *
 * Without them a guest reads another's keys, or ends the host with one instruction.
 */
import { describe, expect, test } from "vitest";
import { Errno } from "../../../src/abi/errno.ts";
import { HYPERVISOR } from "../../../src/abi/xen.ts";
import { HypercallArgs } from "../../../src/hypervisor/hypercall/arguments.ts";
import { call } from "../../../src/hypervisor/hypercall/hypercalls.ts";
import { BareGuest, CODE, call as codeOf, DATA, handlerOf, movImm, STAY, USER_CODE } from "../bare-guest.ts";
import { Arena, CODE_PFN, stackTop } from "../fuzz/arena.ts";

const { EPERM, EINVAL, ENODEV } = Errno;

describe("floating point", () => {
  /** movups xmm0, [DATA]; fld qword [DATA] */
  const load = [0x0f, 0x10, 0x04, 0x25, 0x00, 0x40, 0, 0, 0xdd, 0x04, 0x25, 0x00, 0x40, 0, 0];
  /** fxsave [DATA + 512] */
  const save = [0x0f, 0xae, 0x04, 0x25, 0x00, 0x42, 0, 0];

  test("a domain that is made in the memory of another finds nothing of its registers", () => {
    const arena = new Arena();
    const run = (code: readonly number[]) => {
      const domain = arena.domains.get(1)!;
      const [vcpu] = domain.vcpus;
      domain.memory.copyToGuest(0, CODE_PFN * 4096, Uint8Array.from([...code, ...STAY]));
      vcpu!.cpu.setNumber(4, stackTop(0) - 512);
      vcpu!.cpu.setNumber(21, CODE_PFN * 4096);
      domain.shard.run(domain.shard.now() + 4000);
      const image = new Uint8Array(512);
      expect(domain.memory.copyFromGuest(0, DATA + 512, image)).toBe(true);
      return image;
    };
    arena.domains.get(1)!.memory.copyToGuest(0, DATA, new Uint8Array(16).fill(0x5e));
    const used = run([...load, ...save]);
    expect(used.subarray(160, 176)).toEqual(new Uint8Array(16).fill(0x5e));
    expect(arena.destroy(1)).toEqual([]);
    arena.create(1);
    const fresh = run(save);
    expect(fresh.subarray(32).every((byte) => byte === 0)).toBe(true);
    expect(arena.close()).toEqual([]);
  });

  test("with TS set every way to the registers is #NM, until the guest clears it", () => {
    for (const use of [
      load,
      [0x0f, 0x77],
      [0xd9, 0xe8],
      [0x0f, 0x58, 0xc1],
      [0x66, 0x0f, 0xef, 0xc0],
      [0x0f, 0xae, 0x04, 0x25, 0, 0x42, 0, 0],
    ]) {
      const guest = new BareGuest()
        .handle(7)
        .code(CODE, [...codeOf(HYPERVISOR.fpuTaskswitch, 1), ...use, ...STAY])
        .run();
      expect([use, guest.rip]).toEqual([use, handlerOf(7)]);
      expect(guest.vcpu.cpu.tsFlag).toBe(false);
    }
  });
});

describe("debug registers", () => {
  const guest = new BareGuest();
  const set = (n: number, value: bigint): unknown => {
    const args = new HypercallArgs();
    args.setNumber(0, n);
    args.set(1, Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n)));
    return call(guest.vcpu.context, HYPERVISOR.setDebugreg, args);
  };
  test.each<[string, number, bigint, number]>([
    ["an address of the guest's", 0, 0x4000n, 0],
    ["the first address of the hypervisor's range", 1, 0xffff_8000_0000_0000n, -EPERM],
    ["the last", 2, 0xffff_87ff_ffff_ffffn, -EPERM],
    ["the address behind it", 3, 0xffff_8800_0000_0000n, 0],
    ["an address that is not canonical", 0, 0x8000_0000_0000n, -EPERM],
    ["DR6 beyond 32 bits", 6, 1n << 32n, -EINVAL],
    ["DR7 beyond 32 bits", 7, 1n << 32n, -EINVAL],
    ["DR7 with general detect", 7, 1n << 13n, -EPERM],
    ["an I/O breakpoint without CR4.DE", 7, 0x2_0001n, -EPERM],
    ["a breakpoint on writes", 7, 0xd_0001n, 0],
    ["a register that there is not", 8, 0n, -ENODEV],
    ["nor that", 0xffff, 0n, -ENODEV],
  ])("%s", (_what, n, value, answer) => {
    expect(set(n, value)).toBe(answer);
  });
});

describe("single stepping", () => {
  const TF = 0x100;

  test("of user mode ends at each of its instructions, and never in the kernel's first", () => {
    const guest = new BareGuest()
      .handle(1)
      .handle(13)
      .code(USER_CODE, [0x90, 0x90, ...STAY])
      .inUserMode();
    guest.vcpu.cpu.rflags = guest.vcpu.cpu.rflags | TF;
    guest.run(50);
    expect([guest.rip, guest.vcpu.cpu.kernelMode]).toEqual([handlerOf(1), 1]);
    expect(guest.vcpu.cpu.rflags & TF).toBe(0);
    expect(guest.frame(5)[2]).toBe(USER_CODE + 1);
  });

  test.each([
    ["a hypercall", [...movImm(0, HYPERVISOR.xenVersion), ...movImm(7, 0), 0x0f, 0x05]],
    ["cpuid", [0x0f, 0xa2]],
    ["an emulated instruction", [0x0f, 0x20, 0xc0]],
    ["a fault", [0x0f, 0x0b]],
    ["int3", [0xcc]],
  ])("through %s ends in a handler of the guest's", (_what, bytes) => {
    const guest = new BareGuest();
    for (const vector of [1, 3, 6, 13]) guest.handle(vector);
    // pushf; or [rsp], TF; popf: stepping begins with the next.
    guest.code(CODE, [0x9c, 0x48, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d, ...bytes, ...STAY]).run();
    expect([1, 3, 6, 13].map(handlerOf)).toContain(guest.rip);
    expect(guest.vcpu.cpu.rflags & TF).toBe(0);
    expect(guest.domain.crash).toBe(null);
    expect(guest.log.join()).not.toContain("defect");
  });
});
