/**
 * Runs static programs natively and on the engine, with the same registers at every system call.
 *
 *   node tools/lockstep.ts [--only text]                         the long list, or what has the text in its name
 *   node tools/lockstep.ts [--input file] -- PROGRAM ARGUMENT...   one program, PROGRAM an absolute path
 */

import { parseArgs } from "node:util";
import { compare } from "../test/engine/lockstep/lockstep.ts";
import { busyboxList, cProgramList, type NamedProgram } from "../test/engine/lockstep/programs.ts";
import { buildRecorder } from "../test/engine/lockstep/recording.ts";

const { values, positionals } = parseArgs({
  options: { input: { type: "string" }, only: { type: "string", default: "" } },
  allowPositionals: true,
});
const recorder = buildRecorder();
if (!recorder) {
  console.error("needs Linux on x86-64 and gcc");
  process.exit(2);
}
const single = { words: positionals, folder: process.cwd(), ...(values.input && { input: values.input }) };
const programs: NamedProgram[] =
  positionals.length > 0
    ? [{ name: positionals.join(" "), program: single }]
    : [...cProgramList(true), ...busyboxList(true)].filter(({ name }) => name.includes(values.only));
let differ = 0;
for (const { name, program } of programs) {
  const started = performance.now();
  const { difference, calls, instructions, end } = compare(recorder, program);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(
    `${difference === null ? "same" : "DIFFERENT"}: ${name}: ${calls} calls, ${instructions} instructions, ${end}, ${seconds} s`,
  );
  if (difference !== null) console.log(difference);
  if (difference !== null) differ++;
}
console.log(`${programs.length} programs, ${differ} differ`);
process.exitCode = differ > 0 ? 1 : 0;
