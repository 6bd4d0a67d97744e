/** The table of operations: it says what the code does, it can be walked, and its documentation is made from it. */

import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { TRANSITIONS } from "../../src/toolstack/operations/lifecycle.ts";
import { crashPoints, OPERATIONS, STEPS, type StepName } from "../../src/toolstack/operations/operation-table.ts";
import { stepTable } from "../../src/toolstack/operations/operations.ts";
import { operationsDocument } from "../../tools/operations.ts";

// Nothing is asked of the ports while the table is made.
const implemented = stepTable({} as Parameters<typeof stepTable>[0]);
const names = Object.keys(STEPS) as StepName[];

test.each(names)("%s does what its row says, and no more", (name) => {
  const row: { effect?: string; record?: string; undo?: string } = STEPS[name];
  const step = implemented[name];
  expect({
    effect: row.effect !== undefined,
    record: row.record !== undefined,
    undo: row.undo !== undefined,
  }).toEqual({
    effect: step.effect !== undefined,
    record: step.record !== undefined,
    undo: step.undo !== undefined || step.undoRecord !== undefined,
  });
  expect(step.name).toBe(name);
});

test("every step is of an operation, and every transition has its operation", () => {
  const used = new Set(Object.values(OPERATIONS).flatMap(({ steps }) => steps));
  expect(names.filter((name) => !used.has(name))).toEqual([]);
  expect(Object.keys(implemented).sort()).toEqual([...names].sort());
  expect(Object.keys(TRANSITIONS).filter((operation) => !(operation in OPERATIONS))).toEqual([]);
});

describe.each(Object.entries(OPERATIONS))("%s", (_operation, row) => {
  test("commits at one of its steps, once, or when it is taken", () => {
    if (row.commit !== "taken") expect(row.steps.filter((name) => name === row.commit)).toHaveLength(1);
    expect(new Set(row.steps).size).toBe(row.steps.length);
  });

  test("does nothing after its commit that cannot be done in another process", () => {
    const needsInstance = ["pause", "unpause", "ask", "await-guest", "save", "go-on", "spend"];
    const after = row.commit === "taken" ? row.steps : row.steps.slice(row.steps.indexOf(row.commit) + 1);
    expect(after.filter((name) => needsInstance.includes(name))).toEqual([]);
  });
});

test("crash points: three for a step with an effect, one for one without, each once", () => {
  const points = crashPoints();
  expect(new Set(points).size).toBe(points.length);
  const rows = Object.values(OPERATIONS).flatMap(({ steps }) => steps);
  expect(points.length).toBe(rows.reduce((sum, name) => sum + ("effect" in STEPS[name] ? 3 : 1), 0));
});

test("docs/operations.md is made from the table (node tools/operations.ts)", () => {
  const path = resolve(import.meta.dirname, "../../docs/operations.md");
  expect(readFileSync(path, "utf8")).toBe(operationsDocument());
});
