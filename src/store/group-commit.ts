/**
 * Changes of one tick share a transaction, and each is acknowledged after its commit (WAL, synchronous=FULL: it is on the disk
 * then). A change runs under a savepoint of its own: one that refuses or throws takes nobody along. Changes run synchronously, so that
 * readers never see half of one. A savepoint keeps a copy of every page that is changed under it, so a change of one statement goes without.
 */

import Database from "better-sqlite3";
import type { EventRecord } from "../toolstack/model.ts";
import type { Writer } from "../toolstack/ports.ts";
import { type Refusal, refuse } from "../toolstack/refusal.ts";
import type { SqliteRecords } from "./sqlite-records.ts";

interface Pending {
  readonly change: (writer: Writer) => unknown;
  /** It is one statement at most, which has an effect as a whole or not at all. */
  readonly single: boolean;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

const SQL = {
  begin: "BEGIN IMMEDIATE",
  commit: "COMMIT",
  rollBack: "ROLLBACK",
  beginChange: "SAVEPOINT change",
  endChange: "RELEASE change",
  undoChange: "ROLLBACK TO change",
} as const;

/** How long what nobody waits for may wait for company. */
const SOON_MS = 50;
/** Changes in one transaction at most: the thread serves requests too. */
const MOST_CHANGES = 200;

export class GroupCommit {
  readonly #database: Database.Database;
  readonly #records: SqliteRecords;
  readonly #statements: Readonly<Record<keyof typeof SQL, Database.Statement>>;
  readonly #pending: Pending[] = [];
  /** A transaction begins in this tick. */
  #due = false;
  #soon: NodeJS.Timeout | undefined;
  /** Called after each commit with the events that it wrote. */
  onEvents: (events: readonly EventRecord[]) => void = () => undefined;
  /** Called after each commit with its time in seconds and how many changes it took along. */
  onCommit: (seconds: number, changes: number) => void = () => undefined;

  /** What every change is refused with, where it is. */
  refusing: Refusal | undefined;

  constructor(database: Database.Database, records: SqliteRecords) {
    this.#database = database;
    this.#records = records;
    const prepared = Object.entries(SQL).map(([name, sql]) => [name, database.prepare(sql)]);
    this.#statements = Object.fromEntries(prepared);
  }

  commit<T>(change: (writer: Writer) => T, single = false): Promise<T | Refusal> {
    this.#begin();
    return this.#add(change, single);
  }

  /** With the next transaction, which is begun for this alone only when none comes for a while. */
  commitSoon<T>(change: (writer: Writer) => T, single = false): Promise<T | Refusal> {
    this.#soon ??= setTimeout(() => this.#begin(), SOON_MS);
    return this.#add(change, single);
  }

  #add<T>(change: (writer: Writer) => T, single: boolean): Promise<T | Refusal> {
    const { promise, resolve, reject } = Promise.withResolvers<T | Refusal>();
    this.#pending.push({ change, single, resolve: resolve as (value: unknown) => void, reject });
    return promise;
  }

  /** Commits what is pending, now. */
  flushAll(): void {
    while (this.#pending.length > 0) this.#flush();
  }

  /** In this tick. */
  #begin(): void {
    if (this.#due) return;
    this.#due = true;
    setImmediate(() => this.#flush());
  }

  #flush(): void {
    clearTimeout(this.#soon);
    this.#soon = undefined;
    this.#due = false;
    const batch = this.#pending.splice(0, MOST_CHANGES);
    if (this.#pending.length > 0) this.#begin();
    if (batch.length === 0) return;
    if (this.refusing) {
      for (const { resolve } of batch) resolve(this.refusing);
      return;
    }
    const { written, cache } = this.#records;
    const { begin: beginAll, commit, rollBack } = this.#statements;
    written.length = 0;
    const outcomes: (() => void)[] = [];
    const begin = performance.now();
    try {
      beginAll.run();
      for (const pending of batch) outcomes.push(this.#change(pending));
      this.#records.compactEvents();
      commit.run();
      cache.settle(true);
    } catch (error) {
      if (this.#database.inTransaction) rollBack.run();
      cache.settle(false);
      const full = isFull(error);
      for (const { resolve, reject } of batch) full ? resolve(full) : reject(error);
      return;
    }
    const events = [...written];
    this.onCommit((performance.now() - begin) / 1000, batch.length);
    for (const settle of outcomes) settle();
    if (events.length > 0) this.onEvents(events);
  }

  #change({ change, single, resolve, reject }: Pending): () => void {
    const writtenBefore = this.#records.written.length;
    if (!single) this.#statements.beginChange.run();
    try {
      const value = change(this.#records);
      if (isRefusal(value)) this.#undo(writtenBefore, single);
      else if (!single) this.#statements.endChange.run();
      return () => resolve(value);
    } catch (error) {
      // After these SQLite has rolled the whole transaction back.
      if (!this.#database.inTransaction) throw error;
      this.#undo(writtenBefore, single);
      const full = isFull(error);
      return () => (full ? resolve(full) : reject(error));
    }
  }

  #undo(writtenBefore: number, single: boolean): void {
    if (!single) {
      this.#statements.undoChange.run();
      this.#statements.endChange.run();
    }
    this.#records.written.length = writtenBefore;
    this.#records.cache.doubt();
  }
}

export function isRefusal(value: unknown): value is Refusal {
  return typeof value === "object" && value !== null && "ok" in value && value.ok === false && "code" in value;
}

function isFull(error: unknown): Refusal | undefined {
  if (!(error instanceof Database.SqliteError) || error.code !== "SQLITE_FULL") return undefined;
  return refuse("storage-full", "The disk of the state folder is full; nothing was changed.");
}
