/**
 * Changes of one tick share a transaction, and each is acknowledged when that is on the disk. A change runs under a savepoint of its own: one
 * that refuses or throws takes nobody along. Changes run synchronously, so that readers never see half of one. A savepoint keeps a copy of
 * every page that is changed under it, so a change of one statement goes without.
 *
 * SQLite appends a transaction to its write-ahead log; that it is on the disk is this file's to see to, by an fdatasync on another thread
 * (synchronous=FULL would do the same on this one, and hold up everybody). The next transaction begins when the one before is on the disk, so
 * there is one at most that is not. What may tell of it waits (`settled`), its events too.
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

/** A transaction that is in the write-ahead log and perhaps not on the disk yet. */
interface Unsynced {
  /** When it was begun. */
  readonly begin: number;
  readonly outcomes: readonly (() => void)[];
  readonly events: readonly EventRecord[];
  /** Those who may not tell of it before. */
  readonly waiting: PromiseWithResolvers<void>;
}

/** Puts what was written to the write-ahead log on the disk. */
export interface LogSync {
  later(done: (error: Error | null) => void): void;
  now(): void;
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
  readonly #log: LogSync;
  readonly #statements: Readonly<Record<keyof typeof SQL, Database.Statement>>;
  readonly #pending: Pending[] = [];
  /** A transaction begins in this tick. */
  #due = false;
  #soon: NodeJS.Timeout | undefined;
  #unsynced: Unsynced | undefined;
  /** Called after each commit with the events that it wrote. */
  onEvents: (events: readonly EventRecord[]) => void = () => undefined;
  /** Called after each commit with its time in seconds and how many changes it took along. */
  onCommit: (seconds: number, changes: number) => void = () => undefined;
  /** Called when the disk did not take what was written: nobody knows what is on it, and the process has to end. */
  readonly #onFatal: (error: Error) => void;

  /** What every change is refused with, where it is. */
  refusing: Refusal | undefined;

  constructor(database: Database.Database, records: SqliteRecords, log: LogSync, onFatal: (error: Error) => void) {
    this.#database = database;
    this.#records = records;
    this.#log = log;
    this.#onFatal = onFatal;
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

  /** Resolves when all that can be read is on the disk; undefined when it is. */
  settled(): Promise<void> | undefined {
    return this.#unsynced?.waiting.promise;
  }

  /** Sequence of the newest event that may be told of. */
  tellable(newest: number): number {
    return (this.#unsynced?.events[0]?.sequence ?? newest + 1) - 1;
  }

  #add<T>(change: (writer: Writer) => T, single: boolean): Promise<T | Refusal> {
    const { promise, resolve, reject } = Promise.withResolvers<T | Refusal>();
    this.#pending.push({ change, single, resolve: resolve as (value: unknown) => void, reject });
    return promise;
  }

  /** Commits what is pending, now, with its sync. */
  flushAll(): void {
    for (;;) {
      if (this.#unsynced) {
        this.#log.now();
        this.#acknowledge(this.#unsynced);
      }
      if (this.#pending.length === 0) return;
      this.#flush(false);
    }
  }

  /** In this tick; after the transaction before where that is not on the disk yet. */
  #begin(): void {
    if (this.#due) return;
    this.#due = true;
    if (!this.#unsynced) setImmediate(() => this.#flush(true));
  }

  #flush(sync: boolean): void {
    if (this.#unsynced) return;
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
    const unsynced = { begin, outcomes, events: [...written], waiting: Promise.withResolvers<void>() };
    this.#unsynced = unsynced;
    if (!sync) return;
    this.#log.later((error) => {
      if (this.#unsynced !== unsynced) return;
      if (error) this.#onFatal(error);
      else this.#acknowledge(unsynced);
    });
  }

  #acknowledge({ begin, outcomes, events, waiting }: Unsynced): void {
    this.#unsynced = undefined;
    if (this.#due) setImmediate(() => this.#flush(true));
    this.onCommit((performance.now() - begin) / 1000, outcomes.length);
    for (const settle of outcomes) settle();
    waiting.resolve();
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
    if (single) return;
    this.#statements.undoChange.run();
    this.#statements.endChange.run();
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
