/**
 * Breakpoints of the debug registers (Intel SDM vol. 3, section 18.2), for instructions, for data and for ports.
 *
 * Invariant: `State.watching` has their bit exactly while DR7 enables one. Then the vCPU executes an instruction at a time, read and write tags of its
 * TLB carry a mark that no fast path takes, and the slow paths tell of every operand before it is used. Without breakpoints nothing is slower
 * but a TLB miss. Alignment checks (slow-access.ts) have a bit of their own and share the mark.
 *
 * Ports are met by the hypervisor alone, which executes every access to one, and asks for them here.
 *
 * Not watched: what the hypervisor itself reads and writes. The descriptors of a segment load are at addresses of its own.
 */
import type { CpuState } from "./cpu-state.ts";

/** Bits of `State.watching`: while one is set, every access to memory takes the slow path. */
export const Watching = { breakpoints: 1, alignment: 2 } as const;

const BREAKPOINTS = 4;
const Kind = { execute: 0, write: 1, port: 2, readWrite: 3 } as const;
/** By the two bits of LENn. */
const LENGTHS = [1, 2, 8, 4] as const;
const TWO_32 = 0x1_0000_0000;

/** B0 to B3 of DR6 for an instruction at `va`. */
export function instructionHits(cpu: CpuState, va: number): number {
  return hits(cpu, (kind, at) => kind === Kind.execute && at === va);
}

/** B0 to B3 of DR6 for an operand. */
export function dataHits(cpu: CpuState, va: number, bytes: number, write: boolean): number {
  return hits(
    cpu,
    (kind, at, length) => (kind === Kind.readWrite || (write && kind === Kind.write)) && overlap(at, length, va, bytes),
  );
}

/** Notes what an operand meets that TypeScript is about to read or write. */
export function watchOperand(cpu: CpuState, va: number, bytes: number, write: boolean): void {
  if (cpu.breakpointsEnabled) cpu.breakpointHits |= dataHits(cpu, va, bytes, write);
}

/** B0 to B3 of DR6 for an access to ports. CR4.DE, without which there are none, is the caller's. */
export function portHits(cpu: CpuState, port: number, bytes: number): number {
  return hits(cpu, (kind, at, length) => kind === Kind.port && overlap(at, length, port, bytes));
}

/** The low bits of a breakpoint's address that its length covers are not looked at. */
function overlap(at: number, length: number, first: number, bytes: number): boolean {
  const aligned = at - (((at % length) + length) % length);
  return first < aligned + length && aligned < first + bytes;
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
