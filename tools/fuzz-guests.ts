/**
 * Fuzzes the whole service from inside: `node tools/fuzz-guests.ts [--minutes N] [--seed N] [--lines N]`.
 *
 * Round after round six fuzzing guests (test/guests/fuzz-kernel) live until each has told of `--lines` times 2000 tries or is dead, and nothing
 * may be left of them then. A round takes its seeds from its number, so a failure's `--seed` starts with the round that failed. Ends with 1
 * when anything was wrong.
 */
import { parseArgs } from "node:util";
import { hostileRound, uploadFuzzKernel } from "../test/service/fuzz/hostile-round.ts";
import { scratchFolder, WholeService } from "../test/service/whole-service.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "1" },
    seed: { type: "string", default: String(Date.now() % 2 ** 31) },
    lines: { type: "string", default: "5" },
  },
});
const SEEDS_A_ROUND = 6;
const scratch = scratchFolder();
const service = await WholeService.start(scratch.stateDir, undefined, { LOG_LEVEL: "error" });
const began = performance.now();
const minutes = () => (performance.now() - began) / 60_000;
const looks: number[] = [];
let [rounds, ended, tries, told] = [0, 0, 0, 0];
let seed = Number(values.seed);

console.log(`seeds from ${seed}`);
try {
  const kernel = await uploadFuzzKernel(service);
  for (; minutes() < Number(values.minutes) || rounds === 0; seed += SEEDS_A_ROUND) {
    const round = await hostileRound(service, kernel, seed, Number(values.lines), (ms) => looks.push(ms));
    rounds++;
    ended += round.ended;
    tries += round.tries;
    if (minutes() - told < 1) continue;
    told = minutes();
    console.log(`${told.toFixed(0)} min: ${summary()}`);
  }
  console.log(`${summary()}, nothing wrong`);
} catch (error) {
  console.log(`${summary()}\nseed ${seed}: ${(error as Error).stack}\n${service.err.slice(-4000)}`);
  process.exitCode = 1;
} finally {
  await service.end();
  scratch.remove();
}

function summary(): string {
  const sorted = looks.toSorted((a, b) => a - b);
  const p99 = sorted[Math.floor(sorted.length * 0.99)] ?? 0;
  return `${rounds} rounds, ${tries} tries told of, ${ended} guests ended by themselves, GET p99 ${p99.toFixed(1)} ms`;
}
