/** In which order test files are tried on a mutant: the one that is likeliest to notice for what it costs is the first. */
import type { Mutant } from "./mutant.ts";

/** How likely a test file is that has not noticed anything near. */
const UNKNOWN = 0.05;
/** Processor seconds that any of them takes. */
const LEAST_COST = 0.1;

export class Order {
  readonly #noticed: { readonly file: string; readonly line: number; readonly by: string }[] = [];

  noticed({ file, line }: Mutant, by: string): void {
    this.#noticed.push({ file, line, by });
  }

  /** Who noticed a mutant speaks for itself in others nearby. `first`: who noticed this one the last time. */
  of(mutant: Mutant, tests: readonly string[], costOf: (test: string) => number, first: string | null): string[] {
    const likely = new Map(tests.map((test) => [test, UNKNOWN]));
    for (const { file, line, by } of this.#noticed) {
      const was = likely.get(by);
      if (file === mutant.file && was !== undefined) likely.set(by, was + 1 / (1 + Math.abs(line - mutant.line)));
    }
    const value = (test: string) =>
      test === first ? Number.POSITIVE_INFINITY : likely.get(test)! / (LEAST_COST + costOf(test));
    return tests.toSorted((a, b) => value(b) - value(a));
  }
}
