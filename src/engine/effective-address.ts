/** The effective address of a decoded instruction's memory operand, for the hypervisor's emulation. */
import { type CpuState, Reg } from "./cpu-state.ts";
import { type Instruction, NO_REGISTER, RIP } from "./decoder.ts";

const MASK = (1n << 64n) - 1n;

/**
 * Linear address of the memory operand, as a signed double; NaN when it is not canonical.
 * @param cpu rip must be at the instruction
 */
export function effectiveAddress(cpu: CpuState, insn: Instruction): number {
  const part = (n: number): bigint => {
    if (n === NO_REGISTER) return 0n;
    if (n === RIP) return cpu.big(Reg.rip) + BigInt(insn.length);
    return cpu.big(n);
  };
  const disp = (BigInt(insn.dispHi) << 32n) | BigInt(insn.dispLo >>> 0);
  let va = (part(insn.base) + (part(insn.index) << BigInt(insn.scale)) + disp) & MASK;
  if (insn.addr32) va &= 0xffffffffn;
  if (insn.segment === 4) va += cpu.big(Reg.fsBase);
  else if (insn.segment === 5) va += cpu.big(Reg.gsBase);
  const signed = BigInt.asIntN(64, va);
  return BigInt.asIntN(48, signed) === signed ? Number(signed) : Number.NaN;
}
