/** Code from the cache does what single steps do (lively-code.ts). Longer: `node tools/fuzz-engine.ts`. */
import { expect, test } from "vitest";
import { runLivelyCode } from "./lively-code.ts";

const SEED = Number(process.env.SEED ?? 20240611);

test(`seed ${SEED}: cached code of two vCPUs does what single steps do, whatever they overwrite`, () => {
  const { instructions, traps, faults } = runLivelyCode(SEED, 16);
  expect([instructions > 10_000, traps > 100, faults > 100]).toEqual([true, true, true]);
});
