/**
 * Tests the tests: changes one small thing of a source at a time, and looks whether a test fails.
 *
 *   node tools/mutate.ts [--area mm|event-channel|grant-table|ops] [--sample N] [--seed N] [--only text] [--list] [--jobs 2]
 *                        [--within seconds]
 *
 * Without `--sample` every mutant is tried; those that survive are printed, and those that may (tools/mutation/accepted.ts) are left
 * out. Ends with 1 when another one survives. Sources on disk are never touched. Results are kept in build/mutation: a run that was
 * interrupted goes on, and after a change only what it concerns is tried again. `--within` leaves out test files that need more processor
 * seconds, for a first look: what survives is then tried again by a run without it.
 */
import { parseArgs } from "node:util";
import { accepted } from "./mutation/accepted.ts";
import type { Mutant } from "./mutation/mutant.ts";
import { areas, mutantsOf, sample } from "./mutation/mutants.ts";
import { Order } from "./mutation/order.ts";
import { reachOf } from "./mutation/reach.ts";
import { Results } from "./mutation/results.ts";
import { runTests } from "./mutation/run-tests.ts";

const { values } = parseArgs({
  options: {
    area: { type: "string", default: "" },
    sample: { type: "string" },
    seed: { type: "string", default: "1" },
    only: { type: "string", default: "" },
    list: { type: "boolean", default: false },
    jobs: { type: "string", default: "1" },
    within: { type: "string", default: "Infinity" },
  },
});

/** A test file that uses so many times what it needs without a mutant never ends. */
const PATIENCE = 5;
const LEAST_LIMIT_SECONDS = 6;

for (const area of areas().filter(({ name }) => name.includes(values.area))) {
  const every = mutantsOf(area);
  const all = every.filter(({ id }) => id.includes(values.only));
  const asked = all.filter(({ id }) => !accepted.has(id));
  const chosen = values.sample === undefined ? asked : sample(asked, Number(values.sample), Number(values.seed));
  console.log(`${area.name}: ${chosen.length} of ${all.length} mutants, ${all.length - asked.length} accepted`);
  if (values.list) {
    for (const { id, line } of chosen) console.log(`  ${line}: ${id}`);
    continue;
  }
  const { reach, failing } = await reachOf(area, every);
  for (const [test, said] of failing) console.log(`  left out, fails without a mutant: ${test}: ${said}`);
  const costOf = (test: string): number => reach.get(test)!.cpu;
  const results = new Results(area.name);
  const order = new Order();
  const testsFor = ({ id }: Mutant): string[] =>
    area.tests.filter((test) => reach.get(test)?.ids.has(id) && costOf(test) <= Number(values.within));
  const byVerdict = { killed: [] as Mutant[], endless: [] as Mutant[], survived: [] as Mutant[] };
  const unable = new Map<Mutant, unknown>();

  const queue: Mutant[] = [];
  for (const mutant of chosen) {
    const standing = results.standing(mutant, testsFor(mutant));
    if (standing === undefined) queue.push(mutant);
    else byVerdict[standing.verdict].push(mutant);
    if (standing?.by) order.noticed(mutant, standing.by);
  }
  console.log(`  ${chosen.length - queue.length} are known`);
  // What survived the last time, or was never tried, is what one wants to know first.
  queue.sort((a, b) => Number(results.last(a)?.by != null) - Number(results.last(b)?.by != null));

  const tryOne = async (mutant: Mutant): Promise<void> => {
    const tests = testsFor(mutant);
    const { verdict, by, said } = await runTests(
      mutant,
      order.of(mutant, tests, costOf, results.last(mutant)?.by ?? null),
      { limitOf: (test) => LEAST_LIMIT_SECONDS + PATIENCE * (reach.get(test)?.cpu ?? 0) },
    );
    const became = verdict === "passed" ? "survived" : verdict === "endless" ? "endless" : "killed";
    results.add(mutant, tests, { verdict: became, by, said });
    if (by !== null) order.noticed(mutant, by);
    byVerdict[became].push(mutant);
    if (became === "survived") console.log(`  survived ${tests.length} test files: line ${mutant.line}: ${mutant.id}`);
  };
  const work = async (): Promise<void> => {
    for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift()) {
      try {
        await tryOne(mutant);
      } catch (error) {
        unable.set(mutant, error);
      }
    }
  };
  await Promise.all(Array.from({ length: Number(values.jobs) }, work));

  const { killed, endless, survived } = byVerdict;
  console.log(`${area.name}: ${killed.length} killed, ${endless.length} endless, ${survived.length} survived`);
  for (const { file, line, id } of survived) console.log(`  survived: ${file}:${line}: ${id}`);
  for (const [{ id }, error] of unable) console.log(`  could not be tried: ${id}: ${error}`);
  if (survived.length + unable.size + failing.size > 0) process.exitCode = 1;
}
