/**
 * Tests the tests: changes one small thing of a source at a time, and looks whether a test fails.
 *
 *   node tools/mutate.ts [--area mm|event-channel|grant-table|ops] [--sample N] [--seed N] [--only text] [--list] [--jobs 2]
 *
 * Without `--sample` every mutant is tried; those that survive are printed, and those that may (tools/mutation/accepted.ts) are left
 * out. Ends with 1 when another one survives. Sources on disk are never touched.
 */
import { parseArgs } from "node:util";
import { accepted } from "./mutation/accepted.ts";
import { areas, mutantsOf, sample } from "./mutation/mutants.ts";
import { tryMutant } from "./mutation/run-mutant.ts";

const { values } = parseArgs({
  options: {
    area: { type: "string", default: "" },
    sample: { type: "string" },
    seed: { type: "string", default: "1" },
    only: { type: "string", default: "" },
    list: { type: "boolean", default: false },
    jobs: { type: "string", default: "1" },
  },
});

let survived = 0;
for (const area of areas().filter(({ name }) => name.includes(values.area))) {
  const all = mutantsOf(area).filter(({ id }) => id.includes(values.only));
  const asked = all.filter(({ id }) => !accepted.has(id));
  const chosen = values.sample === undefined ? asked : sample(asked, Number(values.sample), Number(values.seed));
  console.log(`${area.name}: ${chosen.length} of ${all.length} mutants, ${all.length - asked.length} accepted`);
  if (values.list) {
    for (const { id, line } of chosen) console.log(`  ${line}: ${id}`);
    continue;
  }
  const asTheyAre = await tryMutant(null, area.tests, 600);
  if (asTheyAre.verdict !== "survived") throw new Error(`the tests fail without a mutant: ${asTheyAre.said}`);
  const limit = Math.max(30, asTheyAre.seconds * 6);
  const queue = [...chosen];
  const counts = { killed: 0, endless: 0, survived: 0 };
  const work = async () => {
    for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift()) {
      const { verdict } = await tryMutant(mutant, area.tests, limit);
      counts[verdict]++;
      if (verdict === "survived") console.log(`  survived: line ${mutant.line}: ${mutant.id}`);
    }
  };
  await Promise.all(Array.from({ length: Number(values.jobs) }, work));
  console.log(`${area.name}: ${counts.killed} killed, ${counts.endless} endless, ${counts.survived} survived`);
  survived += counts.survived;
}
process.exitCode = survived > 0 ? 1 : 0;
