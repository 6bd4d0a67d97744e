/**
 * Breakpoints of the debug registers (Intel SDM vol. 3, section 18.2), for instructions and for data.
 *
 * Invariant: `State.watching` is set exactly while DR7 enables one. Then the vCPU executes an instruction at a time, read and write tags of its TLB
 * carry a mark that no fast path takes, and the slow paths tell of every operand before it is used. Without breakpoints nothing is slower
 * but a TLB miss.
 *
 * Not watched: port I/O, the operands of far transfers, of segment loads and of IRET, and what the hypervisor itself reads and writes.
 */
import type { CpuState } from "./cpu-state.ts";

const BREAKPOINTS = 4;
const Kind = { execute: 0, write: 1, readWrite: 3 } as const;
/** By the two bits of LENn. */
const LENGTHS = [1, 2, 8, 4] as const;
const TWO_32 = 0x1_0000_0000;

/** B0 to B3 of DR6 for an instruction at `va`. */
export function instructionHits(cpu: CpuState, va: number): number {
  return hits(cpu, (kind, at) => kind === Kind.execute && at === va);
}

/** B0 to B3 of DR6 for an operand. */
export function dataHits(cpu: CpuState, va: number, bytes: number, write: boolean): number {
  return hits(cpu, (kind, at, length) => {
    if (kind !== Kind.readWrite && !(write && kind === Kind.write)) return false;
    // The low bits that the length covers are not looked at.
    const first = at - (((at % length) + length) % length);
    return va < first + length && first < va + bytes;
  });
}

function hits(cpu: CpuState, matches: (kind: number, at: number, length: number) => boolean): number {
  const dr7 = cpu.debugRegister(7)[0];
  let found = 0;
  for (let i = 0; i < BREAKPOINTS; i++) {
    if (((dr7 >> (i * 2)) & 3) === 0) continue;
    const [lo, hi] = cpu.debugRegister(i);
    const condition = dr7 >> (16 + i * 4);
    if (matches(condition & 3, hi * TWO_32 + (lo >>> 0), LENGTHS[(condition >> 2) & 3]!)) found |= 1 << i;
  }
  return found;
}
