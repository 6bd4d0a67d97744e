/**
 * Fuzzes the hypervisor for as long as one likes: `node tools/fuzz.ts --seconds 3600 [--seed N] [--steps N]`.
 *
 * Each round is a new arena of guests (test/hypervisor/fuzz) and takes its seed from the round's number, so `--seed` of a failure that
 * is printed repeats it with `--seconds 0`. Ends with 1 when anything was wrong.
 */
import { parseArgs } from "node:util";
import { emptyReport, FuzzFailure, fuzz } from "../test/hypervisor/fuzz/fuzz.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "60" },
    seed: { type: "string", default: String(Date.now() % 2 ** 31) },
    steps: { type: "string", default: "800" },
  },
});
const seconds = Number(values.seconds);
const steps = Number(values.steps);
const report = emptyReport();
const began = performance.now();
const elapsed = () => (performance.now() - began) / 1000;
const failures = new Map<string, number>();
let told = 0;

console.log(`seeds from ${values.seed}, ${steps} steps each`);
for (let seed = Number(values.seed); ; seed++) {
  try {
    fuzz(seed, steps, report);
  } catch (error) {
    if (!(error instanceof FuzzFailure)) throw error;
    // The same defect fails round after round: once is enough.
    const kind = error.message.split("\n")[0]!.replace(/\d+/g, "N");
    failures.set(kind, (failures.get(kind) ?? 0) + 1);
    if (failures.get(kind) === 1) console.log(error.message);
  }
  if (elapsed() - told >= 60) {
    told = elapsed();
    console.log(`${Math.round(told)} s: ${summary()}`);
  }
  if (elapsed() >= seconds) break;
}
console.log(summary());
console.log(`longest step: ${report.longestMs.toFixed(1)} ms, ${report.longest}`);
for (const [kind, count] of failures) console.log(`${count} times: ${kind}`);
process.exitCode = failures.size > 0 ? 1 : 0;

function summary(): string {
  const { steps: done, calls, succeeded, continued, ended } = report;
  return `${done} steps, ${calls} hypercalls (${succeeded} answered 0 or more), ${continued} continuations, ${ended} domains ended, ${[...failures.values()].reduce((sum, n) => sum + n, 0)} failures`;
}
