/**
 * Addresses, descriptors and states that a processor must not be given (the classes of XSA-7, XSA-279, XSA-296 and XSA-316).
 *
 *  - To return to an address that is not canonical faults, and on some processors only after the way back has begun, with the
 *    hypervisor's rights and the guest's stack (7). The invariant: an address that is handed to the processor is canonical, or the fault is
 *    the guest's, in the guest.
 *  - Instructions that take an address fault on what others ignore (279). The invariant: what a guest asks to be flushed is checked first.
 *  - VCPUOP_initialise takes a whole state at once; a continuation with arguments it was not made for ended the host (296). The
 *    invariant: a state is taken whole or not at all, and once.
 *  - An error path answered a positive number, and the caller took it for success (316). The invariant: what is refused is negative, and
 *    leaves everything as it was.
 *  - A gate or a system descriptor in a guest's table leads where its author says. The invariant: code and data of privilege 3 is all that
 *    gets into a table that is loaded, whichever way.
 *
 * Without these checks a guest executes with the hypervisor's privileges, or ends the host.
 */
import { beforeEach, describe, expect, test } from "vitest";
import { VcpuGuestContext, VGCF } from "../../../src/abi/arch-x86-64.ts";
import { CALLBACKOP, CALLBACKTYPE, CallbackRegister } from "../../../src/abi/callback.ts";
import { Errno } from "../../../src/abi/errno.ts";
import { VCPUOP } from "../../../src/abi/vcpu.ts";
import { HYPERVISOR, MMUEXT, MmuextOp } from "../../../src/abi/xen.ts";
import type { Domain } from "../../../src/hypervisor/domain.ts";
import { HypercallArgs } from "../../../src/hypervisor/hypercall/arguments.ts";
import { call } from "../../../src/hypervisor/hypercall/hypercalls.ts";
import { PageType } from "../../../src/hypervisor/mm/frame-table.ts";
import { auditDomain } from "../audit-domain.ts";
import { BareGuest, CODE, DATA, handlerOf, movImm, STAY, USER_CODE, USER_STACK } from "../bare-guest.ts";
import { Arena, SPARE_TABLES_PFN, TABLES_PFN } from "../fuzz/arena.ts";

const { EINVAL, EEXIST, ENOSYS } = Errno;
const CROOKED = 0x1234_5678_0000_0000n;

describe("iret", () => {
  /** iret with a frame: rax, r11, rcx, flags, rip, cs, rflags, rsp, ss. */
  function returning(rip: bigint, rsp: bigint, cs: bigint): BareGuest {
    const guest = new BareGuest().handle(13).handle(14).code(USER_CODE, STAY);
    const frame = [0n, 0n, 0n, 0n, rip, cs, 0x202n, rsp, 0xe02bn];
    frame.forEach((value, i) => {
      guest.view.setBigUint64(0x8000 + i * 8, BigInt.asUintN(64, value), true);
    });
    return guest.code(CODE, [...movImm(4, 0x8000), ...movImm(0, HYPERVISOR.iret), 0x0f, 0x05, ...STAY]).run();
  }

  test.each([
    ["user mode", 0xe033n],
    ["the kernel", 0xe030n],
  ])("to an address of %s that is not canonical is the guest's own fault", (_where, cs) => {
    const guest = returning(CROOKED, BigInt(USER_STACK), cs);
    expect([guest.rip, guest.vcpu.cpu.kernelMode]).toEqual([handlerOf(13), 1]);
    expect(guest.log.join()).not.toContain("defect");
    expect(auditDomain(guest.domain)).toEqual([]);
  });

  test("with a stack that is not canonical goes on until the stack is used", () => {
    const guest = returning(BigInt(USER_CODE), CROOKED, 0xe033n);
    expect(guest.rip).toBe(USER_CODE);
    expect(auditDomain(guest.domain)).toEqual([]);
  });
});

