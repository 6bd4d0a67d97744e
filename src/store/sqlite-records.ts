/** The toolstack's records in SQLite: reads at any time, writes inside a change (`GroupCommit`). */

import type {
  DomainRecord,
  EventRecord,
  ImageKind,
  ImageRecord,
  PowerState,
  TaskRecord,
  TaskState,
} from "../toolstack/model.ts";
import type { Listed, LiveName, Page, StepRow, Writer } from "../toolstack/ports.ts";
import { AccessRecords } from "./access-records.ts";
import { DomainCache } from "./domain-cache.ts";
import { HostReturnRecords } from "./host-returns.ts";
import { SqliteLists } from "./lists.ts";
import { SqliteRetries } from "./retries.ts";
import { eventShape, imageShape, type Row, stepFromRow, stepToRow, taskShape } from "./rows.ts";
import type { Statements } from "./statements.ts";
import { TaskInputs } from "./task-inputs.ts";

/** Events over the limit that are let stand, so that compaction is not done at every commit. */
const COMPACTION_STEP = 500;

export class SqliteRecords implements Writer {
  /** Events of the transaction under way. */
  readonly written: EventRecord[] = [];
  readonly cache = new DomainCache();
  readonly taskInputs: TaskInputs;
  readonly hostReturns: HostReturnRecords;
  readonly access: AccessRecords;
  readonly retries: SqliteRetries;
  readonly lists: SqliteLists;
  protected readonly statements: Statements;
  readonly #eventsKept: number;

  constructor(statements: Statements, eventsKept: number) {
    this.access = new AccessRecords(statements);
    this.statements = statements;
    this.hostReturns = new HostReturnRecords(statements);
    this.taskInputs = new TaskInputs(statements);
    this.retries = new SqliteRetries(statements);
    this.lists = new SqliteLists(statements, this.cache);
    this.#eventsKept = eventsKept;
  }

  domain(uuid: string): DomainRecord | undefined {
    return this.cache.get(uuid) ?? this.statements.one(this.cache, "uuid = ?", uuid);
  }

  domainByName(name: string): DomainRecord | undefined {
    const row = this.statements.prepare("SELECT uuid FROM domains WHERE name = ?").get(name);
    return row === undefined ? undefined : this.domain((row as { uuid: string }).uuid);
  }

  domains(page: Page): Listed<DomainRecord> {
    return this.statements.listed(this.cache, page);
  }

  liveDomains(): readonly DomainRecord[] {
    return this.statements.many(this.cache, "domid IS NOT NULL ORDER BY position");
  }

  liveNames({ after, limit }: Page): Listed<LiveName> {
    const sql =
      "SELECT uuid, name, domid, position FROM domains WHERE domid IS NOT NULL AND position > ? ORDER BY position LIMIT ?";
    const rows = this.statements.prepare(sql).all(after, limit + 1) as (LiveName & { position: number })[];
    const items = rows.slice(0, limit);
    return rows.length > limit ? { items, next: items.at(-1)!.position } : { items };
  }

  domainCounts(): Readonly<Partial<Record<PowerState, number>>> {
    const rows = this.statements.prepare("SELECT state, count(*) AS count FROM domains GROUP BY state").all();
    return Object.fromEntries((rows as { state: PowerState; count: number }[]).map((row) => [row.state, row.count]));
  }

  highestDomid(): number {
    const sql =
      "SELECT max(max(coalesce(domid, 0), coalesce(json_extract(last_stop, '$.domid'), 0), coalesce(json_extract(last_crash, '$.domid'), 0))) AS domid FROM domains";
    return (this.statements.prepare(sql).get() as { domid: number | null }).domid ?? 0;
  }

  image(id: string): ImageRecord | undefined {
    return this.statements.one(imageShape, "id = ?", id);
  }

  imageByContent(project: string, sha256: string, kind: ImageKind): ImageRecord | undefined {
    return this.statements.one(imageShape, "project = ? AND sha256 = ? AND kind = ?", project, sha256, kind);
  }

