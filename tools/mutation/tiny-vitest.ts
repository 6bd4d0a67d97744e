/**
 * As much of vitest as the tests that mutants are tried with use: they are collected and run in order, in this process, until one fails.
 * That these tests pass here without a mutant is the first thing that a mutation run looks at.
 */
import { deepStrictEqual } from "node:assert";
import fc from "fast-check";

// Who notices a mutant today notices it tomorrow.
fc.configureGlobal({ seed: 4217 });

type Work = (...args: never[]) => unknown;
interface Suite {
  readonly steps: (() => Promise<void>)[];
  readonly beforeAll: Work[];
  readonly beforeEach: Work[];
  readonly afterEach: Work[];
  readonly afterAll: Work[];
}

const suite = (): Suite => ({ steps: [], beforeAll: [], beforeEach: [], afterEach: [], afterAll: [] });
let open: Suite[] = [suite()];
const innermost = (): Suite => open.at(-1)!;

/** Runs what has been collected; throws what the first test that fails throws. */
export async function runCollected(): Promise<void> {
  const [root] = open;
  open = [suite()];
  await runSuite(root!);
}

async function runSuite({ steps, beforeAll, afterAll }: Suite): Promise<void> {
  for (const hook of beforeAll) await call(hook);
  for (const step of steps) await step();
  for (const hook of afterAll) await call(hook);
}

const call = (work: Work, ...args: unknown[]): unknown => (work as (...args: unknown[]) => unknown)(...args);

