/** Where processors may differ from each other although the manuals leave no flag or result undefined: not a thing to hold the engine to. */

import type { Row } from "../../../src/engine/ops/row.ts";
import { compareOutcomes, type Difference } from "./compare.ts";
import { Fx } from "./fx-image.ts";
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

const TRANSCENDENTAL = /^(f2xm1|fyl2x|fyl2xp1|fptan|fpatan|fsin|fcos|fsincos)\b/;
/** C0, C1, C3 and PE: they tell how a result was rounded that may itself be a unit away, or are undefined. */
const ROUNDING_TRACES = 0x4320;

/**
 * Transcendental x87 instructions promise a result within a unit in the last place (SDM vol. 1, 8.3.10), and nothing for arguments outside
 * their range. Results that near are taken for the processor's own.
 */
function withinAUnit(vector: Vector, expected: Outcome, got: Outcome): Outcome {
  if (!TRANSCENDENTAL.test(vector.row) || !vector.fx || !expected.fx || !got.fx || expected.fault || got.fault)
    return got;
  const [before, a, b] = [vector.fx, expected.fx, got.fx.slice()].map(
    (image) => new DataView(image.buffer, image.byteOffset),
  );
  const image = new Uint8Array(b.buffer);
  if (!hasDefinedArgument(vector.row, before)) return { ...got, fx: expected.fx };
  const status = (a.getUint16(Fx.fsw, true) & ROUNDING_TRACES) | (b.getUint16(Fx.fsw, true) & ~ROUNDING_TRACES);
  b.setUint16(Fx.fsw, status, true);
  for (let i = 0; i < 8; i++) {
    const at = Fx.st + i * 16;
    const distance = orderedExtended(a, at) - orderedExtended(b, at);
    if (distance >= -1n && distance <= 1n) image.set(expected.fx.subarray(at, at + 10), at);
  }
  return { ...got, fx: image };
}

/** F2XM1 takes -1..1, FYL2XP1 half of what lies between 1 - sqrt(1/2) and its negative is enough to stay inside its range. */
function hasDefinedArgument(row: string, fx: DataView): boolean {
  const exponent = fx.getUint16(Fx.st + 8, true) & 0x7fff;
  if (row.startsWith("f2xm1")) return exponent < 0x3fff || exponent === 0x7fff;
  if (row.startsWith("fyl2xp1")) return exponent < 0x3ffd || exponent === 0x7fff;
  return true;
}

/** Magnitude and sign of an 80-bit number as an integer in which neighbours are 1 apart, across binades too. */
function orderedExtended(view: DataView, at: number): bigint {
  const signExponent = view.getUint16(at + 8, true);
  const magnitude = (BigInt(signExponent & 0x7fff) << 63n) | (view.getBigUint64(at, true) & ((1n << 63n) - 1n));
  return signExponent & 0x8000 ? -magnitude : magnitude;
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
  const settled = withinAUnit(vector, expected, withFaultOrder(vector, expected, got));
  return compareOutcomes(vector, reference, settled, flags | alsoIgnored);
}
