/** How a guest kernel is entered, and how it leaves: frames, stacks, masks, modes, as arch-x86/xen-x86_64.h and Xen 4.17 have them. */
import { describe, expect, test } from "vitest";
import { FLAT, SEGBASE, TI, VGCF } from "../../src/abi/arch-x86-64.ts";
import { CALLBACKF, CALLBACKTYPE, CallbackRegister } from "../../src/abi/callback.ts";
import { SHUTDOWN } from "../../src/abi/sched.ts";
import { HYPERVISOR, VMASST_TYPE } from "../../src/abi/xen.ts";
import { Reg } from "../../src/engine/cpu-state.ts";
import {
  BareGuest,
  BOOT_STACK,
  CALLBACK,
  CODE,
  call,
  DATA,
  handlerOf,
  KERNEL_STACK,
  movImm,
  push,
  STAY,
  USER_CODE,
  USER_STACK,
} from "./bare-guest.ts";

const IF = 0x200;
/** cs in a frame of an interrupted kernel: privilege 0, and the saved upcall mask above. */
const KERNEL_CS = FLAT.cs64 & ~3;
const MASKED = 2 ** 32;

describe("exceptions in the kernel", () => {
  test("#UD: rcx, r11, rip, cs, rflags, rsp, ss on the kernel's own stack, 16-byte aligned", () => {
    const guest = new BareGuest().handle(6).code(CODE, [...movImm(1, 11), ...movImm(11, 22), ...push(1), 0x0f, 0x0b]);
    guest.run();
    const at = CODE + 7 + 7 + 5;
    expect(guest.rip).toBe(handlerOf(6));
    expect(guest.rsp).toBe(BOOT_STACK - 16 - 7 * 8);
    const [rcx, r11, rip, cs, rflags, rsp, ss] = guest.frame(7);
    expect([rcx, r11, rip, cs, rsp, ss]).toEqual([11, 22, at, KERNEL_CS + MASKED, BOOT_STACK - 8, FLAT.ss64]);
    // Events are masked at start of day: IF is clear in the frame, whatever rflags has.
    expect(rflags! & (IF | 0x3000)).toBe(0);
    // Xen gets there by sysret: rip came from rcx.
    expect(guest.reg("rcx")).toBe(handlerOf(6));
  });

  test("IF in the frame says that events were enabled, and a gate with the flag masks them", () => {
    const guest = new BareGuest().handle(6, TI.maskEvents).code(CODE, [0x0f, 0x0b]);
    guest.vcpu.upcallMasked = false;
    guest.run();
    const frame = guest.frame(7);
    expect(frame[4]! & IF).toBe(IF);
    expect(frame[3]).toBe(KERNEL_CS);
    expect(guest.vcpu.upcallMasked).toBe(true);
  });

  test("#PF: an error code without the user bit; the address in vcpu_info and in CR2", () => {
    // mov rax, [0x7ffff000]
    const guest = new BareGuest().handle(14).code(CODE, [0x48, 0x8b, 0x04, 0x25, 0x00, 0xf0, 0xff, 0x7f]);
    guest.run();
    expect(guest.rip).toBe(handlerOf(14));
    expect(guest.rsp % 16).toBe(0);
    expect(guest.frame(4).slice(2)).toEqual([0, CODE]);
    expect(guest.vcpu.info[16 / 4]).toBe(0x7fff_f000);
    expect(guest.reg("cr2")).toBe(0x7fff_f000);
  });

  test("#PF: writing to a page table that is mapped read-only has error code 3", () => {
    const guest = new BareGuest().handle(14).code(CODE, [0x48, 0x89, 0x04, 0x25, 0x00, 0x30, 0x10, 0x00]);
    guest.run();
    expect(guest.frame(4).slice(2)).toEqual([3, CODE]);
  });

  test("int3 and int n by a gate of privilege 1 or more; others are #GP with the vector", () => {
    const breakpoint = new BareGuest().handle(3).code(CODE, [0xcc]).run();
    expect([breakpoint.rip, breakpoint.frame(3)[2]]).toEqual([handlerOf(3), CODE + 1]);
    const allowed = new BareGuest().handle(0x21, 1).code(CODE, [0xcd, 0x21]).run();
    expect([allowed.rip, allowed.frame(3)[2]]).toEqual([handlerOf(0x21), CODE + 2]);
    const refused = new BareGuest().handle(0x21, 0).handle(13).code(CODE, [0xcd, 0x21]).run();
    expect(refused.rip).toBe(handlerOf(13));
    expect(refused.frame(4).slice(2)).toEqual([0x21 * 8 + 2, CODE]);
  });

  test("without a handler the domain crashes, and the report says of what", () => {
    const guest = new BareGuest().code(CODE, [0x0f, 0x0b]).run();
    expect(guest.domain.shutdownReason).toBe(SHUTDOWN.crash);
    expect(guest.domain.crash).toMatchObject({ reason: "no handler for exception 6", vcpu: 0 });
    expect(guest.domain.crash!.registers.rip).toBe("0x1000");
  });

  test("without a stack the domain crashes, and says so", () => {
    const guest = new BareGuest()
      .handle(6)
      .code(CODE, [...movImm(4, 0x10_3000), 0x0f, 0x0b])
      .run();
    expect(guest.domain.crash!.reason).toMatch(/^no stack for exception 6/);
  });
});