describe("addresses in hypercalls", () => {
  let guest: BareGuest;
  beforeEach(() => {
    guest = new BareGuest();
  });
  const args = new HypercallArgs();
  function make(number: number, ...values: bigint[]): unknown {
    for (let i = 0; i < 6; i++) {
      const bits = BigInt.asUintN(64, values[i] ?? 0n);
      args.set(i, Number(bits & 0xffff_ffffn) | 0, Number(bits >> 32n) | 0);
    }
    return call(guest.vcpu.context, number, args);
  }

  test.each([MMUEXT.invlpgLocal, MMUEXT.invlpgAll])("mmuext_op %i ignores a page that is not canonical", (command) => {
    for (const va of [CROOKED, 1n << 63n, 0x8000_0000_0000n, 0xffff_8000_0000_0000n]) {
      MmuextOp.cmd.set(guest.view, DATA, command);
      MmuextOp.arg1.linearAddr.setBig(guest.view, DATA, va);
      expect(make(HYPERVISOR.mmuextOp, BigInt(DATA), 1n, 0n, 0x7ff0n)).toBe(0);
    }
  });

  test.each([
    ["update_va_mapping", HYPERVISOR.updateVaMapping, [CROOKED, 0n, 2n]],
    ["set_segment_base", HYPERVISOR.setSegmentBase, [0n, CROOKED]],
    ["set_gdt", HYPERVISOR.setGdt, [CROOKED, 8n]],
    ["set_trap_table", HYPERVISOR.setTrapTable, [CROOKED]],
    ["set_debugreg", HYPERVISOR.setDebugreg, [0n, CROOKED]],
    ["vcpu_op initialise", HYPERVISOR.vcpuOp, [0n, 0n, CROOKED]],
  ])("%s refuses one that is not canonical, with a negative answer", (_name, number, values) => {
    expect(make(number, ...values)).toBeLessThan(0);
    expect(auditDomain(guest.domain)).toEqual([]);
  });

  test.each(Object.entries(CALLBACKTYPE).filter(([name]) => name !== "sysenterDeprecated"))(
    "callback %s keeps its address when a crooked one is refused",
    (_name, type) => {
      const register = (address: bigint) => {
        CallbackRegister.type.set(guest.view, DATA, type);
        CallbackRegister.address.setBig(guest.view, DATA, address);
        return make(HYPERVISOR.callbackOp, BigInt(CALLBACKOP.register), BigInt(DATA));
      };
      expect(register(0x5000n)).toBe(0);
      const before = JSON.stringify([
        guest.vcpu.eventCallback,
        guest.vcpu.failsafeCallback,
        guest.vcpu.syscallCallback,
      ]);
      expect(register(CROOKED)).toBe(-EINVAL);
      expect(JSON.stringify([guest.vcpu.eventCallback, guest.vcpu.failsafeCallback, guest.vcpu.syscallCallback])).toBe(
        before,
      );
    },
  );

  test("a callback or hypercall that there is not is -ENOSYS, never a positive number", () => {
    CallbackRegister.type.set(guest.view, DATA, 99);
    expect(make(HYPERVISOR.callbackOp, BigInt(CALLBACKOP.register), BigInt(DATA))).toBe(-ENOSYS);
    expect(make(64n as never as number)).toBe(-ENOSYS);
  });
});

