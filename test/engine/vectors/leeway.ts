/** Where processors may differ from each other although the manuals leave no flag or result undefined: not a thing to hold the engine to. */

import type { Row } from "../../../src/engine/ops/row.ts";
import { compareOutcomes, type Difference } from "./compare.ts";
import { undefinedFlags } from "./undefined-flags.ts";
import { ARITHMETIC_FLAGS, type Outcome, type Vector } from "./vector.ts";

/**
 * Intel's processors cut RCX, RSI and RDI to 32 bits even when a repeated string instruction with 32-bit addresses does nothing (its count
 * is 0, or its first access faults); AMD's leave them. Not a thing to hold the engine to.
 */
export function isRepeatQuirk({ repeat, code, gpr }: Vector, { fault }: Outcome): boolean {
  const wide = [gpr[1], gpr[6], gpr[7]].some((value) => value >> 32n !== 0n);
  return repeat && wide && code.includes(0x67) && (fault !== null || BigInt.asUintN(32, gpr[1]) === 0n);
}

/**
 * Flags not to be compared: undefined ones; after a fault none, but for a repeated CMPS or SCAS that got under way, where the processor
 * may show the flags from before it (SDM, REP: they are no input, so either restarts well).
 */
function ignoredFlags(row: Row, vector: Vector, outcome: Outcome): number | null {
  if (!outcome.fault) return undefinedFlags(row, vector);
  return vector.repeat && /^(cmps|scas)/.test(row.name) ? ARITHMETIC_FLAGS : 0;
}

/**
 * Far pointers, return frames and the operands of CMPS are read in the processor's own order: where several would fault, which one does is
 * not compared.
 */
function withFaultOrder(vector: Vector, { fault: expected }: Outcome, got: Outcome): Outcome {
  if (!/^(callf|jmpf|retf|iret|cmps|l[fgs]s)/.test(vector.row) || !expected || !got.fault) return got;
  const onAccess = (fault: { readonly vector: number }) => fault.vector === 12 || fault.vector === 14;
  const either = (fault: { readonly vector: number }) => onAccess(fault) || fault.vector === 13;
  const accepted = either(expected) && either(got.fault) && (onAccess(expected) || onAccess(got.fault));
  return accepted ? { ...got, fault: expected } : got;
}

/**
 * Stores wider than a word may have begun when they fault, and what stands behind them in memory is nobody's business: the instruction is
 * restarted. The engine's leave memory alone.
 */
function hasPartialStore(vector: Vector, { fault }: Outcome): boolean {
  return fault !== null && /^(fstp|fbstp|fnsave|fnstenv|fxsave|callf)/.test(vector.row);
}

/**
 * Where the engine's outcome differs from the processor's without leave.
 * @param row the op table's row, when one is known
 * @param alsoIgnored rflags not to compare besides the undefined ones
 */
export function unfairDifferences(
  row: Row | null,
  vector: Vector,
  expected: Outcome,
  got: Outcome,
  alsoIgnored: number,
): Difference[] {
  const flags = row ? ignoredFlags(row, vector, expected) : 0;
  if (flags === null) return [];
  const reference = hasPartialStore(vector, expected) ? { ...expected, changes: [] } : expected;
  return compareOutcomes(vector, reference, withFaultOrder(vector, expected, got), flags | alsoIgnored);
}
