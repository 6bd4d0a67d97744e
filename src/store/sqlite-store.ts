/** The toolstack's store on SQLite: one file, opened and checked, migrated, and written by group commit. */

import { randomBytes } from "node:crypto";
import { chmodSync, existsSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import Database from "better-sqlite3";
import type { EventRecord } from "../toolstack/model.ts";
import type { Store, Writer } from "../toolstack/ports.ts";
import type { Refusal } from "../toolstack/refusal.ts";
import { acceptance } from "../toolstack/retries.ts";
import { GroupCommit, isRefusal } from "./group-commit.ts";
import { migrate } from "./migrator.ts";
import { SqliteRecords } from "./sqlite-records.ts";
import { Statements } from "./statements.ts";

export class StateDamaged extends Error {}

export interface SqliteStoreOptions {
  readonly stateDir: string;
  readonly migrationsDir: string;
  /** Events kept at least; older ones are compacted away. */
  readonly eventsKept?: number;
  readonly now: () => number;
}

export class SqliteStore extends SqliteRecords implements Store {
  readonly logEpoch: string;
  readonly bootEpoch: number;
  /** Where the database was copied before a migration. */
  readonly backup: string | undefined;
  readonly #database: Database.Database;
  readonly #commits: GroupCommit;

  /** Throws `SchemaTooNew` or `StateDamaged`. The caller holds the state lock. */
  constructor(options: SqliteStoreOptions) {
    const database = openChecked(join(options.stateDir, "domzero.db"));
    const backup = migrate(database, options.migrationsDir, (version) =>
      join(options.stateDir, `domzero.db.schema-${version}.${options.now()}.bak`),
    );
    super(new Statements(database), options.eventsKept ?? 20_000);
    this.#database = database;
    this.backup = backup;
    this.logEpoch = this.#meta("log_epoch", (old) => old ?? randomBytes(6).toString("hex"));
    this.bootEpoch = Number(this.#meta("boot_epoch", (old) => String(Number(old ?? 0) + 1)));
    this.#commits = new GroupCommit(database, this);
  }

  commit<T>(change: (writer: Writer) => T): Promise<T | Refusal> {
    const accepting = acceptance.getStore();
    if (!accepting) return this.#commits.commit(change);
    return this.#commits.commit((writer) => {
      const before = this.written.length;
      const value = change(writer);
      if (!isRefusal(value)) accepting.accept(writer, this.written.slice(before));
      return value;
    });
  }

  commitStatement<T>(change: (writer: Writer) => T, soon = false): Promise<T | Refusal> {
    return soon ? this.#commits.commitSoon(change, true) : this.#commits.commit(change, true);
  }

  onEvents(listener: (events: readonly EventRecord[]) => void): void {
    this.#commits.onEvents = listener;
  }

  refuseWrites(refusal: Refusal | undefined): void {
    this.#commits.refusing = refusal;
  }

  onCommit(listener: (seconds: number, changes: number) => void): void {
    this.#commits.onCommit = listener;
  }

  /** Commits what is pending and closes the file. */
  close(): void {
    this.#commits.flushAll();
    this.#database.close();
  }

  #meta(key: string, next: (old: string | undefined) => string): string {
    const { statements } = this;
    const old = statements.prepare("SELECT value FROM meta WHERE key = ?").get(key) as { value: string } | undefined;
    const value = next(old?.value);
    statements
      .prepare("INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value")
      .run(key, value);
    return value;
  }
}

function openChecked(path: string): Database.Database {
  checkNotLost(path);
  const database = new Database(path);
  chmodSync(path, 0o600);
  try {
    database.pragma("journal_mode = wal");
    database.pragma("synchronous = full");
    database.pragma("foreign_keys = on");
    // What a change may have to be taken back with stays off the disk, and what is read again and again in memory (KiB).
    database.pragma("temp_store = memory");
    database.pragma("cache_size = -32768");
    checkIntegrity(database);
    return database;
  } catch (error) {
    database.close();
    throw isDamage(error)
      ? new StateDamaged(`the state's database is damaged (${error.message}): restore a backup`)
      : error;
  }
}

/** A database that is missing beside what it knew of is lost: on an empty one that would all be cleared away as left over. */
function checkNotLost(path: string): void {
  if (existsSync(path)) return;
  for (const name of ["images", "suspended", "console"]) {
    const folder = join(dirname(path), name);
    if (existsSync(folder) && readdirSync(folder).length > 0)
      throw new StateDamaged(`${folder} has files, and ${path} is missing: restore a backup into another folder`);
  }
}

function checkIntegrity(database: Database.Database): void {
  const found = database.pragma("integrity_check(3)") as { integrity_check: string }[];
  if (found[0]?.integrity_check === "ok") return;
  throw new StateDamaged(found.map((row) => row.integrity_check).join("; "));
}

function isDamage(error: unknown): error is Error {
  if (error instanceof StateDamaged) return true;
  return error instanceof Database.SqliteError && ["SQLITE_CORRUPT", "SQLITE_NOTADB"].includes(error.code.slice(0, 14));
}
