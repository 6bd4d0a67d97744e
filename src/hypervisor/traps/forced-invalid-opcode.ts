/**
 * Xen's emulation prefix: `ud2a; .ascii "xen"` in front of a `cpuid` asks for the hypervisor's answer instead of the processor's
 * (XEN_EMULATE_PREFIX in arch-x86/xen.h).
 */
import { XEN_EMULATE_PREFIX } from "../../abi/arch-x86-64.ts";
import { Reg } from "../../engine/cpu-state.ts";
import type { Vcpu } from "../vcpu.ts";
import { emulateCpuid } from "./cpuid.ts";
import { emulationEnds } from "./debug-registers.ts";
import { instructionBytes } from "./instruction-bytes.ts";

const PATTERN = [...XEN_EMULATE_PREFIX, 0x0f, 0xa2];

/** Executes the instruction behind the prefix. False when there is no such thing at rip: the #UD is the guest's. */
export function emulateForcedInvalidOpcode(vcpu: Vcpu): boolean {
  const bytes = instructionBytes(vcpu);
  if (bytes.length < PATTERN.length || PATTERN.some((byte, i) => bytes[i] !== byte)) return false;
  emulateCpuid(vcpu);
  vcpu.cpu.setNumber(Reg.rip, vcpu.cpu.va(Reg.rip) + PATTERN.length);
  emulationEnds(vcpu);
  return true;
}