  imageFiles(): ReadonlySet<string> {
    const rows = this.statements.prepare("SELECT DISTINCT sha256 FROM images").all() as { sha256: string }[];
    return new Set(rows.map((row) => row.sha256));
  }

  imageUsers(id: string, limit: number): readonly string[] {
    const sql = "SELECT name FROM domains WHERE kernel = ? OR ramdisk = ? LIMIT ?";
    return (this.statements.prepare(sql).all(id, id, limit) as { name: string }[]).map((row) => row.name);
  }

  task(id: string): TaskRecord | undefined {
    return this.statements.one(taskShape, "id = ?", id);
  }

  tasks(page: Page, domain?: string): Listed<TaskRecord> {
    return domain === undefined
      ? this.statements.listed(taskShape, page)
      : this.statements.listed(taskShape, page, "domain = ?", domain);
  }

  steps(task: string): readonly StepRow[] {
    const rows = this.statements.prepare("SELECT * FROM task_steps WHERE task = ? ORDER BY step").all(task);
    return rows.map((row) => stepFromRow(row as Row));
  }

  unfinishedTaskCounts(): Readonly<Partial<Record<TaskState, number>>> {
    const sql = "SELECT state, count(*) AS count FROM tasks WHERE finished_at IS NULL GROUP BY state";
    const rows = this.statements.prepare(sql).all() as { state: TaskState; count: number }[];
    return Object.fromEntries(rows.map((row) => [row.state, row.count]));
  }

  unfinishedTasks(): readonly TaskRecord[] {
    return this.statements.many(taskShape, "finished_at IS NULL ORDER BY position");
  }

  events(after: number, limit: number): readonly EventRecord[] {
    return this.statements.many(eventShape, "sequence > ? ORDER BY sequence LIMIT ?", after, limit);
  }

  eventRange(): { first: number; last: number } {
    const sql =
      "SELECT (SELECT seq FROM sqlite_sequence WHERE name = 'events') AS last, (SELECT min(sequence) FROM events) AS first";
    const { first, last } = this.statements.prepare(sql).get() as { first: number | null; last: number | null };
    return { first: first ?? (last ?? 0) + 1, last: last ?? 0 };
  }

  putDomain(record: DomainRecord): void {
    this.cache.touch(record.uuid, record);
    this.statements.put(this.cache, record, "uuid");
  }

  removeDomain(uuid: string): void {
    this.cache.touch(uuid);
    this.statements.prepare("DELETE FROM domains WHERE uuid = ?").run(uuid);
  }

  putImage(record: ImageRecord): void {
    this.statements.put(imageShape, record, "id");
  }

  removeImage(id: string): void {
    this.statements.prepare("DELETE FROM images WHERE id = ?").run(id);
  }

  putTask(record: TaskRecord): void {
    this.statements.put(taskShape, record, "id");
  }

  putStep(row: StepRow): void {
    const sql =
      "INSERT INTO task_steps (task, step, name, state, time) VALUES (@task, @step, @name, @state, @time) ON CONFLICT (task, step) DO UPDATE SET state = excluded.state, time = excluded.time";
    this.statements.prepare(sql).run(stepToRow(row));
  }

  pruneTasks(time: number): void {
    this.statements.prepare("DELETE FROM tasks WHERE finished_at < ?").run(time);
  }

  appendEvent(event: Omit<EventRecord, "sequence">): void {
    const sql =
      "INSERT INTO events (time, class, operation, reason, id, project, object) VALUES (@time, @class, @operation, @reason, @id, @project, @object)";
    const { lastInsertRowid } = this.statements.prepare(sql).run(event);
    this.written.push({ ...event, sequence: Number(lastInsertRowid) });
  }

  putChecked(time: number): void {
    const sql = "INSERT INTO meta VALUES ('checked_at', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    this.statements.prepare(sql).run(String(time));
  }

  /** Forgets the oldest events, at the end of a transaction. */
  compactEvents(): void {
    const last = this.written.at(-1)?.sequence;
    if (last === undefined || last % COMPACTION_STEP >= this.written.length) return;
    this.statements.prepare("DELETE FROM events WHERE sequence <= ?").run(last - this.#eventsKept);
  }
}
