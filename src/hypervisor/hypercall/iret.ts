/**
 * HYPERVISOR_iret: the kernel returns from a frame on its stack that only the hypervisor can return from, to user mode above all
 * (arch-x86/xen-x86_64.h, struct iret_context).
 */
import { FLAT, IretContext, VGCF } from "../../abi/arch-x86-64.ts";
import { VMASST_TYPE } from "../../abi/xen.ts";
import { Reg } from "../../engine/cpu-state.ts";
import { crashDomain } from "../traps/crash.ts";
import { loadReturnSegments } from "../traps/segments.ts";
import { registersSet } from "./result.ts";
import type { HypercallRow } from "./table.ts";

const IF = 0x200;
const IOPL = 0x3000;
const RF = 0x1_0000;
const VM = 0x2_0000;

const bytes = new Uint8Array(IretContext.size);
const frame = new DataView(bytes.buffer);

export const iret: HypercallRow = {
  name: "iret",
  run({ domain, vcpu }) {
    const { cpu } = vcpu;
    if (!domain.memory.copyFromGuest(vcpu.id, cpu.va(Reg.rsp), bytes)) {
      crashDomain(vcpu, "iret from a stack that cannot be read");
      return registersSet;
    }
    const cs = IretContext.cs.lo(frame, 0) & 0xffff;
    const ss = IretContext.ss.lo(frame, 0) & 0xffff;
    const rflags = IretContext.rflags.lo(frame, 0);
    if ((cs & 3) === 3) {
      if (cpu.cr3User === 0) {
        crashDomain(vcpu, "iret to user mode without user page tables");
        return registersSet;
      }
      cpu.kernelMode = 0;
    }
    if (domain.assists(VMASST_TYPE.architecturalIopl)) vcpu.iopl = (rflags & IOPL) >> 12;
    const take = (
      reg: number,
      field: { lo: (v: DataView, b: number) => number; hi: (v: DataView, b: number) => number },
    ) => cpu.set(reg, field.lo(frame, 0), field.hi(frame, 0));
    take(Reg.rip, IretContext.rip);
    take(Reg.rsp, IretContext.rsp);
    take(Reg.rax, IretContext.rax);
    cpu.rflags = (rflags & ~(IOPL | VM)) | IF;
    cpu.resumeFlag = (rflags & RF) !== 0;
    cpu.stepPending = false;
    vcpu.upcallMasked = (rflags & IF) === 0;
    vcpu.nmiMasked = false;
    if ((IretContext.flags.lo(frame, 0) & VGCF.inSyscall) !== 0) {
      // As `sysret` does it: rcx and r11 are used up, and the segments are the flat ones.
      take(Reg.rcx, IretContext.rip);
      cpu.set(Reg.r11, (rflags & ~(IOPL | VM)) | IF, IretContext.rflags.hi(frame, 0));
      // Nor has it RF, and with TF it traps before an instruction is executed.
      cpu.resumeFlag = false;
      cpu.stepPending = true;
      loadReturnSegments(vcpu, FLAT.cs64, FLAT.ss64);
    } else {
      take(Reg.rcx, IretContext.rcx);
      take(Reg.r11, IretContext.r11);
      loadReturnSegments(vcpu, cs | 3, ss | 3);
    }
    return registersSet;
  },
};
