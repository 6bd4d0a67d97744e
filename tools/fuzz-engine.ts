/**
 * Fuzzes the processor for as long as one likes: `node tools/fuzz-engine.ts --seconds 1800 [--seed N] [--per-row 200]`.
 *
 * By turns: every row of the op table, and random bytes, against this machine's processor (where it can judge: Linux on x86-64, Intel or AMD, gcc);
 * and code of two vCPUs that overwrites itself against single steps. Each turn takes the next seed and prints what fails with it. Ends with 1
 * when anything was wrong.
 */
import { parseArgs } from "node:util";
import { runLivelyCode } from "../test/engine/lively-code.ts";
import { judgeRows } from "../test/engine/vectors/judge.ts";
import { buildStepper } from "../test/engine/vectors/native-stepper.ts";
import { processorVendor } from "../test/engine/vectors/scope.ts";
import { judgeWild } from "../test/engine/vectors/wild.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "60" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    "per-row": { type: "string", default: "200" },
  },
});
const ends = performance.now() + Number(values.seconds) * 1000;
const stepper = buildStepper();
const vendor = processorVendor();
const sums = { vectors: 0, wild: 0, instructions: 0, traps: 0, faults: 0 };
let failures = 0;
const fail = (seed: number, text: string): void => {
  failures++;
  console.log(`seed ${seed}: ${text}\n`);
};

let seed = Number(values.seed);
console.log(
  `seeds from ${seed}${stepper && vendor ? `, judged by this processor (${vendor})` : ", no processor to judge by"}`,
);
for (; ; seed++) {
  if (stepper && vendor) {
    for (const row of judgeRows({ stepper, vendor }, { perRow: Number(values["per-row"]), seed, row: "", show: 1 })) {
      sums.vectors += row.passed + row.failed;
      for (const text of row.failures) fail(seed, text);
    }
    const { same, permissive, wrong } = judgeWild({ stepper, vendor }, 20_000, seed);
    sums.wild += same;
    for (const text of [...permissive, ...wrong]) fail(seed, text);
  }
  try {
    const { instructions, traps, faults } = runLivelyCode(seed, 60);
    sums.instructions += instructions;
    sums.traps += traps;
    sums.faults += faults;
  } catch (error) {
    fail(seed, (error as Error).message);
  }
  if (performance.now() >= ends) break;
}
console.log(
  `${sums.vectors} vectors of all rows and ${sums.wild} of random bytes; ${sums.instructions} instructions of code that overwrites itself, ${sums.traps} traps, ${sums.faults} faults; seeds to ${seed}; ${failures} failures`,
);
process.exitCode = failures > 0 ? 1 : 0;
