/**
 * What becomes of everything that makes a guest leave the engine: hypercalls, system calls, exceptions, software interrupts, cpuid.
 */
import { VMASST_TYPE } from "../../abi/xen.ts";
import { Reg } from "../../engine/cpu-state.ts";
import { ExitKind, Vector } from "../../engine/exits.ts";
import { Exit } from "../activity.ts";
import { Bug } from "../bug.ts";
import { dispatchHypercall } from "../hypercall/dispatch.ts";
import type { Vcpu } from "../vcpu.ts";
import { bounceToKernel } from "./bounce.ts";
import { emulateCpuid } from "./cpuid.ts";
import { crashDomain } from "./crash.ts";
import { emulationEnds } from "./debug-registers.ts";
import { emulatePrivileged } from "./emulate-privileged.ts";
import { emulatePteWrite } from "./emulate-pte-write.ts";
import { emulateForcedInvalidOpcode } from "./forced-invalid-opcode.ts";
import {
  addressText,
  injectEmulatedInterrupt,
  injectException,
  injectInterrupt,
  injectPageFault,
  PF,
} from "./inject.ts";

/** The Linux system call vector, for which Xen has a gate of its own. */
const INT80 = 0x80;
const TRAP_FLAG = 0x100;

export function handleExit(vcpu: Vcpu, kind: ExitKind): void {
  switch (kind) {
    case ExitKind.hypercall:
      if (vcpu.cpu.kernelMode === 1) {
        vcpu.domain.activity.count(Exit.hypercall);
        dispatchHypercall(vcpu);
      } else systemCall(vcpu);
      return;
    case ExitKind.exception:
      handleException(vcpu);
      return;
    case ExitKind.softInt:
      softwareInterrupt(vcpu);
      return;
    case ExitKind.cpuid:
      vcpu.domain.activity.count(Exit.cpuid);
      emulateCpuid(vcpu);
      vcpu.cpu.setNumber(Reg.rip, vcpu.cpu.va(Reg.rip) + vcpu.cpu.exitLength);
      emulationEnds(vcpu);
      return;
    case ExitKind.badFrame:
      vcpu.domain.activity.count(Exit["bad-frame"]);
      crashDomain(vcpu, `its page tables name a frame that is no memory, at address ${addressText(vcpu.cpu.cr2)}`);
      return;
    case ExitKind.budget:
      return;
    default:
      throw new Bug(`the engine came back for an unknown reason ${kind satisfies never}`);
  }
}

function handleException(vcpu: Vcpu): void {
  const { cpu } = vcpu;
  const vector = cpu.exitVector;
  const errorCode = cpu.exitErrorCode;
  vcpu.domain.activity.count(vector === Vector.pageFault ? Exit["page-fault"] : Exit.exception);
  switch (vector) {
    case Vector.pageFault:
      handlePageFault(vcpu, cpu.cr2, errorCode);
      return;
    case Vector.generalProtection:
      if (errorCode === 0 && emulatePrivileged(vcpu)) return;
      break;
    case Vector.invalidOpcode:
      if (emulateForcedInvalidOpcode(vcpu)) return;
      break;
    case Vector.deviceNotAvailable:
      // Xen clears CR0.TS as it delivers the trap: a guest's `clts` in the handler would trap again.
      cpu.tsFlag = false;
      break;
    default:
      break;
  }
  if (cpu.exitHasErrorCode) injectException(vcpu, vector, errorCode);
  else injectException(vcpu, vector);
}

function handlePageFault(vcpu: Vcpu, va: number, errorCode: number): void {
  const write = (errorCode & (PF.present | PF.write | PF.reserved | PF.fetch)) === (PF.present | PF.write);
  if (write && vcpu.domain.assists(VMASST_TYPE.writablePagetables) && emulatePteWrite(vcpu, va)) {
    // Xen tells of the step, but not in DR6.
    if ((vcpu.cpu.rflags & TRAP_FLAG) !== 0) injectException(vcpu, Vector.debug);
    return;
  }
  injectPageFault(vcpu, va, errorCode);
}

/** `syscall` from user mode. Without a callback it is an invalid opcode. */
function systemCall(vcpu: Vcpu): void {
  const { syscallCallback, cpu } = vcpu;
  vcpu.domain.activity.count(Exit["system-call"]);
  if (syscallCallback.address !== 0) {
    bounceToKernel(vcpu, { ...syscallCallback, what: "system call" });
    return;
  }
  cpu.setNumber(Reg.rip, cpu.va(Reg.rip) - 2);
  // It was no fault: the flags are those of the call.
  injectInterrupt(vcpu, Vector.invalidOpcode);
}

/** Vectors whose gates are open to all, whatever the guest says of its own: int3 and into are made by instructions without a number. */
const OPEN_GATES: readonly number[] = [Vector.breakpoint, Vector.overflow];

/** `int n` and `int3`. A vector that the caller may not raise is #GP with the vector in its error code. */
function softwareInterrupt(vcpu: Vcpu): void {
  const { cpu, traps } = vcpu;
  const vector = cpu.exitVector;
  vcpu.domain.activity.count(Exit["software-interrupt"]);
  if (OPEN_GATES.includes(vector) || (vector === INT80 && traps.address(vector) !== 0)) {
    injectInterrupt(vcpu, vector);
    return;
  }
  // A kernel counts as privilege 1, user mode as 3.
  const least = cpu.kernelMode === 1 ? 1 : 3;
  if (vector !== INT80 && traps.dpl(vector) >= least) {
    // Xen takes the instruction for two bytes, whatever prefixes it has.
    cpu.setNumber(Reg.rip, cpu.exitInsnRip + 2);
    injectEmulatedInterrupt(vcpu, vector);
    return;
  }
  cpu.setNumber(Reg.rip, cpu.exitInsnRip);
  injectException(vcpu, Vector.generalProtection, vector * 8 + 2);
}