describe("user mode", () => {
  test("syscall enters the callback on the kernel's stack, with the user's rip and rflags in rcx and r11", () => {
    const guest = new BareGuest().inUserMode().code(USER_CODE, [0x0f, 0x05]);
    guest.vcpu.syscallCallback.address = CALLBACK;
    guest.run();
    expect([guest.rip, guest.rsp, guest.vcpu.cpu.kernelMode]).toEqual([CALLBACK, KERNEL_STACK - 7 * 8, 1]);
    const [rcx, r11, rip, cs, rflags, rsp, ss] = guest.frame(7);
    expect([rcx, rip, cs, rsp, ss]).toEqual([USER_CODE + 2, USER_CODE + 2, FLAT.cs64 + MASKED, USER_STACK, FLAT.ss64]);
    expect(r11! & ~IF).toBe(rflags! & ~IF);
  });

  test("syscall masks events only when its callback says so", () => {
    for (const maskEvents of [false, true]) {
      const guest = new BareGuest().inUserMode().code(USER_CODE, [0x0f, 0x05]);
      Object.assign(guest.vcpu.syscallCallback, { address: CALLBACK, maskEvents });
      guest.vcpu.upcallMasked = false;
      guest.run();
      expect(guest.vcpu.upcallMasked).toBe(maskEvents);
    }
  });

  test("syscall without a callback is #UD at the instruction", () => {
    const guest = new BareGuest().handle(6).inUserMode().code(USER_CODE, [0x0f, 0x05]).run();
    expect([guest.rip, guest.frame(3)[2]]).toEqual([handlerOf(6), USER_CODE]);
  });

  test("a page of the kernel's does not exist for it: #PF with the user bit", () => {
    const guest = new BareGuest()
      .handle(14)
      .inUserMode()
      .code(USER_CODE, [0x48, 0x8b, 0x04, 0x25, 0, 0x40, 0, 0])
      .run();
    expect([guest.rip, guest.rsp]).toEqual([handlerOf(14), KERNEL_STACK - 8 * 8]);
    expect(guest.frame(5).slice(2)).toEqual([4, USER_CODE, FLAT.cs64 + MASKED]);
  });

  test("int n needs a gate of privilege 3; int 0x80 only a handler", () => {
    const refused = new BareGuest().handle(0x21, 1).handle(13).inUserMode().code(USER_CODE, [0xcd, 0x21]).run();
    expect(refused.frame(3)[2]).toBe(0x21 * 8 + 2);
    const allowed = new BareGuest().handle(0x21, 3).inUserMode().code(USER_CODE, [0xcd, 0x21]).run();
    expect(allowed.rip).toBe(handlerOf(0x21));
    const int80 = new BareGuest().handle(0x80, 0).inUserMode().code(USER_CODE, [0xcd, 0x80]).run();
    expect(int80.rip).toBe(handlerOf(0x80));
  });

  test("privileged instructions are #GP: rdmsr, mov from CR0, hlt, in", () => {
    for (const bytes of [[0x0f, 0x32], [0x0f, 0x20, 0xc0], [0xf4], [0xec]]) {
      const guest = new BareGuest().handle(13).inUserMode().code(USER_CODE, bytes).run();
      expect([guest.rip, guest.frame(4).slice(2)]).toEqual([handlerOf(13), [0, USER_CODE]]);
    }
  });

  test("each mode has its GS base", () => {
    const guest = new BareGuest().code(CODE, [
      ...call(HYPERVISOR.setSegmentBase, SEGBASE.gsKernel, 0x1111),
      ...call(HYPERVISOR.setSegmentBase, SEGBASE.gsUser, 0x2222),
      ...STAY,
    ]);
    guest.run();
    expect(guest.reg("gsBase")).toBe(0x1111);
    guest.inUserMode();
    expect(guest.reg("gsBase")).toBe(0x2222);
  });
});

