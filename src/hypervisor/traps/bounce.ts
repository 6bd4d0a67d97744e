/**
 * Entering the guest kernel: the frame that Xen builds on the kernel's stack for exceptions, events, system calls and the failsafe
 * callback, and where execution goes on.
 *
 * From the top: ss, rsp, rflags, cs with the saved upcall mask in bits 32 to 39, rip, [error code], [gs, fs, es, ds for the
 * failsafe callback], r11, rcx. rflags.IF shows whether events were enabled; cs has privilege 0 in its selector when the kernel itself was
 * interrupted. Coming from user mode the stack is the one that stack_switch named, and the kernel's page tables are in use.
 */
import { VMASST_TYPE } from "../../abi/xen.ts";
import { Reg, SegmentRegister } from "../../engine/cpu-state.ts";
import type { Vcpu } from "../vcpu.ts";
import { crashDomain } from "./crash.ts";
import { loadFlatKernelSegments } from "./flat-segments.ts";

const IF = 0x200;
const RF = 0x1_0000;
const IOPL_SHIFT = 12;
/** TF, NT, RF, VM and AC are clear in a handler. */
const CLEARED_FLAGS = 0x100 | 0x4000 | RF | 0x2_0000 | 0x4_0000;
const IOPL_MASK = 0x3000;

const MAX_WORDS = 12;
const frame = new Int32Array(MAX_WORDS * 2);
const frameBytes = new Uint8Array(frame.buffer);

export interface Bounce {
  /** Handler's address; 0 for none, which is the end of the domain. */
  readonly address: number;
  readonly maskEvents: boolean;
  readonly errorCode?: number;
  /** The instruction is to be made again, as after every fault: rflags.RF is set in the frame. */
  readonly restart?: boolean;
  /** The failsafe callback: ds, es, fs and gs, as they were to be loaded. Its address may be 0. */
  readonly failsafe?: readonly [ds: number, es: number, fs: number, gs: number];
  /** For the crash report: what there was no handler for. */
  readonly what: string;
}

/** Makes the vCPU enter its kernel. Crashes the domain when there is no handler, or no stack to write to. */
export function bounceToKernel(vcpu: Vcpu, bounce: Bounce): void {
  const { cpu, domain } = vcpu;
  if ((bounce.address === 0 && bounce.failsafe === undefined) || Number.isNaN(bounce.address)) {
    crashDomain(vcpu, `no handler for ${bounce.what}`);
    return;
  }
  const fromKernel = cpu.kernelMode === 1;
  let selector = cpu.selector(SegmentRegister.cs);
  let sp: number;
  if (fromKernel) {
    selector &= ~3;
    sp = cpu.va(Reg.rsp);
  } else {
    cpu.kernelMode = 1;
    sp = vcpu.kernelSp;
  }
  const masked = vcpu.upcallMasked;
  const savedMask = vcpu.infoBytes[1]!;
  if (bounce.maskEvents) vcpu.upcallMasked = true;

  let rflags = cpu.rflags & ~(IF | IOPL_MASK | RF);
  if (bounce.restart) rflags |= RF;
  if (!masked) rflags |= IF;
  if (domain.assists(VMASST_TYPE.architecturalIopl)) rflags |= vcpu.iopl << IOPL_SHIFT;

  let words = 0;
  const push = (lo: number, hi: number) => {
    frame[words * 2] = lo;
    frame[words * 2 + 1] = hi;
    words++;
  };
  push(cpu.lo(Reg.rcx), cpu.hi(Reg.rcx));
  push(cpu.lo(Reg.r11), cpu.hi(Reg.r11));
  for (const asked of bounce.failsafe ?? []) push(asked, 0);
  if (bounce.errorCode !== undefined) push(bounce.errorCode, 0);
  push(cpu.lo(Reg.rip), cpu.hi(Reg.rip));
  push(selector, savedMask);
  push(rflags, 0);
  push(cpu.lo(Reg.rsp), cpu.hi(Reg.rsp));
  push(cpu.selector(SegmentRegister.ss), 0);

  const bytes = words * 8;
  // Hardware aligns what it pushes, ss to rip, to 16 bytes; the error code and what Xen adds come below that.
  const top = Number.isNaN(sp) ? Number.NaN : sp - (sp - Math.floor(sp / 16) * 16);
  if (Number.isNaN(top) || !domain.memory.copyToGuest(vcpu.id, top - bytes, frameBytes.subarray(0, bytes))) {
    crashDomain(vcpu, `no stack for ${bounce.what}: ${bytes} bytes below ${describe(sp)}`);
    return;
  }
  cpu.rflags = cpu.rflags & ~CLEARED_FLAGS;
  cpu.resumeFlag = false;
  cpu.setNumber(Reg.rsp, top - bytes);
  cpu.setNumber(Reg.rip, bounce.address);
  // Xen gets there by sysret, which takes rip from rcx and the flags from r11.
  cpu.setNumber(Reg.rcx, bounce.address);
  cpu.set(Reg.r11, cpu.rflags, 0);
  loadFlatKernelSegments(cpu);
}

function describe(sp: number): string {
  return Number.isNaN(sp) ? "a non-canonical address" : `0x${BigInt.asUintN(64, BigInt(sp)).toString(16)}`;
}
