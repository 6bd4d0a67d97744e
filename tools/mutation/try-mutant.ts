/**
 * Runs test files in order, in this process, until something fails: `node --import hooks.ts try-mutant.ts FILE...`.
 * File descriptor 3 gets a line for each file that begins: its name, a tab, the processor seconds used so far; and one for the end, whose
 * name is `failed` or `passed`.
 */
import { writeSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { runCollected } from "./tiny-vitest.ts";

const report = (file: string): void => {
  const { user, system } = process.cpuUsage();
  writeSync(3, `${file}\t${(user + system) / 1e6}\n`);
};

try {
  for (const file of process.argv.slice(2)) {
    report(file);
    await import(pathToFileURL(resolve(file)).href);
    await runCollected();
  }
} catch (error) {
  console.log(error instanceof Error ? error.message.slice(0, 500) : String(error));
  report("failed");
  process.exit(1);
}
report("passed");
process.exit(0);