describe("events", () => {
  test("an upcall interrupts the kernel, and masks further ones", () => {
    const guest = new BareGuest().code(CODE, STAY);
    guest.vcpu.eventCallback.address = CALLBACK;
    guest.vcpu.upcallMasked = false;
    guest.run(100);
    expect(guest.rip).toBe(CODE);
    guest.shard.allocUnbound(1, 0);
    guest.shard.bindDom0(1, 1);
    guest.shard.notifyPort(1, 1);
    guest.run(100);
    expect([guest.rip, guest.rsp, guest.vcpu.upcallMasked]).toEqual([CALLBACK, BOOT_STACK - 7 * 8, true]);
    expect(guest.frame(5).slice(2)).toEqual([CODE, KERNEL_CS, guest.frame(5)[4]]);
    expect(guest.frame(5)[4]! & IF).toBe(IF);
  });

  test("an upcall interrupts user mode onto the kernel's stack", () => {
    const guest = new BareGuest().inUserMode().code(USER_CODE, STAY);
    guest.vcpu.eventCallback.address = CALLBACK;
    guest.vcpu.upcallMasked = false;
    guest.vcpu.markEventsPending();
    guest.run(100);
    expect([guest.rip, guest.rsp, guest.vcpu.cpu.kernelMode]).toEqual([CALLBACK, KERNEL_STACK - 7 * 8, 1]);
  });

  test("an NMI comes although events are masked, and no second one before an iret", () => {
    const guest = new BareGuest().code(CODE, STAY);
    guest.vcpu.nmiCallback = CALLBACK;
    guest.vcpu.raiseNmi();
    guest.run(100);
    expect(guest.rip).toBe(CALLBACK);
    guest.vcpu.raiseNmi();
    guest.run(100);
    expect(guest.rsp).toBe(BOOT_STACK - 7 * 8);
  });
});

