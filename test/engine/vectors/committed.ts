/** The vectors that every `npm test` runs: drawn once on a processor of each vendor, kept as files, no compiler needed. */

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Row } from "../../../src/engine/ops/row.ts";
import { drawJudged, type Judge, judgedRows } from "./judge.ts";
import type { Judged } from "./vector.ts";
import { packVectors, unpackVectors } from "./vector-file.ts";
import type { Vendor } from "./vendor-differences.ts";

/** A folder by vendor, which says whose processor the outcomes are from. */
const COMMITTED = join(import.meta.dirname, "committed");
const VENDORS: readonly Vendor[] = ["amd", "intel"];
/** More than the least of 20: some are left out because processors differ. */
export const PER_ROW = 48;
const SEED = 20_260_101;

export function readCommitted(): Judged[] {
  return VENDORS.flatMap((vendor) =>
    readdirSync(join(COMMITTED, vendor))
      .toSorted()
      .flatMap((file) => unpackVectors(readFileSync(join(COMMITTED, vendor, file)), vendor)),
  );
}

/** Replaces the committed vectors of this processor's vendor by fresh ones for the rows of today. */
export function writeCommitted(judge: Judge): { file: string; vectors: number; bytes: number }[] {
  const folder = join(COMMITTED, judge.vendor);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const family = (row: Row) => (row.unit === "integer" ? (row.map === 0 ? "integer" : "integer-0f") : row.unit);
  return [...Map.groupBy(judgedRows(), family)].map(([name, rows]) => {
    const judged = drawJudged(judge, rows, PER_ROW, SEED);
    const packed = packVectors(judged);
    const file = `${name}.vectors.gz`;
    writeFileSync(join(folder, file), packed);
    return { file, vectors: judged.length, bytes: packed.length };
  });
}
