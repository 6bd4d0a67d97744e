/** The engine does what a processor does: committed vectors everywhere, fresh ones where this machine can judge them. */

import { describe, expect, it } from "vitest";
import { PER_ROW, readCommitted } from "./committed.ts";
import { drawJudged, judgedRows, judgeEngine, type RowResult } from "./judge.ts";
import { buildStepper } from "./native-stepper.ts";
import { rowKey } from "./row-key.ts";
import { processorVendor } from "./scope.ts";

const committed = readCommitted();
const stepper = buildStepper();
const vendor = processorVendor();
/** Vectors in the fresh sample. */
const FRESH = 100_000;

const failuresOf = (results: readonly RowResult[]) => results.flatMap(({ failures }) => failures).join("\n\n");

describe("committed vectors", () => {
  it("cover every row that a processor can judge", () => {
    const counts = new Map<string, number>();
    // What CPUID says we are is the judge that has to have seen every row.
    for (const { vector, vendor } of committed)
      if (vendor === "amd") counts.set(vector.row, (counts.get(vector.row) ?? 0) + 1);
    const thin = judgedRows()
      .map(rowKey)
      .filter((key) => (counts.get(key) ?? 0) < Math.min(20, PER_ROW));
    expect(thin, "draw them anew: node tools/vectors.ts --write").toEqual([]);
  });

  it("end on the engine as they ended on the processor", () => {
    expect(failuresOf(judgeEngine(committed, 1))).toBe("");
  });
});

// A mutation run (tools/mutate.ts) judges by the committed ones, which are the same every time.
describe.skipIf(!stepper || !vendor || process.env.DOMZERO_NO_FRESH_VECTORS !== undefined)("fresh vectors", () => {
  it("end on the engine as they end on this processor", () => {
    const seed = Number(process.env.VECTORS_SEED ?? Date.now() % 1_000_000_000);
    const chosen = judgedRows();
    const judged = drawJudged(
      { stepper: stepper!, vendor: vendor! },
      chosen,
      Math.max(1, Math.floor(FRESH / chosen.length)),
      seed,
    );
    expect(failuresOf(judgeEngine(judged, 1)), `VECTORS_SEED=${seed}`).toBe("");
  });
});
