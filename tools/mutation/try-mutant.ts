/** Runs test files in order, in this process, until something fails: `node --import hooks.ts try-mutant.ts FILE...`. Ends with FAILED then. */
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { FAILED, runCollected } from "./tiny-vitest.ts";

try {
  for (const file of process.argv.slice(2)) {
    await import(pathToFileURL(resolve(file)).href);
    await runCollected();
  }
} catch (error) {
  console.log(error instanceof Error ? error.message.slice(0, 500) : String(error));
  process.exit(FAILED);
}
process.exit(0);
