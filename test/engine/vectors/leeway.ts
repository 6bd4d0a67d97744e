/** Where processors, of one vendor too, may differ from each other although no flag or result is undefined: not a thing to hold the engine to. */

import type { Row } from "../../../src/engine/ops/row.ts";
import { compareOutcomes, type Difference } from "./compare.ts";
import { Fx } from "./fx-image.ts";
import { undefinedFlags } from "./undefined-flags.ts";
import { ARITHMETIC_FLAGS, type Outcome, type Vector } from "./vector.ts";
import { type Vendor, type VendorDifference, vendorDifferenceOf } from "./vendor-differences.ts";

/**
 * Flags not to be compared: undefined ones; after a fault none, but for a repeated CMPS or SCAS that got under way, where the processor
 * may show the flags from before it (SDM, REP: they are no input, so either restarts well).
 */
function ignoredFlags(row: Row, vector: Vector, outcome: Outcome): number | null {
  if (!outcome.fault) return undefinedFlags(row, vector);
  return vector.repeat && /^(cmps|scas)/.test(row.name) ? ARITHMETIC_FLAGS : 0;
}

/**
 * The stack of far transfers is read and written in the processor's own order, and RETF may try it where RSP is going to point: which of
 * several faults comes is not compared.
 */
function withFaultOrder(vector: Vector, { fault: expected }: Outcome, got: Outcome): Outcome {
  if (!/^(callf|retf|iret)/.test(vector.row) || !expected || !got.fault) return got;
  const onAccess = (fault: { readonly vector: number }) => [12, 14, 17].includes(fault.vector);
  const either = (fault: { readonly vector: number }) => onAccess(fault) || fault.vector === 13;
  const accepted = either(expected) && either(got.fault) && (onAccess(expected) || onAccess(got.fault));
  return accepted ? { ...got, fault: expected } : got;
}

/** A far call that faults may have pushed CS, below RSP, where it is nobody's business. The engine leaves memory alone. */
function hasPartialStore(vector: Vector, { fault }: Outcome): boolean {
  return fault !== null && vector.row.startsWith("callf");
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

/** What is to be said of an outcome: where it differs from the processor's, and the difference between vendors that explains that. */
export interface Verdict {
  readonly unfair: readonly Difference[];
  readonly excuse?: VendorDifference | undefined;
}

/**
 * Judges the engine's outcome by the processor's.
 * @param row the op table's row, when one is known
 * @param processor its vendor
 * @param alsoIgnored rflags not to compare besides the undefined ones
 */
export function judgeOutcome(
  row: Row | null,
  vector: Vector,
  processor: Vendor,
  expected: Outcome,
  got: Outcome,
  alsoIgnored: number,
): Verdict {
  const flags = row ? ignoredFlags(row, vector, expected) : 0;
  if (flags === null) return { unfair: [] };
  const reference = hasPartialStore(vector, expected) ? { ...expected, changes: [] } : expected;
  const settled = withinAUnit(vector, expected, withFaultOrder(vector, expected, got));
  const differences = compareOutcomes(vector, reference, settled, flags | alsoIgnored);
  if (differences.length === 0) return { unfair: [] };
  const excuse = vendorDifferenceOf(processor, vector, reference, settled, differences);
  return excuse ? { unfair: [], excuse } : { unfair: differences };
}