function addTest(name: string, work: Work, args: readonly unknown[]): void {
  const around = [...open];
  innermost().steps.push(async () => {
    try {
      for (const { beforeEach } of around) for (const hook of beforeEach) await call(hook);
      await call(work, ...args);
      for (const { afterEach } of around) for (const hook of afterEach) await call(hook);
    } catch (error) {
      throw new Error(`${name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  });
}

function addSuite(work: Work, args: readonly unknown[]): void {
  const inner = suite();
  open.push(inner);
  call(work, ...args);
  open.pop();
  innermost().steps.push(() => runSuite(inner));
}

/** `add` with what vitest hangs on it: each, for, skipIf, runIf. */
function withTables(add: (name: string, work: Work, args: readonly unknown[]) => void) {
  const one = (name: string, ...rest: unknown[]) => {
    const work = rest.find((value) => typeof value === "function");
    if (work !== undefined) add(name, work as Work, []);
  };
  const each =
    (table: readonly unknown[], spread: boolean) =>
    (name: string, ...rest: unknown[]) => {
      const work = rest.find((value) => typeof value === "function") as Work;
      for (const row of table) add(name, work, spread && Array.isArray(row) ? row : [row]);
    };
  const ignored = Object.assign(() => {}, { each: () => () => {}, for: () => () => {} });
  const full: Record<string, unknown> = Object.assign(one, {
    each: (table: readonly unknown[]) => each(table, true),
    for: (table: readonly unknown[]) => each(table, false),
    skipIf: (condition: unknown) => (condition ? ignored : full),
    runIf: (condition: unknown) => (condition ? full : ignored),
    prop: (arbitraries: readonly fc.Arbitrary<unknown>[], parameters?: object) => (name: string, work: Work) =>
      add(
        name,
        () => fc.assert(fc.property(...(arbitraries as [fc.Arbitrary<unknown>]), work as never), parameters),
        [],
      ),
  }) as never;
  return full as never;
}

export const test = withTables(addTest);
export const it = withTables(addTest);
export const describe = withTables((_name, work, args) => addSuite(work, args));
export const beforeAll = (work: Work) => innermost().beforeAll.push(work);
export const beforeEach = (work: Work) => innermost().beforeEach.push(work);
export const afterEach = (work: Work) => innermost().afterEach.push(work);
export const afterAll = (work: Work) => innermost().afterAll.push(work);
export { fc };

/** A value that stands for others in a comparison: expect.any, expect.stringMatching. */
class Stand {
  readonly matches: (value: unknown) => boolean;
  constructor(matches: (value: unknown) => boolean) {
    this.matches = matches;
  }
}

/** Without what vitest's toEqual does not look at: fields that are undefined; with every Stand replaced by what it stands for. */
function plain(value: unknown, beside: unknown, partly: boolean): unknown {
  if (beside instanceof Stand) return beside.matches(value) ? beside : value;
  if (value === null || typeof value !== "object" || ArrayBuffer.isView(value) || value instanceof Stand) return value;
  const other = (beside ?? {}) as Record<string, unknown>;
  if (Array.isArray(value)) return value.map((item, i) => plain(item, other[i as never], partly));
  if (value instanceof Map || value instanceof Set) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key, field]) => field !== undefined && (!partly || key in other))
      .map(([key, field]) => [key, plain(field, other[key], partly)]),
  );
}

const differ = (actual: unknown, expected: unknown, partly = false): string | null => {
  try {
    deepStrictEqual(plain(actual, expected, partly), plain(expected, null, false));
    return null;
  } catch (error) {
    return (error as Error).message;
  }
};

const thrown = (work: unknown): unknown => {
  try {
    (work as () => void)();
    return null;
  } catch (error) {
    return error ?? true;
  }
};

/** Each matcher answers what is wrong, or null. */
const matchers: Record<string, (actual: never, ...expected: never[]) => string | null> = {
  toBe: (actual: unknown, expected: unknown) => (Object.is(actual, expected) ? null : `${actual} is not ${expected}`),
  toEqual: (actual: unknown, expected: unknown) => differ(actual, expected),
  toStrictEqual: (actual: unknown, expected: unknown) => differ(actual, expected),
  toMatchObject: (actual: unknown, expected: unknown) => differ(actual, expected, true),
  toBeCloseTo: (actual: number, expected: number, digits = 2) =>
    Math.abs(actual - expected) < 10 ** -digits / 2 ? null : `${actual} is not close to ${expected}`,
  toBeGreaterThan: (actual: number, least: number) => (actual > least ? null : `${actual} <= ${least}`),
  toBeGreaterThanOrEqual: (actual: number, least: number) => (actual >= least ? null : `${actual} < ${least}`),
  toBeLessThan: (actual: number, most: number) => (actual < most ? null : `${actual} >= ${most}`),
  toBeLessThanOrEqual: (actual: number, most: number) => (actual <= most ? null : `${actual} > ${most}`),
  toBeInstanceOf: (actual: unknown, type: new (...args: never[]) => unknown) =>
    actual instanceof type ? null : `${actual} is no ${type.name}`,
  toBeDefined: (actual: unknown) => (actual !== undefined ? null : "is undefined"),
  toBeUndefined: (actual: unknown) => (actual === undefined ? null : `${actual} is not undefined`),
  toBeNull: (actual: unknown) => (actual === null ? null : `${actual} is not null`),
  toBeNaN: (actual: unknown) => (Number.isNaN(actual) ? null : `${actual} is a number`),
  toBeTruthy: (actual: unknown) => (actual ? null : `${actual}`),
  toContain: (actual: string | unknown[], part: never) =>
    actual.includes(part) ? null : `${part} is not in ${actual}`,
  toContainEqual: (actual: unknown[], part: unknown) =>
    actual.some((item) => differ(item, part) === null) ? null : `${JSON.stringify(part)} is not among them`,
  toHaveLength: (actual: { length: number }, length: number) =>
    actual.length === length ? null : `has length ${actual.length}, not ${length}`,
  toMatch: (actual: string, pattern: RegExp | string) =>
    (typeof pattern === "string" ? actual.includes(pattern) : pattern.test(actual)) ? null : `${actual} does not match`,
  toThrow: (actual: unknown) => (thrown(actual) !== null ? null : "does not throw"),
};

export const expect = Object.assign(
  (actual: unknown, message = "") => {
    const bound = (negated: boolean) =>
      Object.fromEntries(
        Object.entries(matchers).map(([name, matcher]) => [
          name,
          (...expected: unknown[]) => {
            const wrong = (matcher as (...args: unknown[]) => string | null)(actual, ...expected);
            if ((wrong === null) === negated)
              throw new Error(`${message} ${negated ? `not ${name} fails` : wrong}`.trim());
          },
        ]),
      );
    return { ...bound(false), not: bound(true) };
  },
  {
    any: (type: (...args: never[]) => unknown) =>
      new Stand(
        (value) => value != null && (Object(value) instanceof type || typeof value === type.name.toLowerCase()),
      ),
    stringContaining: (part: string) => new Stand((value) => typeof value === "string" && value.includes(part)),
    stringMatching: (pattern: RegExp) => new Stand((value) => typeof value === "string" && pattern.test(value)),
    objectContaining: (part: object) => new Stand((value) => differ(value, part, true) === null),
  },
);
