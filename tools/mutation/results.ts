/**
 * What became of an area's mutants, so that a run that was interrupted goes on where it was: a file of lines, the last one of a mutant
 * counts. A result stands while the mutant's source and the tests that it rests on (the one that noticed, or all that did not) are the same.
 */
import { appendFileSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { hashOf } from "./hash-of.ts";
import type { Mutant } from "./mutant.ts";
import { KEPT } from "./run-tests.ts";

export interface Result {
  readonly id: string;
  readonly hash: string;
  readonly verdict: "killed" | "endless" | "survived";
  /** The test file that noticed. */
  readonly by: string | null;
  readonly said: string;
}

export class Results {
  readonly #path: string;
  readonly #byId = new Map<string, Result>();

  constructor(area: string) {
    mkdirSync(KEPT, { recursive: true });
    this.#path = join(KEPT, `${area}.jsonl`);
    for (const line of linesOf(this.#path)) {
      const result: Result = JSON.parse(line);
      this.#byId.set(result.id, result);
    }
  }

  /** The last one, whether it still stands or not. */
  last(mutant: Mutant): Result | undefined {
    return this.#byId.get(mutant.id);
  }

  /** `tests`: those that would be run now. */
  standing(mutant: Mutant, tests: readonly string[]): Result | undefined {
    const result = this.#byId.get(mutant.id);
    if (result === undefined) return undefined;
    if (result.by !== null && !tests.includes(result.by)) return undefined;
    return result.hash === hashFor(mutant, result.by, tests) ? result : undefined;
  }

  add(mutant: Mutant, tests: readonly string[], { verdict, by, said }: Omit<Result, "id" | "hash">): void {
    const result: Result = { id: mutant.id, hash: hashFor(mutant, by, tests), verdict, by, said: said.slice(0, 200) };
    this.#byId.set(mutant.id, result);
    appendFileSync(this.#path, `${JSON.stringify(result)}\n`);
  }
}

const hashFor = ({ file }: Mutant, by: string | null, tests: readonly string[]): string =>
  hashOf([file, ...(by === null ? tests.toSorted() : [by])]);

function linesOf(path: string): string[] {
  try {
    return readFileSync(path, "utf8").split("\n").filter(Boolean);
  } catch {
    return [];
  }
}
