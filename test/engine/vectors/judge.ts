/** Draws vectors for rows, asks the processor, and compares the engine with it. */

import type { Row } from "../../../src/engine/ops/row.ts";
import { rows } from "../../../src/engine/ops/table.ts";
import { describeFailure } from "./describe.ts";
import { EngineStepper } from "./engine-stepper.ts";
import { generateVector } from "./generator.ts";
import { judgeOutcome } from "./leeway.ts";
import { runOnProcessor } from "./native-stepper.ts";
import { Random } from "./random.ts";
import { rowKey } from "./row-key.ts";
import { isJudged, processorSplitsLocks } from "./scope.ts";
import { undefinedFlags } from "./undefined-flags.ts";
import { Flag, type Judged, type Outcome, type Vector } from "./vector.ts";
import type { Vendor } from "./vendor-differences.ts";

/** Rows that the processor can judge. */
export function judgedRows(): Row[] {
  return rows.filter(isJudged);
}

/** Who judges: the stepper's program, and the vendor of the processor that it runs on. */
export interface Judge {
  readonly stepper: string;
  readonly vendor: Vendor;
}

/** Vectors with the processor's outcomes, `count` of each row. */
export function drawJudged({ stepper, vendor }: Judge, of: readonly Row[], count: number, seed: number): Judged[] {
  const judged: Judged[] = [];
  const options = { splitLocks: processorSplitsLocks() };
  for (let first = 0; first < of.length; first += 16) {
    const wanted = of.slice(first, first + 16).flatMap((row) => {
      const key = rowKey(row);
      const random = new Random(seed ^ hash(key));
      return Array.from({ length: count }, () => ({ row, vector: generateVector(row, key, random, options) }));
    });
    const outcomes = runOnProcessor(
      stepper,
      wanted.map(({ vector }) => vector),
    );
    for (const [i, outcome] of outcomes.entries()) {
      const { row, vector } = wanted[i];
      if (outcome && undefinedFlags(row, vector) !== null) judged.push({ vector, outcome, vendor });
    }
  }
  return judged;
}

function hash(text: string): number {
  let value = 0x811c_9dc5;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x0100_0193);
  return value;
}

/** A branch into its own bytes: what comes next is no INT3. */
function landsInItself({ codeVa, code }: Vector, { fault, rip }: Outcome): boolean {
  return !fault && rip >= BigInt(codeVa) && rip < BigInt(codeVa + code.length);
}

/** Rows that read or write TF itself. */
const SEES_TF = /^(pushf|popf|iret|int)/;

export interface RowResult {
  readonly key: string;
  readonly passed: number;
  /** Of those: where the processor did otherwise, by what difference between vendors explains it. */
  readonly excused: ReadonlyMap<string, number>;
  readonly failed: number;
  /** The failing cases with the fewest surprises first, as text. */
  readonly failures: readonly string[];
}

/** Compares the engine with judged vectors, row by row. `show` bounds the failures described for each row. */
export function judgeEngine(judged: readonly Judged[], show: number): RowResult[] {
  const rowByKey = new Map(rows.map((row) => [rowKey(row), row]));
  const engine = new EngineStepper();
  const results: RowResult[] = [];
  for (const [key, items] of Map.groupBy(judged, ({ vector }) => vector.row)) {
    const row = rowByKey.get(key) ?? null;
    let failed = 0;
    const excused = new Map<string, number>();
    const failures: { weight: number; text: () => string }[] = [];
    for (const { vector, outcome, vendor } of items) {
      let how = "alone";
      let { unfair, excuse } = judgeOutcome(row, vector, vendor, outcome, engine.step(vector), 0);
      if (unfair.length === 0 && !SEES_TF.test(key) && !landsInItself(vector, outcome)) {
        how = "in a block";
        ({ unfair, excuse } = judgeOutcome(row, vector, vendor, outcome, engine.runBlock(vector), Flag.tf));
      }
      if (excuse) excused.set(excuse.what, (excused.get(excuse.what) ?? 0) + 1);
      if (unfair.length === 0) continue;
      const differences = unfair;
      failed++;
      const log = [`executed ${how}`, ...engine.log];
      // Short code, few patches and no fault make the case that explains most.
      const weight = vector.code.length + vector.patches.length * 2 + (outcome.fault ? 10 : 0) + differences.length;
      failures.push({ weight, text: () => describeFailure(vector, differences, log) });
    }
    failures.sort((a, b) => a.weight - b.weight);
    results.push({
      key,
      passed: items.length - failed,
      excused,
      failed,
      failures: failures.slice(0, show).map(({ text }) => text()),
    });
  }
  return results;
}

export function judgeRows(
  judge: Judge,
  options: { readonly perRow: number; readonly seed: number; readonly row: string; readonly show: number },
): RowResult[] {
  const chosen = judgedRows().filter((row) => rowKey(row).includes(options.row));
  const results: RowResult[] = [];
  for (let first = 0; first < chosen.length; first += 64) {
    const judged = drawJudged(judge, chosen.slice(first, first + 64), options.perRow, options.seed);
    results.push(...judgeEngine(judged, options.show));
  }
  return results;
}
