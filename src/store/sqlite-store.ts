/**
 * The toolstack's store on SQLite.
 *
 * Changes of one tick share a transaction, and each is acknowledged after its commit (WAL, synchronous=FULL: it is on the
 * disk then). A change runs under a savepoint of its own: one that refuses or throws takes nobody along. Changes run
 * synchronously, so that readers never see half of one.
 */

import { randomBytes } from "node:crypto";
import { chmodSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import type { DomainRecord, EventRecord, ImageKind, ImageRecord, PowerState, TaskRecord } from "../toolstack/model.ts";
import type { Listed, Page, StepRow, Store, Writer } from "../toolstack/ports.ts";
import { type Refusal, refuse } from "../toolstack/refusal.ts";
import { migrate } from "./migrator.ts";
import { domainShape, eventShape, imageShape, type Shape, stepFromRow, stepToRow, taskShape } from "./rows.ts";

export class StateDamaged extends Error {}

export interface SqliteStoreOptions {
  readonly stateDir: string;
  readonly migrationsDir: string;
  /** Events kept at least; older ones are compacted away. */
  readonly eventsKept?: number;
  readonly now: () => number;
}

type Row = Record<string, unknown>;

interface Pending {
  readonly change: (writer: Writer) => unknown;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** Events over the limit that are let stand, so that compaction is not done at every commit. */
const COMPACTION_STEP = 500;

/** Changes in one transaction at most: the thread serves requests too. */
const MOST_CHANGES = 200;

export class SqliteStore implements Store, Writer {
  readonly logEpoch: string;
  readonly bootEpoch: number;
  /** Where the database was copied before a migration. */
  readonly backup: string | undefined;
  readonly #database: Database.Database;
  readonly #statements = new Map<string, Database.Statement>();
  readonly #eventsKept: number;
  readonly #pending: Pending[] = [];
  #written: EventRecord[] = [];
  #listener: (events: readonly EventRecord[]) => void = () => undefined;

  /** Throws `SchemaTooNew` or `StateDamaged`. The caller holds the state lock. */
  constructor(options: SqliteStoreOptions) {
    const path = join(options.stateDir, "domzero.db");
    this.#eventsKept = options.eventsKept ?? 20_000;
    this.#database = new Database(path);
    chmodSync(path, 0o600);
    try {
      this.#database.pragma("journal_mode = wal");
      this.#database.pragma("synchronous = full");
      this.#database.pragma("foreign_keys = on");
      this.#checkIntegrity();
    } catch (error) {
      this.#database.close();
      throw isDamage(error)
        ? new StateDamaged(`the state's database is damaged (${error.message}): restore a backup`)
        : error;
    }
    this.backup = migrate(this.#database, options.migrationsDir, (version) =>
      join(options.stateDir, `domzero.db.schema-${version}.${options.now()}.bak`),
    );
    this.logEpoch = this.#meta("log_epoch", (old) => old ?? randomBytes(6).toString("hex"));
    this.bootEpoch = Number(this.#meta("boot_epoch", (old) => String(Number(old ?? 0) + 1)));
  }

  commit<T>(change: (writer: Writer) => T): Promise<T | Refusal> {
    const { promise, resolve, reject } = Promise.withResolvers<T | Refusal>();
    if (this.#pending.length === 0) setImmediate(() => this.#flush());
    this.#pending.push({ change, resolve: resolve as (value: unknown) => void, reject });
    return promise;
  }

  onEvents(listener: (events: readonly EventRecord[]) => void): void {
    this.#listener = listener;
  }

  /** Commits what is pending and closes the file. */
  close(): void {
    while (this.#pending.length > 0) this.#flush();
    this.#database.close();
  }

  domain(uuid: string): DomainRecord | undefined {
    return this.#one(domainShape, "uuid = ?", uuid);
  }

  domainByName(name: string): DomainRecord | undefined {
    return this.#one(domainShape, "name = ?", name);
  }

  domains(page: Page): Listed<DomainRecord> {
    return this.#listed(domainShape, page);
  }

  liveDomains(): readonly DomainRecord[] {
    return this.#many(domainShape, "domid IS NOT NULL ORDER BY position");
  }

  domainCounts(): Readonly<Partial<Record<PowerState, number>>> {
    const rows = this.#prepare("SELECT state, count(*) AS count FROM domains GROUP BY state").all();
    return Object.fromEntries((rows as { state: PowerState; count: number }[]).map((row) => [row.state, row.count]));
  }

  highestDomid(): number {
    const sql =
      "SELECT max(max(coalesce(domid, 0), coalesce(json_extract(last_stop, '$.domid'), 0), coalesce(json_extract(last_crash, '$.domid'), 0))) AS domid FROM domains";
    return (this.#prepare(sql).get() as { domid: number | null }).domid ?? 0;
  }

  image(id: string): ImageRecord | undefined {
    return this.#one(imageShape, "id = ?", id);
  }

  imageByContent(sha256: string, kind: ImageKind): ImageRecord | undefined {
    return this.#one(imageShape, "sha256 = ? AND kind = ?", sha256, kind);
  }

  images(page: Page): Listed<ImageRecord> {
    return this.#listed(imageShape, page);
  }

  imageFiles(): ReadonlySet<string> {
    const rows = this.#prepare("SELECT DISTINCT sha256 FROM images").all() as { sha256: string }[];
    return new Set(rows.map((row) => row.sha256));
  }

  imageUsers(id: string, limit: number): readonly string[] {
    const sql = "SELECT name FROM domains WHERE kernel = ? OR ramdisk = ? LIMIT ?";
    return (this.#prepare(sql).all(id, id, limit) as { name: string }[]).map((row) => row.name);
  }

  task(id: string): TaskRecord | undefined {
    return this.#one(taskShape, "id = ?", id);
  }

  tasks(page: Page, domain?: string): Listed<TaskRecord> {
    return domain === undefined ? this.#listed(taskShape, page) : this.#listed(taskShape, page, "domain = ?", domain);
  }

  steps(task: string): readonly StepRow[] {
    const rows = this.#prepare("SELECT * FROM task_steps WHERE task = ? ORDER BY step").all(task);
    return rows.map((row) => stepFromRow(row as Row));
  }

  unfinishedTasks(): readonly TaskRecord[] {
    return this.#many(taskShape, "finished_at IS NULL ORDER BY position");
  }

  events(after: number, limit: number): readonly EventRecord[] {
    return this.#many(eventShape, "sequence > ? ORDER BY sequence LIMIT ?", after, limit);
  }

  eventRange(): { first: number; last: number } {
    const sql =
      "SELECT (SELECT seq FROM sqlite_sequence WHERE name = 'events') AS last, (SELECT min(sequence) FROM events) AS first";
    const { first, last } = this.#prepare(sql).get() as { first: number | null; last: number | null };
    return { first: first ?? (last ?? 0) + 1, last: last ?? 0 };
  }

  putDomain(record: DomainRecord): void {
    this.#put(domainShape, record, "uuid");
  }

  removeDomain(uuid: string): void {
    this.#prepare("DELETE FROM domains WHERE uuid = ?").run(uuid);
  }

  putImage(record: ImageRecord): void {
    this.#put(imageShape, record, "id");
  }

  removeImage(id: string): void {
    this.#prepare("DELETE FROM images WHERE id = ?").run(id);
  }

  putTask(record: TaskRecord): void {
    this.#put(taskShape, record, "id");
  }

  putStep(row: StepRow): void {
    const sql =
      "INSERT INTO task_steps (task, step, name, state, time) VALUES (@task, @step, @name, @state, @time) ON CONFLICT (task, step) DO UPDATE SET state = excluded.state, time = excluded.time";
    this.#prepare(sql).run(stepToRow(row));
  }

  pruneTasks(time: number): void {
    this.#prepare("DELETE FROM tasks WHERE finished_at < ?").run(time);
  }

  appendEvent(event: Omit<EventRecord, "sequence">): void {
    const sql =
      "INSERT INTO events (time, class, operation, reason, id, object) VALUES (@time, @class, @operation, @reason, @id, @object)";
    const { lastInsertRowid } = this.#prepare(sql).run(event);
    this.#written.push({ ...event, sequence: Number(lastInsertRowid) });
  }

  #flush(): void {
    const batch = this.#pending.splice(0, MOST_CHANGES);
    if (batch.length === 0) return;
    if (this.#pending.length > 0) setImmediate(() => this.#flush());
    this.#written = [];
    const outcomes: (() => void)[] = [];
    try {
      this.#database.exec("BEGIN IMMEDIATE");
      for (const pending of batch) outcomes.push(this.#change(pending));
      this.#compact();
      this.#database.exec("COMMIT");
    } catch (error) {
      if (this.#database.inTransaction) this.#database.exec("ROLLBACK");
      const full = isFull(error);
      for (const { resolve, reject } of batch) full ? resolve(full) : reject(error);
      return;
    }
    for (const settle of outcomes) settle();
    if (this.#written.length > 0) this.#listener(this.#written);
  }

  #change({ change, resolve, reject }: Pending): () => void {
    const written = this.#written.length;
    this.#database.exec("SAVEPOINT change");
    try {
      const value = change(this);
      if (!isRefusal(value)) {
        this.#database.exec("RELEASE change");
        return () => resolve(value);
      }
      this.#rollBackTo(written);
      return () => resolve(value);
    } catch (error) {
      // After these SQLite has rolled the whole transaction back.
      if (!this.#database.inTransaction) throw error;
      this.#rollBackTo(written);
      const full = isFull(error);
      return () => (full ? resolve(full) : reject(error));
    }
  }

  #rollBackTo(written: number): void {
    this.#database.exec("ROLLBACK TO change; RELEASE change");
    this.#written.length = written;
  }

  #compact(): void {
    const last = this.#written.at(-1)?.sequence;
    if (last === undefined || last % COMPACTION_STEP >= this.#written.length) return;
    this.#prepare("DELETE FROM events WHERE sequence <= ?").run(last - this.#eventsKept);
  }

  #put<T>(shape: Shape<T>, record: T, key: string): void {
    const updates = shape.names.filter((name) => name !== key).map((name) => `${name} = excluded.${name}`);
    const sql = `INSERT INTO ${shape.table} (${shape.names.join(", ")}) VALUES (${shape.names.map((name) => `@${name}`).join(", ")}) ON CONFLICT (${key}) DO UPDATE SET ${updates.join(", ")}`;
    this.#prepare(sql).run(shape.toRow(record));
  }

  #one<T>(shape: Shape<T>, where: string, ...values: unknown[]): T | undefined {
    const row = this.#prepare(`SELECT * FROM ${shape.table} WHERE ${where}`).get(...values);
    return row === undefined ? undefined : shape.fromRow(row as Row);
  }

  #many<T>(shape: Shape<T>, where: string, ...values: unknown[]): T[] {
    const rows = this.#prepare(`SELECT * FROM ${shape.table} WHERE ${where}`).all(...values);
    return rows.map((row) => shape.fromRow(row as Row));
  }

  #listed<T>(shape: Shape<T>, page: Page, where = "1", ...values: unknown[]): Listed<T> {
    const sql = `SELECT * FROM ${shape.table} WHERE ${where} AND position > ? ORDER BY position LIMIT ?`;
    const rows = this.#prepare(sql).all(...values, page.after, page.limit + 1) as (Row & { position: number })[];
    const items = rows.slice(0, page.limit).map((row) => shape.fromRow(row));
    return rows.length > page.limit ? { items, next: rows[page.limit - 1].position } : { items };
  }

  #prepare(sql: string): Database.Statement {
    let statement = this.#statements.get(sql);
    if (!statement) {
      statement = this.#database.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  #meta(key: string, next: (old: string | undefined) => string): string {
    const old = this.#prepare("SELECT value FROM meta WHERE key = ?").get(key) as { value: string } | undefined;
    const value = next(old?.value);
    this.#prepare("INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value").run(
      key,
      value,
    );
    return value;
  }

  #checkIntegrity(): void {
    const found = this.#database.pragma("integrity_check(3)") as { integrity_check: string }[];
    if (found[0]?.integrity_check === "ok") return;
    throw new StateDamaged(found.map((row) => row.integrity_check).join("; "));
  }
}

function isDamage(error: unknown): error is Error {
  if (error instanceof StateDamaged) return true;
  return error instanceof Database.SqliteError && ["SQLITE_CORRUPT", "SQLITE_NOTADB"].includes(error.code.slice(0, 14));
}

function isRefusal(value: unknown): value is Refusal {
  return typeof value === "object" && value !== null && "ok" in value && value.ok === false && "code" in value;
}

function isFull(error: unknown): Refusal | undefined {
  if (!(error instanceof Database.SqliteError) || error.code !== "SQLITE_FULL") return undefined;
  return refuse("storage-full", "The disk of the state folder is full; nothing was changed.");
}
