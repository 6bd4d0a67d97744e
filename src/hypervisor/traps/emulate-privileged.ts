/**
 * Privileged instructions of a guest kernel: in ring 3 each raises #GP(0), and the hypervisor does what Xen does for a PV guest: port
 * I/O of a domain without devices, CR and DR accesses, MSRs by policy. What is not in this list is the guest's own #GP.
 */
import { Reg } from "../../engine/cpu-state.ts";
import { Vector } from "../../engine/exits.ts";
import type { Vcpu } from "../vcpu.ts";
import { readControlRegister, writeControlRegister } from "./control-registers.ts";
import { emulationEnds, portBreakpoints, readDebugRegister, writeDebugRegister } from "./debug-registers.ts";
import { injectException } from "./inject.ts";
import { instructionBytes } from "./instruction-bytes.ts";
import { readMsr, writeMsr } from "./msr.ts";
import { readPort, stringIo, writePort } from "./port-io.ts";
import {
  decodePrivileged,
  type Emulated,
  ioplAllows,
  type Privileged,
  regField,
  rmField,
  sizeOf,
} from "./privileged.ts";

const CLI = 0xfa;
const STI = 0xfb;

/** Tries to emulate the instruction at rip. True when it was dealt with, false when the #GP is the guest's. */
export function emulatePrivileged(vcpu: Vcpu): boolean {
  const insn = decodePrivileged(instructionBytes(vcpu));
  if (insn === undefined) return false;
  const { cpu } = vcpu;
  const rip = cpu.va(Reg.rip);
  const outcome = execute(vcpu, insn);
  if (outcome === "done") {
    cpu.setNumber(Reg.rip, rip + insn.length);
    // Xen's emulator has no single step behind cli and sti.
    if (insn.opcode !== CLI && insn.opcode !== STI) emulationEnds(vcpu, hitsOf(vcpu, insn));
  }
  return outcome !== "refused";
}

function execute(vcpu: Vcpu, insn: Privileged): Emulated {
  const { cpu } = vcpu;
  const { opcode } = insn;
  switch (opcode) {
    case 0x6c:
    case 0x6d:
    case 0x6e:
    case 0x6f:
      return stringIo(vcpu, insn);
    case 0xe4:
    case 0xe5:
    case 0xec:
    case 0xed:
      return input(vcpu, insn);
    case 0xe6:
    case 0xe7:
    case 0xee:
    case 0xef:
      return output(vcpu, insn);
    case CLI:
    case STI:
      // Xen does not let cli and sti touch the upcall mask: a popf could not undo them.
      return ioplAllows(vcpu) ? "done" : "refused";
    case 0x0f08:
    case 0x0f09:
      // invd and wbinvd of a domain without devices: nothing, whoever asks.
      return "done";
    default:
      break;
  }
  // All others are the kernel's alone.
  if (cpu.kernelMode === 0) return "refused";
  switch (opcode) {
    case 0x0f06:
      cpu.tsFlag = false;
      return "done";
    case 0x0f20:
      return readControlRegister(vcpu, regField(insn), rmField(insn));
    case 0x0f22:
      return writeControlRegister(vcpu, regField(insn), rmField(insn));
    case 0x0f21:
      return readDebugRegister(vcpu, regField(insn), rmField(insn));
    case 0x0f23:
      return writeDebugRegister(vcpu, regField(insn), rmField(insn));
    case 0x0f30:
      return writeMsr(vcpu, cpu.lo(Reg.rcx) >>> 0, cpu.lo(Reg.rax), cpu.lo(Reg.rdx)) ? "done" : "refused";
    case 0x0f32: {
      const value = readMsr(vcpu, cpu.lo(Reg.rcx) >>> 0);
      if (value === undefined) return "refused";
      cpu.set(Reg.rax, value[0], 0);
      cpu.set(Reg.rdx, value[1], 0);
      return "done";
    }
    case 0x0f01:
      // xsetbv: the processor has no XSAVE.
      if (insn.modrm !== 0xd1) return "refused";
      injectException(vcpu, Vector.invalidOpcode);
      return "elsewhere";
    default:
      return "refused";
  }
}

/** The port of in and out, and of ins and outs. */
const portOf = ({ cpu }: Vcpu, { opcode, immediate }: Privileged): number =>
  opcode >= 0xe4 && opcode < 0xec ? immediate : cpu.lo(Reg.rdx) & 0xffff;

/** Breakpoints that an instruction has met which is done. */
function hitsOf(vcpu: Vcpu, insn: Privileged): number {
  const { opcode } = insn;
  const isPortIo = (opcode >= 0x6c && opcode <= 0x6f) || (opcode >= 0xe4 && opcode <= 0xef);
  return isPortIo ? portBreakpoints(vcpu, portOf(vcpu, insn), sizeOf(insn)) : 0;
}

function input(vcpu: Vcpu, insn: Privileged): Emulated {
  const { cpu } = vcpu;
  const bytes = sizeOf(insn);
  const port = portOf(vcpu, insn);
  const value = readPort(vcpu, port, bytes);
  if (value === undefined) return "refused";
  const eax = cpu.lo(Reg.rax);
  if (bytes === 1) cpu.set(Reg.rax, (eax & ~0xff) | value, cpu.hi(Reg.rax));
  else if (bytes === 2) cpu.set(Reg.rax, (eax & ~0xffff) | value, cpu.hi(Reg.rax));
  else cpu.set(Reg.rax, value, 0);
  return "done";
}

function output(vcpu: Vcpu, insn: Privileged): Emulated {
  const { cpu } = vcpu;
  const bytes = sizeOf(insn);
  const port = portOf(vcpu, insn);
  return writePort(vcpu, port, bytes, cpu.lo(Reg.rax)) ? "done" : "refused";
}
