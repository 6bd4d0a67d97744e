/** The order of effects, records, undoings and journal rows, whatever refuses. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { SqliteStore } from "../../src/store/sqlite-store.ts";
import type { TaskRecord } from "../../src/toolstack/model.ts";
import { rollBack, type Step, TaskRun } from "../../src/toolstack/operations/task-runner.ts";
import { refuse } from "../../src/toolstack/refusal.ts";

const quiet = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
const clock = { now: () => 1, sleep: () => Promise.resolve() };
const TASK: TaskRecord = {
  id: "t",
  operation: "test",
  domain: "d",
  state: "queued",
  step: null,
  stepsDone: 0,
  stepsTotal: 0,
  createdAt: 0,
  startedAt: null,
  finishedAt: null,
  result: null,
  refusal: null,
  project: null,
};

let stateDir: string;
let store: SqliteStore;
let did: string[];
beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), "domzero-tasks-"));
  store = new SqliteStore({ stateDir, migrationsDir: resolve(import.meta.dirname, "../../migrations"), now: () => 0 });
  did = [];
});
afterEach(() => {
  store.close();
  rmSync(stateDir, { recursive: true });
});

type Trouble = "effect refuses" | "effect throws" | "record refuses" | "undo throws";

/** A step that writes down what is done to it. */
function step(name: string, trouble?: Trouble): Step<object> {
  const no = refuse("bad-value", `${name} will not.`);
  return {
    name,
    async effect() {
      did.push(`${name}!`);
      if (trouble === "effect throws") throw new Error("a bug");
      return trouble === "effect refuses" ? no : undefined;
    },
    record() {
      did.push(`${name}.`);
      return trouble === "record refuses" ? no : undefined;
    },
    async undo() {
      did.push(`-${name}!`);
      if (trouble === "undo throws") throw new Error("a bug");
    },
    undoRecord: () => void did.push(`-${name}.`),
  };
}

const recordOnly = (name: string): Step<object> => {
  const { effect: _, undo: __, ...rest } = step(name);
  return rest;
};

async function run(steps: readonly Step<object>[], signal = new AbortController().signal) {
  const task = new TaskRun({ store, clock, log: quiet }, TASK, steps, {});
  const refusal = await task.open("running");
  return refusal ?? task.run(signal);
}

const journal = () => store.steps("t").map(({ name, state }) => `${name} ${state}`);

describe("a task", () => {
  const cases: [string, Step<object>[], string, string[], string[]][] = [
    [
      "runs each effect before its record",
      [step("a"), step("b")],
      "succeeded",
      ["a!", "a.", "b!", "b."],
      ["a done", "b done"],
    ],
    [
      "undoes a step whose effect refused, without a record to take back",
      [step("a"), step("b", "effect refuses")],
      "failed",
      ["a!", "a.", "b!", "-b!", "-a!", "-a."],
      ["a undone", "b undone"],
    ],
    [
      "takes a thrown error as a refusal",
      [step("a", "effect throws"), step("b")],
      "failed",
      ["a!", "-a!"],
      ["a undone"],
    ],
    [
      "undoes a step whose record was refused",
      [step("a"), step("b", "record refuses")],
      "failed",
      ["a!", "a.", "b!", "b.", "-b!", "-a!", "-a."],
      ["a undone", "b undone"],
    ],
    [
      "undoes the rest though one undoing throws",
      [step("a"), step("b", "undo throws"), step("c", "effect refuses")],
      "failed",
      ["a!", "a.", "b!", "b.", "c!", "-c!", "-b!", "-a!", "-b.", "-a."],
      ["a undone", "b undone", "c undone"],
    ],
    [
      "records steps without an effect together with the one before",
      [step("a"), recordOnly("b"), step("c")],
      "succeeded",
      ["a!", "a.", "b.", "c!", "c."],
      ["a done", "b done", "c done"],
    ],
    ["of no effect at all is done when it is opened", [recordOnly("a")], "succeeded", ["a."], ["a done"]],
  ];
  test.each(cases)("%s", async (_what, steps, state, done, rows) => {
    const task = await run(steps);
    expect(task).toMatchObject({ state });
    expect(did).toEqual(done);
    expect(journal()).toEqual(rows);
    expect(store.task("t")).toEqual(task);
  });

  test("whose first records refuse leaves no trace", async () => {
    const refused = await run([{ name: "a", record: () => refuse("name-taken", "Taken.") }, step("b")]);
    expect(refused).toMatchObject({ code: "name-taken" });
    expect([did, journal(), store.task("t")]).toEqual([[], [], undefined]);
  });

  test("that is cancelled stops before its next effect, and is undone", async () => {
    const abort = new AbortController();
    const steps = [step("a"), { ...step("b"), record: () => void abort.abort() }, step("c")];
    expect(await run(steps as Step<object>[], abort.signal)).toMatchObject({ state: "cancelled" });
    expect(did).toEqual(["a!", "a.", "b!", "-c!", "-b!", "-a!", "-b.", "-a."]);
  });
});

describe("after a restart", () => {
  const forever = () => new Promise<undefined>(() => undefined);

  /** Runs until the step that never ends has begun, and forgets who ran it. */
  async function died(steps: readonly Step<object>[]): Promise<TaskRecord> {
    void run(steps);
    await vi.waitFor(() => expect(journal().at(-1)).toBe("c begun"));
    did = [];
    return store.unfinishedTasks()[0];
  }

  test("effects are undone and records that were done taken back, in reverse", async () => {
    const steps = [step("a"), step("b"), { ...step("c"), effect: forever }];
    const task = await died(steps);
    expect(journal()).toEqual(["a done", "b done", "c begun"]);
    const why = refuse("host-restarted", "It ended.");
    await rollBack({ store, clock, log: quiet }, task, steps, {}, why);
    expect(did).toEqual(["-c!", "-b!", "-a!", "-b.", "-a."]);
    expect(journal()).toEqual(["a undone", "b undone", "c undone"]);
    expect(store.task("t")).toMatchObject({ state: "failed", refusal: { code: "host-restarted", task: "t" } });
    expect(store.unfinishedTasks()).toEqual([]);
  });

  test("a task goes on with the step that was begun", async () => {
    const task = await died([step("a"), step("b"), { ...step("c"), effect: forever }, step("d")]);
    const steps = [step("a"), step("b"), step("c"), step("d")];
    const resumed = new TaskRun({ store, clock, log: quiet }, task, steps, {});
    expect(await resumed.run(new AbortController().signal)).toMatchObject({ state: "succeeded", stepsDone: 4 });
    expect(did).toEqual(["c!", "c.", "d!", "d."]);
  });
});

test("every crash point is passed in order, and one without an effect only when it is journalled", async () => {
  const passed: string[] = [];
  const ports = { store, clock, log: quiet, passed: (point: string) => void passed.push(point) };
  const task = new TaskRun(ports, TASK, [recordOnly("a"), step("b"), recordOnly("c")], {});
  await task.open("running");
  await task.run(new AbortController().signal);
  expect(passed).toEqual([
    "test/a/journalled",
    "test/b/before",
    "test/b/after",
    "test/b/journalled",
    "test/c/journalled",
  ]);
});

test("what a task was asked for is kept with it", async () => {
  const task = new TaskRun({ store, clock, log: quiet }, TASK, [step("a")], {}, '{"paused":true}');
  await task.open("queued");
  expect(store.taskInputs.get("t")).toBe('{"paused":true}');
  await task.run(new AbortController().signal);
  await store.commit((writer) => writer.pruneTasks(10));
  expect(store.taskInputs.get("t")).toBeUndefined();
});
