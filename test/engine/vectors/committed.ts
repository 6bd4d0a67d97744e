/** The vectors that every `npm test` runs: drawn once on a processor, kept as files, no compiler needed. */

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Row } from "../../../src/engine/ops/row.ts";
import { drawJudged, judgedRows } from "./judge.ts";
import type { Judged } from "./vector.ts";
import { packVectors, unpackVectors } from "./vector-file.ts";

export const COMMITTED = join(import.meta.dirname, "committed");
/** More than the least of 20: some are left out because processors differ. */
export const PER_ROW = 48;
const SEED = 20_260_101;

export function readCommitted(): Judged[] {
  return readdirSync(COMMITTED)
    .toSorted()
    .flatMap((file) => unpackVectors(readFileSync(join(COMMITTED, file))));
}

/** Replaces the committed vectors by fresh ones for the rows of today. */
export function writeCommitted(stepper: string): { file: string; vectors: number; bytes: number }[] {
  rmSync(COMMITTED, { recursive: true, force: true });
  mkdirSync(COMMITTED);
  const family = (row: Row) => (row.unit === "integer" ? (row.map === 0 ? "integer" : "integer-0f") : row.unit);
  return [...Map.groupBy(judgedRows(), family)].map(([name, rows]) => {
    const judged = drawJudged(stepper, rows, PER_ROW, SEED);
    const packed = packVectors(judged);
    const file = `${name}.vectors.gz`;
    writeFileSync(join(COMMITTED, file), packed);
    return { file, vectors: judged.length, bytes: packed.length };
  });
}
