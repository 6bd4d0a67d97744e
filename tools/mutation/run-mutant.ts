/** Tries one mutant, or the sources as they are, in a process of its own. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import type { Mutant } from "./mutants.ts";
import { FAILED } from "./tiny-vitest.ts";

const here = import.meta.dirname;

export interface Verdict {
  /** `killed` by a test, `endless` (a test never ended, which is noticed as well), or `survived` all tests. */
  readonly verdict: "killed" | "endless" | "survived";
  /** What the test that failed said. */
  readonly said: string;
  readonly seconds: number;
}

/** Fixed seeds: whoever kills a mutant today kills it tomorrow. */
const SEEDS = { DOMZERO_SEED: "4217", VECTORS_SEED: "1", SUSPEND_FUZZ_SEED: "1", DOMZERO_NO_FRESH_VECTORS: "1" };

/** `mutant` null: nothing is changed. `limitSeconds`: when a test counts as never ending. Rejects when the tests could not be run. */
export function tryMutant(mutant: Mutant | null, tests: readonly string[], limitSeconds: number): Promise<Verdict> {
  const began = performance.now();
  const child = spawn(process.execPath, ["--import", join(here, "hooks.ts"), join(here, "try-mutant.ts"), ...tests], {
    cwd: join(here, "../.."),
    env: { ...process.env, ...SEEDS, DOMZERO_MUTANT: JSON.stringify(mutant) },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (bytes) => (said = (said + bytes).slice(0, 2000)));
  const timer = setTimeout(() => child.kill("SIGKILL"), limitSeconds * 1000);
  return new Promise((resolve, reject) => {
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      const verdict = signal === "SIGKILL" ? "endless" : code === 0 ? "survived" : code === FAILED ? "killed" : null;
      if (verdict === null) reject(new Error(`the tests of ${mutant?.id ?? "no mutant"} ended with ${code}: ${said}`));
      else resolve({ verdict, said, seconds: (performance.now() - began) / 1000 });
    });
  });
}
