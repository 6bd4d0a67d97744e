/**
 * Judges the engine by this machine's processor, row by row.
 *
 *   node tools/vectors.ts [--per-row 1000] [--seed N] [--row substring] [--show 2] [--write]
 *
 *   node tools/vectors.ts --wild 100000 [--seed N] [--show 2]     random bytes instead of rows
 *
 * Prints the rows that fail, each with its smallest failing cases, then where this processor may differ from the engine because of its
 * make (test/engine/vectors/vendor-differences.ts), then the sums. `--write` draws the vectors of this processor's vendor that are
 * committed (test/engine/vectors/committed.ts) instead of running any.
 */

import { parseArgs } from "node:util";
import { writeCommitted } from "../test/engine/vectors/committed.ts";
import { judgeRows } from "../test/engine/vectors/judge.ts";
import { buildStepper } from "../test/engine/vectors/native-stepper.ts";
import { processorVendor } from "../test/engine/vectors/scope.ts";
import { judgeWild } from "../test/engine/vectors/wild.ts";

const { values } = parseArgs({
  options: {
    "per-row": { type: "string", default: "1000" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    row: { type: "string", default: "" },
    show: { type: "string", default: "1" },
    all: { type: "boolean", default: false },
    wild: { type: "string" },
    write: { type: "boolean", default: false },
  },
});

const stepper = buildStepper();
const vendor = processorVendor();
if (!stepper || !vendor) {
  console.error("needs Linux on x86-64, a processor of Intel or AMD, and gcc");
  process.exit(2);
}
const judge = { stepper, vendor };
const seed = Number(values.seed);
if (values.write) {
  for (const { file, vectors, bytes } of writeCommitted(judge))
    console.log(`${file}: ${vectors} vectors, ${bytes} bytes`);
} else if (values.wild) {
  const { same, lacking, permissive, wrong } = judgeWild(judge, Number(values.wild), seed);
  for (const text of [...permissive.slice(0, Number(values.show)), ...wrong.slice(0, Number(values.show))])
    console.log(`${text}\n`);
  const names = [...lacking].toSorted((a, b) => b[1] - a[1]).map(([name, count]) => `${name} ${count}`);
  console.log(`lacking: ${names.join(", ")}`);
  console.log(`seed ${seed}: ${same} the same, ${permissive.length} only the processor refuses, ${wrong.length} wrong`);
} else {
  const started = performance.now();
  const results = judgeRows(judge, {
    perRow: Number(values["per-row"]),
    seed,
    row: values.row,
    show: Number(values.show),
  });
  let passed = 0;
  let failed = 0;
  const excused = new Map<string, number>();
  for (const row of results) {
    passed += row.passed;
    failed += row.failed;
    for (const [what, count] of row.excused) excused.set(what, (excused.get(what) ?? 0) + count);
    if (row.failed > 0) for (const text of row.failures) console.log(`${text}\n`);
  }
  for (const row of results) {
    if (row.failed > 0 || values.all) console.log(`${row.key}: ${row.passed} passed, ${row.failed} failed`);
  }
  for (const [what, count] of excused) console.log(`${count} do not hold here: ${what}`);
  const bad = results.filter((row) => row.failed > 0).length;
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(
    `seed ${seed}: ${results.length} rows, ${bad} failing; ${passed} vectors passed, ${failed} failed; ${seconds} s`,
  );
  process.exitCode = failed > 0 ? 1 : 0;
}