describe("the iret hypercall", () => {
  /** The frame it pops: rax, r11, rcx, flags, rip, cs, rflags, rsp, ss. */
  const returning = (fields: { flags?: number; cs?: number; rflags?: number; ss?: number; rip?: number }) => {
    const { flags = 0, cs = FLAT.cs64, rflags = IF, ss = FLAT.ss64, rip = USER_CODE } = fields;
    return [
      ...[ss, USER_STACK, rflags, cs, rip, flags, 33, 22, 11].flatMap(push),
      ...movImm(0, HYPERVISOR.iret),
      0x0f,
      0x05,
    ];
  };

  test("goes to user mode with every register of the frame, and enables events", () => {
    const guest = new BareGuest().code(USER_CODE, STAY).code(CODE, returning({})).run();
    expect([guest.rip, guest.rsp, guest.vcpu.cpu.kernelMode]).toEqual([USER_CODE, USER_STACK, 0]);
    expect([guest.reg("rax"), guest.reg("r11"), guest.reg("rcx")]).toEqual([11, 22, 33]);
    expect(guest.vcpu.upcallMasked).toBe(false);
  });

  test("in a system call rcx and r11 are what sysret leaves", () => {
    const guest = new BareGuest()
      .code(USER_CODE, STAY)
      .code(CODE, returning({ flags: VGCF.inSyscall }))
      .run();
    expect([guest.reg("rcx"), guest.reg("r11") & IF]).toEqual([USER_CODE, IF]);
  });

  test("to privilege 0 it stays in the kernel", () => {
    const guest = new BareGuest()
      .code(DATA, STAY)
      .code(CODE, returning({ cs: KERNEL_CS, rip: DATA, rflags: 0 }))
      .run();
    expect([guest.rip, guest.vcpu.cpu.kernelMode, guest.vcpu.upcallMasked]).toEqual([DATA, 1, true]);
  });

  test("a selector that cannot be loaded is #GP in the kernel, with the state returned to", () => {
    const guest = new BareGuest()
      .handle(13)
      .code(CODE, returning({ cs: 0x33 }))
      .run();
    expect([guest.rip, guest.vcpu.cpu.kernelMode]).toEqual([handlerOf(13), 1]);
    const [, , errorCode, rip, cs, , rsp] = guest.frame(8);
    expect([errorCode, rip, cs! % MASKED, rsp]).toEqual([0x30, USER_CODE, 0x33, USER_STACK]);
  });

  test("a 32-bit code segment is refused, and the log says why", () => {
    const guest = new BareGuest().handle(13);
    // A GDT with a flat 32-bit code segment in entry 1.
    const gdt = 0x3f;
    guest.view.setBigUint64(gdt * 4096 + 8, 0x00cf_fb00_0000_ffffn, true);
    guest.vcpu.cpu.setGdt([guest.domain.memory.map.baseMfn + gdt], 2);
    guest.code(CODE, returning({ cs: 0x0b })).run();
    expect(guest.rip).toBe(handlerOf(13));
    expect(guest.log.join()).toContain("32-bit code segments are not supported");
  });

  test("with architectural_iopl it sets the I/O privilege level, and frames show it", () => {
    const guest = new BareGuest()
      .handle(6)
      .code(USER_CODE, [0x0f, 0x0b])
      .code(CODE, returning({ rflags: IF | 0x3000 }));
    guest.domain.setAssist(VMASST_TYPE.architecturalIopl, true);
    guest.run();
    expect(guest.vcpu.iopl).toBe(3);
    expect(guest.frame(5)[4]! & 0x3000).toBe(0x3000);
  });

  test("from a stack that cannot be read the domain crashes", () => {
    const guest = new BareGuest()
      .code(CODE, [...movImm(4, 0x4000_0000), ...movImm(0, HYPERVISOR.iret), 0x0f, 0x05])
      .run();
    expect(guest.domain.crash!.reason).toBe("iret from a stack that cannot be read");
  });
});

describe("callbacks", () => {
  test("are registered by type, with their flag; addresses are checked", () => {
    const guest = new BareGuest();
    CallbackRegister.type.set(guest.view, DATA, CALLBACKTYPE.syscall);
    CallbackRegister.flags.set(guest.view, DATA, CALLBACKF.maskEvents);
    CallbackRegister.address.setNumber(guest.view, DATA, CALLBACK);
    CallbackRegister.type.set(guest.view, DATA + 64, CALLBACKTYPE.event);
    CallbackRegister.address.set(guest.view, DATA + 64, 0, 0x8000_0000);
    CallbackRegister.type.set(guest.view, DATA + 128, 99);
    const results = [0, 64, 128].flatMap((at, i) => [
      ...call(HYPERVISOR.callbackOp, 0, DATA + at),
      ...[0x48, 0x89, 0x04, 0x25, 0x00 + i * 8, 0x50, 0, 0],
    ]);
    guest.code(CODE, [...results, ...STAY]).run();
    expect([0, 1, 2].map((i) => guest.word(0x5000 + i * 8))).toEqual([0, -22, -38]);
    expect(guest.vcpu.syscallCallback).toEqual({ address: CALLBACK, maskEvents: true });
  });
});