describe("VCPUOP_initialise", () => {
  let arena: Arena;
  let domain: Domain;
  const gdt = SPARE_TABLES_PFN;
  beforeEach(() => {
    arena = new Arena();
    domain = arena.domains.get(1)!;
    const second = domain.vcpus[1]!;
    second.setUp(false);
    second.initialised = false;
  });

  /** Initialises vCPU 1 with a good context, changed by `change`. */
  function initialise(change: (view: DataView) => void): unknown {
    const bytes = new Uint8Array(VcpuGuestContext.size);
    const view = new DataView(bytes.buffer);
    const { map } = domain.memory;
    const context = VcpuGuestContext;
    context.flags.setNumber(view, 0, VGCF.inKernel);
    context.ctrlreg.at(3).setNumber(view, 0, (map.baseMfn + TABLES_PFN) * 4096);
    context.userRegs.rip.setNumber(view, 0, 0x2000);
    context.gdtEnts.setNumber(view, 0, 512);
    context.gdtFrames.at(0).setNumber(view, 0, map.baseMfn + gdt);
    change(view);
    const args = new HypercallArgs();
    expect(domain.memory.copyToGuest(0, 0x8000, bytes)).toBe(true);
    for (const [i, value] of [VCPUOP.initialise, 1, 0x8000].entries()) args.setNumber(i, value);
    return call(domain.vcpus[0]!.context, HYPERVISOR.vcpuOp, args);
  }

  test("takes a state once", () => {
    expect(initialise(() => {})).toBe(0);
    expect(initialise(() => {})).toBe(-EEXIST);
    expect(auditDomain(domain)).toEqual([]);
  });

  const { userRegs, ctrlreg, gdtEnts, gdtFrames, ldtEnts, kernelSp, trapCtxt, flags } = VcpuGuestContext;
  test.each<[string, (view: DataView) => void]>([
    ["an instruction pointer that is not canonical", (view) => userRegs.rip.setBig(view, 0, CROOKED)],
    ["a kernel stack that is not canonical", (view) => kernelSp.setBig(view, 0, CROOKED)],
    ["a trap handler that is not canonical", (view) => trapCtxt.at(200).address.setBig(view, 0, CROOKED)],
    ["a root that is no L4", (view) => ctrlreg.at(3).setNumber(view, 0, (0x10000 + TABLES_PFN + 1) * 4096)],
    ["a root that is nobody's", (view) => ctrlreg.at(3).setBig(view, 0, 0xffff_ffff_f000n)],
    ["a GDT that is a page table", (view) => gdtFrames.at(0).setNumber(view, 0, 0x10000 + TABLES_PFN)],
    ["a GDT of 2^63 entries", (view) => gdtEnts.setBig(view, 0, 1n << 63n)],
    ["an LDT of 2^32 entries", (view) => ldtEnts.setBig(view, 0, 1n << 32n)],
    ["user mode without a root", (view) => flags.setNumber(view, 0, 0)],
  ])("refuses %s, and may be asked again", (_what, change) => {
    expect(initialise(change)).toBe(-EINVAL);
    expect(domain.vcpus[1]!.initialised).toBe(false);
    expect(auditDomain(domain)).toEqual([]);
    expect(initialise(() => {})).toBe(0);
    expect(auditDomain(domain)).toEqual([]);
    expect(arena.close()).toEqual([]);
  });
});

describe("descriptors", () => {
  /** High halves of descriptors, by their access byte. */
  const high = (access: number, more = 0) => (access << 8) | more;
  test.each([
    ["a TSS", high(0x89), false],
    ["an LDT", high(0x82), false],
    ["an interrupt gate", high(0x8e), false],
    ["a task gate", high(0x85), false],
    ["a call gate to the hypervisor's code", high(0xec), false],
    ["a call gate that copies parameters", high(0xec, 1), false],
    ["code of privilege 0", high(0x9b, 0x20_0000), true],
    ["data of privilege 0", high(0x93), true],
    ["nothing that is present", high(0x0e), true],
  ])("%s: as a page that is loaded, and by update_descriptor", (_what, hi, accepted) => {
    const arena = new Arena();
    const domain = arena.domains.get(1)!;
    const { memory } = domain;
    const { baseMfn } = memory.map;
    const [page, loaded] = [SPARE_TABLES_PFN, SPARE_TABLES_PFN + 1];
    const lo = 0xe010_0000 | 0;
    memory.types.storeEntry(page, 7, lo, hi);
    expect(memory.vcpuTables.setGdt(0, [baseMfn + page], 512)).toBe(accepted ? 0 : -EINVAL);
    expect(memory.vcpuTables.setGdt(1, [baseMfn + loaded], 512)).toBe(0);
    const args = new HypercallArgs();
    args.setNumber(0, (baseMfn + loaded) * 4096 + 56);
    args.set(1, lo, hi);
    expect(call(domain.vcpus[0]!.context, HYPERVISOR.updateDescriptor, args)).toBe(accepted ? 0 : -EINVAL);
    // What is present in a loaded table is of privilege 3.
    const stored = memory.words[memory.types.wordOf(loaded, 7) + 1]!;
    expect((stored & 0x8000) === 0 || (stored & 0x6000) === 0x6000).toBe(true);
    expect(memory.frames.type(loaded)).toBe(PageType.segDesc);
    expect(auditDomain(domain)).toEqual([]);
    expect(arena.close()).toEqual([]);
  });
});
