/**
 * Changes of one tick share a transaction, and each is acknowledged after its commit (WAL, synchronous=FULL: it is on the
 * disk then). A change runs under a savepoint of its own: one that refuses or throws takes nobody along. Changes run
 * synchronously, so that readers never see half of one.
 */

import Database from "better-sqlite3";
import type { EventRecord } from "../toolstack/model.ts";
import type { Writer } from "../toolstack/ports.ts";
import { type Refusal, refuse } from "../toolstack/refusal.ts";
import type { SqliteRecords } from "./sqlite-records.ts";

interface Pending {
  readonly change: (writer: Writer) => unknown;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** How long what nobody waits for may wait for company. */
const SOON_MS = 50;
/** Changes in one transaction at most: the thread serves requests too. */
const MOST_CHANGES = 200;

export class GroupCommit {
  readonly #database: Database.Database;
  readonly #records: SqliteRecords;
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
  }

  commit<T>(change: (writer: Writer) => T): Promise<T | Refusal> {
    if (!this.#due) setImmediate(() => this.#flush());
    this.#due = true;
    return this.#add(change);
  }

  /** With the next transaction, which is begun for this alone only when none comes for a while. */
  commitSoon<T>(change: (writer: Writer) => T): Promise<T | Refusal> {
    this.#soon ??= setTimeout(() => this.#flush(), SOON_MS);
    return this.#add(change);
  }

  #add<T>(change: (writer: Writer) => T): Promise<T | Refusal> {
    const { promise, resolve, reject } = Promise.withResolvers<T | Refusal>();
    this.#pending.push({ change, resolve: resolve as (value: unknown) => void, reject });
    return promise;
  }

  /** Commits what is pending, now. */
  flushAll(): void {
    while (this.#pending.length > 0) this.#flush();
  }

  #flush(): void {
    clearTimeout(this.#soon);
    this.#soon = undefined;
    const batch = this.#pending.splice(0, MOST_CHANGES);
    this.#due = this.#pending.length > 0;
    if (this.#due) setImmediate(() => this.#flush());
    if (batch.length === 0) return;
    if (this.refusing) {
      for (const { resolve } of batch) resolve(this.refusing);
      return;
    }
    const { written } = this.#records;
    written.length = 0;
    const outcomes: (() => void)[] = [];
    const begin = performance.now();
    try {
      this.#database.exec("BEGIN IMMEDIATE");
      for (const pending of batch) outcomes.push(this.#change(pending));
      this.#records.compactEvents();
      this.#database.exec("COMMIT");
      this.#records.cache.settle();
    } catch (error) {
      if (this.#database.inTransaction) this.#database.exec("ROLLBACK");
      this.#records.cache.settle();
      const full = isFull(error);
      for (const { resolve, reject } of batch) full ? resolve(full) : reject(error);
      return;
    }
    this.onCommit((performance.now() - begin) / 1000, batch.length);
    for (const settle of outcomes) settle();
    if (written.length > 0) this.onEvents([...written]);
  }

  #change({ change, resolve, reject }: Pending): () => void {
    const writtenBefore = this.#records.written.length;
    this.#database.exec("SAVEPOINT change");
    try {
      const value = change(this.#records);
      if (!isRefusal(value)) {
        this.#database.exec("RELEASE change");
        return () => resolve(value);
      }
      this.#rollBackTo(writtenBefore);
      return () => resolve(value);
    } catch (error) {
      // After these SQLite has rolled the whole transaction back.
      if (!this.#database.inTransaction) throw error;
      this.#rollBackTo(writtenBefore);
      const full = isFull(error);
      return () => (full ? resolve(full) : reject(error));
    }
  }

  #rollBackTo(writtenBefore: number): void {
    this.#database.exec("ROLLBACK TO change; RELEASE change");
    this.#records.written.length = writtenBefore;
  }
}

export function isRefusal(value: unknown): value is Refusal {
  return typeof value === "object" && value !== null && "ok" in value && value.ok === false && "code" in value;
}

function isFull(error: unknown): Refusal | undefined {
  if (!(error instanceof Database.SqliteError) || error.code !== "SQLITE_FULL") return undefined;
  return refuse("storage-full", "The disk of the state folder is full; nothing was changed.");
}
