/**
 * The fuzzer, bounded: some thousand steps from a seed that is printed with every failure. `DOMZERO_SEED` chooses another one, and
 * `node tools/fuzz.ts --seconds 3600` goes on for as long as one likes.
 */
import { expect, test } from "vitest";
import { emptyReport, fuzz } from "./fuzz/fuzz.ts";

const SEED = Number(process.env.DOMZERO_SEED ?? Date.now() % 2 ** 31);
const ROUNDS = 12;
const STEPS = 500;

test(`whatever guests do, everything that is kept of them adds up (seed ${SEED})`, () => {
  const report = emptyReport();
  for (let round = 0; round < ROUNDS; round++) fuzz(SEED + round, STEPS, report);
  expect(report.steps).toBe(ROUNDS * STEPS);
  // A fuzzer that is only ever refused, or only ever ends its domains, tests little.
  expect(report.succeeded).toBeGreaterThan(report.calls / 5);
  expect(report.continued).toBeGreaterThan(0);
  expect(report.ended).toBeLessThan(report.steps / 10);
});
