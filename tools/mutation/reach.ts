/**
 * Which test files reach which mutants: each test file is run once as the sources are, and V8 says which blocks were executed. This is
 * also where one sees that the tests pass without a mutant, and what each costs. Kept until the test file or a source changes.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { hashOf } from "./hash-of.ts";
import type { Mutant } from "./mutant.ts";
import type { Area } from "./mutants.ts";
import { KEPT, ROOT, runTests } from "./run-tests.ts";

export interface Reach {
  /** Processor seconds of the test file alone. */
  readonly cpu: number;
  /** Ids of the mutants whose place it executes. */
  readonly ids: ReadonlySet<string>;
}

/** By test file; `failing` says of those that fail without a mutant what they said. */
export async function reachOf(
  area: Area,
  mutants: readonly Mutant[],
): Promise<{ reach: Map<string, Reach>; failing: Map<string, string> }> {
  const path = join(KEPT, `${area.name}-reach.json`);
  const kept = readKept(path);
  const reach = new Map<string, Reach>();
  const failing = new Map<string, string>();
  for (const test of area.tests) {
    const hash = hashOf([...area.sources, test]);
    let known = kept[test];
    if (known?.hash !== hash) {
      const folder = mkdtempSync(join(tmpdir(), "domzero-reach-"));
      const { verdict, said, cpu } = await runTests(null, [test], { coverage: folder, limitOf: () => 600 });
      if (verdict === "passed") known = { hash, cpu, ids: executed(folder, mutants) };
      else failing.set(test, said);
      rmSync(folder, { recursive: true });
    }
    if (known === undefined || failing.has(test)) continue;
    kept[test] = known;
    reach.set(test, { cpu: known.cpu, ids: new Set(known.ids) });
    mkdirSync(KEPT, { recursive: true });
    writeFileSync(path, JSON.stringify(kept));
  }
  return { reach, failing };
}

type Kept = Record<string, { hash: string; cpu: number; ids: string[] }>;

function readKept(path: string): Kept {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return {};
  }
}

/** As V8 reports it. Offsets are those of the source: what types leave behind is blanks. */
interface Report {
  readonly result: readonly {
    readonly url: string;
    readonly functions: readonly { readonly ranges: readonly Range[] }[];
  }[];
}
interface Range {
  readonly startOffset: number;
  readonly endOffset: number;
  readonly count: number;
}

function executed(folder: string, mutants: readonly Mutant[]): string[] {
  const ids = new Set<string>();
  for (const name of readdirSync(folder)) {
    const { result }: Report = JSON.parse(readFileSync(join(folder, name), "utf8"));
    const ranges = new Map(result.map(({ url, functions }) => [url, functions.flatMap((each) => each.ranges)]));
    for (const { id, file, start } of mutants) {
      const around = ranges.get(pathToFileURL(join(ROOT, file)).href)?.filter(within(start)) ?? [];
      const innermost = around.toSorted((a, b) => a.endOffset - a.startOffset - (b.endOffset - b.startOffset))[0];
      if (innermost !== undefined && innermost.count > 0) ids.add(id);
    }
  }
  return [...ids];
}

const within = (offset: number) => (range: Range) => range.startOffset <= offset && offset < range.endOffset;
