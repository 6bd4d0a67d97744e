/** What is acknowledged, and what is told at all, is on the disk: seen with a disk whose syncs end when the test says so. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { LogSync } from "../../src/store/group-commit.ts";
import { SqliteStore } from "../../src/store/sqlite-store.ts";
import type { EventRecord } from "../../src/toolstack/model.ts";
import type { Writer } from "../../src/toolstack/ports.ts";
import { refuse } from "../../src/toolstack/refusal.ts";

class SlowDisk implements LogSync {
  readonly waiting: ((error: Error | null) => void)[] = [];
  syncs = 0;

  later(done: (error: Error | null) => void): void {
    this.waiting.push(done);
  }

  now(): void {
    this.syncs++;
  }

  end(error: Error | null = null): void {
    this.waiting.shift()?.(error);
  }
}

const migrationsDir = resolve(import.meta.dirname, "../../migrations");
let stateDir: string;
let disk: SlowDisk;
let store: SqliteStore;
let fatal: Error | undefined;
const told: number[] = [];

beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), "domzero-commits-"));
  disk = new SlowDisk();
  fatal = undefined;
  told.length = 0;
  const onFatal = (error: Error) => {
    fatal = error;
  };
  store = new SqliteStore({ stateDir, migrationsDir, now: () => 5, logSync: disk, onFatal });
  store.onEvents((events) => told.push(...events.map(({ sequence }) => sequence)));
});
afterEach(() => {
  store.close();
  rmSync(stateDir, { recursive: true });
});

const event = (id: string): Omit<EventRecord, "sequence"> => ({
  time: 1,
  class: "domain",
  operation: "add",
  reason: "created",
  id,
  project: "default",
  object: "{}",
});

/** Commits an event, and notes when that is acknowledged. */
function commit(id: string, acknowledged: string[]): void {
  void store.commit((writer) => writer.appendEvent(event(id))).then(() => acknowledged.push(id));
}

test("a change is acknowledged, and its event told, when its transaction is on the disk, and not before", async () => {
  const acknowledged: string[] = [];
  commit("a", acknowledged);
  await nextTurn();
  await nextTurn();
  expect(disk.waiting).toHaveLength(1);
  expect([acknowledged, told]).toEqual([[], []]);
  expect(store.eventRange().last).toBe(0);
  expect(store.events(0, 10)).toEqual([]);
  let free = false;
  void store.settled()?.then(() => {
    free = true;
  });
  await nextTurn();
  expect(free).toBe(false);

  disk.end();
  await nextTurn();
  expect([acknowledged, told, free]).toEqual([["a"], [1], true]);
  expect(store.eventRange().last).toBe(1);
  expect(store.events(0, 10)).toHaveLength(1);
  expect(store.settled()).toBeUndefined();
});

test("what comes while a transaction is on its way to the disk is one transaction after it", async () => {
  const acknowledged: string[] = [];
  const sizes: number[] = [];
  store.onCommit((_seconds, changes) => sizes.push(changes));
  commit("a", acknowledged);
  await nextTurn();
  for (const id of ["b", "c", "d"]) {
    commit(id, acknowledged);
    await nextTurn();
  }
  expect(disk.waiting).toHaveLength(1);
  disk.end();
  await nextTurn();
  await nextTurn();
  expect([acknowledged, disk.waiting.length]).toEqual([["a"], 1]);
  disk.end();
  await nextTurn();
  expect([acknowledged, sizes]).toEqual([
    ["a", "b", "c", "d"],
    [1, 3],
  ]);
});

test("a transaction that a disk does not take is never acknowledged, and ends the process", async () => {
  const acknowledged: string[] = [];
  commit("a", acknowledged);
  await nextTurn();
  disk.end(new Error("EIO"));
  await nextTurn();
  expect([acknowledged, told, fatal?.message]).toEqual([[], [], "EIO"]);
});

test("closing syncs what is on its way, and what is still to be written", async () => {
  const acknowledged: string[] = [];
  commit("a", acknowledged);
  await nextTurn();
  commit("b", acknowledged);
  store.close();
  expect(disk.syncs).toBe(2);
  // A sync that ends now has nothing left to say.
  disk.end();
  await nextTurn();
  expect(acknowledged).toEqual(["a", "b"]);
  store = new SqliteStore({ stateDir, migrationsDir, now: () => 5 });
  expect(store.events(0, 10).map(({ id }) => id)).toEqual(["a", "b"]);
});

test("what was written last is read from memory, unless it was taken back", async () => {
  store.close();
  store = new SqliteStore({ stateDir, migrationsDir, now: () => 5 });
  const put = (name: string, description: string) => (writer: Writer) =>
    writer.putDomain({ ...DOMAIN, uuid: `uuid-of-${name}`, name, description });
  await store.commit(put("a", "one"));
  expect(store.domain("uuid-of-a")).toMatchObject({ description: "one" });
  await Promise.all([
    store.commit(put("a", "two")),
    store.commit((writer) => {
      put("a", "three")(writer);
      put("b", "one")(writer);
      return refuse("bad-value", "Not so.");
    }),
  ]);
  expect(store.domain("uuid-of-a")).toMatchObject({ description: "two" });
  expect(store.domain("uuid-of-b")).toBeUndefined();
  await store.commit((writer) => writer.removeDomain("uuid-of-a"));
  expect(store.domain("uuid-of-a")).toBeUndefined();
});

const DOMAIN = {
  description: "",
  kernel: "builtin:demo",
  ramdisk: null,
  cmdline: "",
  memoryMiB: 16,
  maxMemoryMiB: 16,
  vcpus: 1,
  cpuWeight: 256,
  cpuCap: 0,
  cpuAffinity: null,
  onCrash: "destroy",
  onHostCrash: "off",
  stopPriority: 0,
  configVersion: 1,
  state: "halted",
  runtimeVersion: 1,
  domid: null,
  bootEpoch: null,
  startedAt: null,
  createdAt: 1,
  createdBy: "root",
  project: "default",
  changedAt: 1,
  lastStop: null,
  lastCrash: null,
} as const;
