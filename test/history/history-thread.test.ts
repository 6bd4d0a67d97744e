/** The history on its own thread, as the service has it. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { HistoryThread } from "../../src/history/history-thread.ts";
import type { Sample } from "../../src/toolstack/ports.ts";

const T0 = 1_800_000_000;
let folder: string;
let said: string[];
let history: HistoryThread;

function open(path = join(folder, "metrics.db")): HistoryThread {
  const say = (level: string) => (_fields: object, text: string) => void said.push(`${level}: ${text}`);
  return new HistoryThread({
    path,
    stepSeconds: 10,
    width: 1,
    counters: { host: [false], domain: [false] },
    host: "host",
    log: { debug: say("debug"), info: say("info"), warn: say("warn"), error: say("error") },
  });
}

function sample(seconds: number, ...objects: string[]): Sample {
  const instances = new Float64Array(objects.length);
  return { time: seconds * 1000, objects, instances, values: Float64Array.from(objects, (_, i) => i + 1) };
}

const read = (object: string) =>
  history.read({ object, from: T0, to: T0 + 10, columns: [0], mostPoints: 10 }).then((series) => {
    if (series === "too-many") throw new Error("too many points");
    return series.points[0];
  });

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "domzero-history-"));
  said = [];
  history = open();
});

afterEach(async () => {
  await history.close();
  rmSync(folder, { recursive: true });
});

test("what is recorded is read, also by a later run", async () => {
  history.record(sample(T0, "a", "b"));
  expect(await read("b")).toEqual([2]);
  await history.close();
  history = open();
  expect(await read("a")).toEqual([1]);
});

test("domains that were deleted while nobody looked are forgotten, and no others", async () => {
  history.record(sample(T0, "host", "a", "b"));
  await history.retain((object) => object !== "a");
  expect([await read("host"), await read("a"), await read("b")]).toEqual([[1], [null], [3]]);
});

test("a file that is no database is made anew, and that is said", async () => {
  const path = join(folder, "other.db");
  writeFileSync(path, "no database at all ".repeat(500));
  await history.close();
  history = open(path);
  history.record(sample(T0, "a"));
  expect(await read("a")).toEqual([1]);
  expect(said).toContainEqual(expect.stringMatching(/^warn: .*is made anew$/));
});

test("a thread that cannot live refuses reads, and is tried again with the next sample", async () => {
  const path = join(folder, "folder");
  mkdirSync(join(path, "in-the-way"), { recursive: true });
  await history.close();
  history = open(path);
  await expect(read("a")).rejects.toThrow();
  await expect.poll(() => said).toContainEqual(expect.stringMatching(/^warn: the history's thread died/));
  rmSync(path, { recursive: true });
  history.record(sample(T0, "a"));
  expect(await read("a")).toEqual([1]);
});
