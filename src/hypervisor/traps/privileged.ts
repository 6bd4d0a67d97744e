/** Privileged instructions, decoded as far as their emulation needs: prefixes, opcode, and a ModRM or immediate byte. */
import { VMASST_TYPE } from "../../abi/xen.ts";
import type { Vcpu } from "../vcpu.ts";

/** `modrm` and `immediate` are 0 where the form has none. */
export interface Privileged {
  /** 0x0f00 is set for the two-byte map. */
  readonly opcode: number;
  readonly modrm: number;
  readonly immediate: number;
  readonly length: number;
  readonly operand16: boolean;
  readonly address32: boolean;
  readonly repeat: boolean;
  /** REX prefix, 0 for none. */
  readonly rex: number;
}

/** What an emulation came to: done, not ours (the guest's #GP), or something else goes on at another rip (a fault) or again at this one. */
export type Emulated = "done" | "refused" | "elsewhere";

/** Which privilege the vCPU's code has for I/O: a PV kernel is 1, or 0 with the architectural_iopl assist; user code is 3. */
export function ioplAllows(vcpu: Vcpu): boolean {
  const privilege = vcpu.cpu.kernelMode === 0 ? 3 : vcpu.domain.assists(VMASST_TYPE.architecturalIopl) ? 0 : 1;
  return privilege <= vcpu.iopl;
}

/** Bytes an I/O instruction moves. */
export function sizeOf(insn: Privileged): 1 | 2 | 4 {
  if ((insn.opcode & 1) === 0) return 1;
  return insn.operand16 ? 2 : 4;
}

/** Register numbers of a ModRM byte, extended by REX. */
export const regField = (insn: Privileged) => ((insn.modrm >> 3) & 7) | ((insn.rex & 4) << 1);
export const rmField = (insn: Privileged) => (insn.modrm & 7) | ((insn.rex & 1) << 3);

const SEGMENT_PREFIXES: readonly number[] = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];
/** Opcodes of the two-byte map that have a ModRM byte, among those that are looked at. */
const hasModrm = (opcode: number) => opcode === 0x0f01 || (opcode >= 0x0f20 && opcode <= 0x0f23);

/** Undefined when the bytes end too early. */
export function decodePrivileged(bytes: Uint8Array): Privileged | undefined {
  let at = 0;
  let operand16 = false;
  let address32 = false;
  let repeat = false;
  let rex = 0;
  for (; at < bytes.length; at++) {
    const byte = bytes[at]!;
    if (byte === 0x66) operand16 = true;
    else if (byte === 0x67) address32 = true;
    else if (byte === 0xf2 || byte === 0xf3) repeat = true;
    else if (!SEGMENT_PREFIXES.includes(byte)) break;
  }
  if (at < bytes.length && (bytes[at]! & 0xf0) === 0x40) rex = bytes[at++]!;
  if (at >= bytes.length) return undefined;
  let opcode = bytes[at++]!;
  if (opcode === 0x0f) {
    if (at >= bytes.length) return undefined;
    opcode = 0x0f00 | bytes[at++]!;
  }
  const immediateForm = opcode >= 0xe4 && opcode <= 0xe7;
  const more = immediateForm || hasModrm(opcode) ? 1 : 0;
  if (at + more > bytes.length) return undefined;
  const next = more === 1 ? bytes[at]! : 0;
  return {
    opcode,
    modrm: immediateForm ? 0 : next,
    immediate: immediateForm ? next : 0,
    length: at + more,
    operand16: operand16 && (rex & 8) === 0,
    address32,
    repeat,
    rex,
  };
}
