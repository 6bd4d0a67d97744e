/**
 * Runs test files with a mutant in the sources, or with none, in a process of its own. However that process ends, it has an answer: a
 * test that fails has noticed, and so has one that takes the process down or never ends.
 *
 * What never ends is known by the processor time that a test file has used (/proc, so Linux), for a busy machine makes no test use more.
 */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import type { Mutant } from "./mutant.ts";

const here = import.meta.dirname;
export const ROOT = join(here, "../..");
/** What is kept from one run to the next: results, coverage, compiled sources. */
export const KEPT = join(ROOT, "build/mutation");

export interface Outcome {
  /** `failed`: a test did. `crashed`: the process ended otherwise. `endless`: over its limit, or waiting for what never comes. */
  readonly verdict: "passed" | "failed" | "crashed" | "endless";
  /** The test file in which it ended, null when all of them passed. */
  readonly by: string | null;
  /** What the test that failed said, or the process as it went. */
  readonly said: string;
  /** Processor seconds of all test files. */
  readonly cpu: number;
}

/** Fixed seeds: whoever kills a mutant today kills it tomorrow. */
const SEEDS = { DOMZERO_SEED: "4217", VECTORS_SEED: "1", SUSPEND_FUZZ_SEED: "1", DOMZERO_NO_FRESH_VECTORS: "1" };

/** Processor seconds that a test file may use when nobody knows what it needs. */
const LIMIT = 60;
/** A test file that uses no processor for so long waits for what never comes. */
const IDLE_SECONDS = 60;
/** So long a process that is done may take to go. */
const LEAVE_SECONDS = 5;
/** Node's exit code when a module's top-level await is never over. */
const UNSETTLED = 13;
/** /proc's unit of processor time. */
const TICKS_PER_SECOND = 100;

/** `limitOf`: processor seconds within which a test file ends. `coverage`: folder for V8's report. Rejects when no process starts. */
export function runTests(
  mutant: Mutant | null,
  tests: readonly string[],
  { limitOf = () => LIMIT, coverage }: { limitOf?: (test: string) => number; coverage?: string } = {},
): Promise<Outcome> {
  const child = spawn(
    process.execPath,
    ["--max-old-space-size=1024", "--import", join(here, "hooks.ts"), join(here, "try-mutant.ts"), ...tests],
    {
      cwd: ROOT,
      env: {
        ...process.env,
        ...SEEDS,
        DOMZERO_MUTANT: JSON.stringify(mutant),
        // Functions that come compiled from a cache are not counted well.
        ...(coverage ? { NODE_V8_COVERAGE: coverage } : { NODE_COMPILE_CACHE: join(KEPT, "compiled") }),
      },
      stdio: ["ignore", "pipe", "pipe", "pipe"],
    },
  );
  let said = "";
  for (const stream of [child.stdout!, child.stderr!])
    stream.on("data", (bytes) => (said = (said + bytes).slice(0, 2000)));
  // A line for each test file that begins and one for the end: its name, and the processor seconds used before.
  let progress = "";
  (child.stdio[3] as Readable).on("data", (bytes) => (progress += bytes));
  const lines = () => progress.split("\n").slice(0, -1);
  let endless = false;
  let seen = { cpu: 0, at: performance.now() };
  const watch = setInterval(() => {
    const cpu = processorSeconds(child.pid!);
    if (cpu > seen.cpu) seen = { cpu, at: performance.now() };
    const idle = (performance.now() - seen.at) / 1000;
    const [test = "", before] = (lines().at(-1) ?? "").split("\t");
    if (test === "failed" || test === "passed") {
      // It has said all that it had to say: a process that then does not go is not waited for.
      if (idle > LEAVE_SECONDS) child.kill("SIGKILL");
      return;
    }
    endless = cpu - Number(before ?? 0) > limitOf(test) || idle > IDLE_SECONDS;
    if (endless) child.kill("SIGKILL");
  }, 500);
  return new Promise((resolve, reject) => {
    child.on("error", (error) => {
      clearInterval(watch);
      reject(error);
    });
    child.on("close", (code, signal) => {
      clearInterval(watch);
      const [end = "", last = ""] = lines().toReversed();
      const [name = "", cpu = "0"] = end.split("\t");
      const outcome = { said, cpu: Number(cpu) };
      if (name === "passed") resolve({ verdict: "passed", by: null, ...outcome });
      else if (name === "failed") resolve({ verdict: "failed", by: last.split("\t")[0]!, ...outcome });
      else if (endless || code === UNSETTLED) resolve({ verdict: "endless", by: name, ...outcome });
      else resolve({ verdict: "crashed", by: name, ...outcome, said: `${signal ?? code}: ${said}` });
    });
  });
}

/** Of all threads of a process; 0 when it is gone. */
function processorSeconds(pid: number): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "latin1")
      .replace(/^.*\) /s, "")
      .split(" ");
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  } catch {
    return 0;
  }
}
