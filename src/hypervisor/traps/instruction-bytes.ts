/** The bytes at rip, for instructions that the hypervisor emulates. */
import { Reg } from "../../engine/cpu-state.ts";
import type { Vcpu } from "../vcpu.ts";

/** The longest instruction (Intel SDM volume 2, 2.3.11). */
export const MAX_INSTRUCTION = 15;
const PAGE_SIZE = 4096;

/** Up to 15 bytes from rip; fewer where the next page cannot be read. */
export function instructionBytes(vcpu: Vcpu): Uint8Array {
  const { memory } = vcpu.domain;
  const rip = vcpu.cpu.va(Reg.rip);
  const bytes = new Uint8Array(MAX_INSTRUCTION);
  if (Number.isNaN(rip)) return bytes.subarray(0, 0);
  const inPage = Math.min(MAX_INSTRUCTION, PAGE_SIZE - (((rip % PAGE_SIZE) + PAGE_SIZE) % PAGE_SIZE));
  if (!memory.copyFromGuest(vcpu.id, rip, bytes.subarray(0, inPage))) return bytes.subarray(0, 0);
  if (inPage === MAX_INSTRUCTION) return bytes;
  return memory.copyFromGuest(vcpu.id, rip + inPage, bytes.subarray(inPage)) ? bytes : bytes.subarray(0, inPage);
}
