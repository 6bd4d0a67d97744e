/**
 * Loaded before a mutant's tests (`node --import`): the one source is read with the mutant in it, and what test files import of vitest
 * is `tiny-vitest.ts`, which costs a tenth of a second instead of one.
 */
import { registerHooks } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type Mutant, mutate } from "./mutant.ts";

const mutant: Mutant | null = JSON.parse(process.env.DOMZERO_MUTANT ?? "null");
const url = mutant && pathToFileURL(join(import.meta.dirname, "../..", mutant.file)).href;
const tiny = pathToFileURL(join(import.meta.dirname, "tiny-vitest.ts")).href;

registerHooks({
  resolve: (specifier, context, next) =>
    specifier === "vitest" || specifier === "@fast-check/vitest"
      ? { url: tiny, format: "module-typescript", shortCircuit: true }
      : next(specifier, context),
  load(asked, context, next) {
    const loaded = next(asked, context);
    if (mutant === null || asked !== url) return loaded;
    return { ...loaded, source: mutate(String(loaded.source), mutant) };
  },
});