describe("what the hypervisor emulates of a kernel's privileged instructions", () => {
  const executed = (bytes: number[], prepare: (guest: BareGuest) => void = () => {}) => {
    const guest = new BareGuest()
      .handle(13)
      .handle(6)
      .code(CODE, [...bytes, ...STAY]);
    prepare(guest);
    return guest.run();
  };
  const iopl1 = (guest: BareGuest) => {
    guest.vcpu.iopl = 1;
  };

  test("cli and sti: #GP below their privilege, nothing at it", () => {
    expect(executed([0xfa]).rip).toBe(handlerOf(13));
    const guest = executed([0xfa, 0xfb], iopl1);
    expect([guest.rip, guest.vcpu.upcallMasked]).toEqual([CODE + 2, true]);
  });

  test("in: all ones of what is not there, by the operand's width", () => {
    expect(executed([...movImm(0, 0), 0xe4, 0x80], iopl1).reg("rax")).toBe(0xff);
    expect(executed([...movImm(0, 0), 0x66, 0xe5, 0x80], iopl1).reg("rax")).toBe(0xffff);
    expect(executed([...movImm(0, 0), 0xe5, 0x80], iopl1).reg("rax")).toBe(0xffff_ffff);
    expect(executed([0xe4, 0x80]).rip).toBe(handlerOf(13));
  });

  test("the PCI address register remembers, its data register has no device", () => {
    const bytes = [...movImm(0, 0x7654), ...movImm(2, 0xcf8), 0xef, ...movImm(0, 0), 0xed];
    expect(executed(bytes, iopl1).reg("rax")).toBe(0x7654);
    expect(executed([...movImm(2, 0xcfc), 0xed], iopl1).reg("rax")).toBe(0xffff_ffff);
  });

  test("rep insb and rep outsb: the count, the pointer, and faults in between", () => {
    const rep = (count: number, to: number) => [...movImm(1, count), ...movImm(7, to), ...movImm(2, 0x60), 0xf3, 0x6c];
    const guest = executed(rep(3000, DATA), iopl1);
    expect([
      guest.reg("rcx"),
      guest.reg("rdi"),
      guest.view.getUint8(DATA + 2999),
      guest.view.getUint8(DATA + 3000),
    ]).toEqual([0, DATA + 3000, 0xff, 0]);
    const faulting = executed(rep(16, 0x10_0000 - 4), (g) => {
      iopl1(g);
      g.handle(14);
    });
    const [count, , error] = faulting.frame(3);
    expect([faulting.rip, count, error]).toEqual([handlerOf(14), 12, 2]);
  });

  test("an I/O bitmap permits single ports", () => {
    const guest = executed([0xe4, 0x60], (g) => {
      g.vcpu.ioBitmap = DATA;
      g.vcpu.ioBitmapPorts = 0x100;
    });
    expect(guest.rip).toBe(CODE + 2);
    const other = executed([0xe4, 0x61], (g) => {
      g.vcpu.ioBitmap = DATA;
      g.vcpu.ioBitmapPorts = 0x100;
      g.view.setUint8(DATA + 0xc, 2);
    });
    expect(other.rip).toBe(handlerOf(13));
  });

  test("control registers: CR0 with TS alone to change, CR3 the root, CR4 by a mask", () => {
    expect(executed([0x0f, 0x20, 0xc0]).reg("rax")).toBe(0x8005_0033);
    const ts = executed([0x0f, 0x20, 0xc0, 0x48, 0x83, 0xc8, 0x08, 0x0f, 0x22, 0xc0, 0x0f, 0x20, 0xc3, 0x0f, 0x06]);
    expect([ts.reg("rbx"), ts.vcpu.cpu.tsFlag]).toEqual([0x8005_003b, false]);
    expect(executed([...movImm(0, 0), 0x0f, 0x22, 0xc0]).rip).toBe(handlerOf(13));
    const cr3 = executed([0x0f, 0x20, 0xd8]);
    expect(cr3.reg("rax")).toBe((cr3.domain.memory.map.baseMfn + 0x100) * 4096);
    expect(executed([0x0f, 0x20, 0xe0, 0x0f, 0x22, 0xe0]).rip).toBe(CODE + 6);
  });

  test("debug registers are kept, with Xen's checks", () => {
    expect(executed([...movImm(0, 0x1234), 0x0f, 0x23, 0xc0, 0x0f, 0x21, 0xc3]).reg("rbx")).toBe(0x1234);
    // An address of the hypervisor's: sar makes 0xffff800000000000 from 0x8000 << 48.
    const bytes = [...movImm(0, 1), 0x48, 0xc1, 0xe0, 0x3f, 0x48, 0xc1, 0xf8, 0x10, 0x0f, 0x23, 0xc0];
    expect(executed(bytes).rip).toBe(handlerOf(13));
  });

  test("MSRs by the table; one without a row is #GP", () => {
    const rdmsr = (msr: number) => [...movImm(1, msr | 0), 0x0f, 0x32];
    expect(executed(rdmsr(0xc000_0080)).reg("rax")).toBe(0xd01);
    expect(executed(rdmsr(0x1234)).rip).toBe(handlerOf(13));
    const bases = executed([
      ...movImm(0, 0x5000),
      ...movImm(2, 0),
      ...movImm(1, 0xc000_0100 | 0),
      0x0f,
      0x30,
      0x0f,
      0x32,
    ]);
    expect([bases.reg("fsBase"), bases.reg("rax")]).toEqual([0x5000, 0x5000]);
    const crooked = executed([...movImm(2, 0x1000_0000), ...movImm(1, 0xc000_0100 | 0), 0x0f, 0x30]);
    expect(crooked.rip).toBe(handlerOf(13));
  });

  test("the hypercall page is written where the MSR says", () => {
    const guest = new BareGuest();
    const page = guest.domain.memory.map.baseMfn + (DATA >> 12);
    guest.handle(13).code(CODE, [
      ...movImm(0, page << 12),
      ...movImm(2, 0),
      ...movImm(1, 0x4000_0000),
      ...[0x0f, 0x30],
      // call its slot of xen_version(0)
      ...movImm(7, 0),
      ...movImm(3, DATA + 32 * HYPERVISOR.xenVersion),
      ...[0xff, 0xd3],
      ...STAY,
    ]);
    guest.run();
    expect(guest.reg("rax")).toBe(0x4_0011);
  });

  test("hlt, invlpg, lgdt and swapgs are the guest's own #GP", () => {
    for (const bytes of [[0xf4], [0x0f, 0x01, 0x38], [0x0f, 0x01, 0x10], [0x0f, 0x01, 0xf8]]) {
      const guest = executed(bytes);
      expect([bytes, guest.rip]).toEqual([bytes, handlerOf(13)]);
    }
  });

  test("cpuid, plain and behind Xen's prefix, is Xen's", () => {
    const leaf = movImm(0, 0x4000_0000);
    for (const prefix of [[], [0x0f, 0x0b, 0x78, 0x65, 0x6e]]) {
      const guest = executed([...leaf, ...prefix, 0x0f, 0xa2]);
      expect([guest.reg("rax"), guest.reg("rbx")]).toEqual([0x4000_0005, 0x566e_6558]);
      expect(guest.rip).toBe(CODE + 7 + prefix.length + 2);
    }
    expect(executed([0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x90]).rip).toBe(handlerOf(6));
  });
});

test("single stepping: #DB behind the instruction, with TF clear in the handler", () => {
  const guest = new BareGuest().handle(1).code(CODE, [0x90, 0x90]);
  guest.vcpu.cpu.rflags = 0x302;
  guest.run();
  expect([guest.rip, guest.frame(3)[2]]).toEqual([handlerOf(1), CODE + 1]);
  expect(guest.vcpu.cpu.rflags & 0x100).toBe(0);
  expect(guest.vcpu.cpu.lo(Reg.rip)).toBe(handlerOf(1));
});
