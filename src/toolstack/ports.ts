/** What the toolstack needs from outside, besides `Domctl`: a store, console logs, a look at kernels, a log, a clock. */

import type { AccessReader, AccessWriter } from "./access/access-ports.ts";
import type { ListReader } from "./lists.ts";
import type {
  DomainRecord,
  EventRecord,
  ImageInspection,
  ImageKind,
  ImageRecord,
  PowerState,
  TaskRecord,
  TaskState,
} from "./model.ts";
import type { Refusal } from "./refusal.ts";
import type { RetryReader, RetryWriter } from "./retries.ts";

export interface Page {
  /** Position after which to go on; 0 is the beginning. */
  readonly after: number;
  readonly limit: number;
  /** Only what is in one of these. */
  readonly projects?: readonly string[];
}

/** Rows in order of creation; `next` is the position to go on from, or undefined at the end. */
export interface Listed<T> {
  readonly items: readonly T[];
  readonly next?: number;
}

/** What can be read at any time, inside a change and outside; always the committed state, plus the change's own writes. */
export interface Reader {
  readonly access: AccessReader;
  readonly retries: RetryReader;
  readonly lists: ListReader;
  domain(uuid: string): DomainRecord | undefined;
  domainByName(name: string): DomainRecord | undefined;
  domains(page: Page): Listed<DomainRecord>;
  /** Domains that have a domid: what a restart finds lost. */
  liveDomains(): readonly DomainRecord[];
  /** The same, by position and with little of each: for what looks at all of them often. */
  liveNames(page: Page): Listed<LiveName>;
  domainCounts(): Readonly<Partial<Record<PowerState, number>>>;
  /** The highest domid that any record of a domain names; 0 when none does. */
  highestDomid(): number;
  image(id: string): ImageRecord | undefined;
  imageByContent(project: string, sha256: string, kind: ImageKind): ImageRecord | undefined;
  imageFiles(): ReadonlySet<string>;
  /** Names of domains that refer to an image; at most `limit`. */
  imageUsers(id: string, limit: number): readonly string[];
  task(id: string): TaskRecord | undefined;
  tasks(page: Page, domain?: string): Listed<TaskRecord>;
  /** The journal of a task, in order. */
  steps(task: string): readonly StepRow[];
  /** How many have not ended, by state. */
  unfinishedTaskCounts(): Readonly<Partial<Record<TaskState, number>>>;
  unfinishedTasks(): readonly TaskRecord[];
  readonly taskInputs: TaskInputReader;
  readonly hostReturns: HostReturnsReader;
  /** Events with a sequence above `after`, oldest first. */
  events(after: number, limit: number): readonly EventRecord[];
  /** Sequence of the oldest event kept and of the newest one made; `first` is `last + 1` when none is kept. */
  eventRange(): { first: number; last: number };
}

/** What a task was asked for besides its operation: JSON text. */
export interface TaskInputReader {
  get(task: string): string | undefined;
}

export interface TaskInputWriter extends TaskInputReader {
  put(task: string, input: string): void;
}

export interface LiveName {
  readonly uuid: string;
  readonly name: string;
  readonly domid: number;
}

/** Domains that the host lost and brings back. */
export interface HostReturnsReader {
  /** Who is not live and has a `lastStop.returnsTo`; the highest stop priority first. */
  due(): readonly DomainRecord[];
  /** How often a domain was brought back after `since`. */
  count(domain: string, since: number): number;
}

export interface HostReturnsWriter extends HostReturnsReader {
  put(domain: string, time: number): void;
  /** Forgets those before `time`. */
  prune(time: number): void;
}

/** One step of a task's journal. */
export interface StepRow {
  readonly task: string;
  readonly index: number;
  readonly name: string;
  readonly state: "begun" | "done" | "undone";
  readonly time: number;
}

export interface Writer extends Reader {
  readonly access: AccessWriter;
  readonly retries: RetryWriter;
  putDomain(record: DomainRecord): void;
  removeDomain(uuid: string): void;
  putImage(record: ImageRecord): void;
  removeImage(id: string): void;
  putTask(record: TaskRecord): void;
  putStep(row: StepRow): void;
  readonly taskInputs: TaskInputWriter;
  readonly hostReturns: HostReturnsWriter;
  /** Forgets tasks that ended before `time`. */
  pruneTasks(time: number): void;
  appendEvent(event: Omit<EventRecord, "sequence">): void;
  /** Notes that the store took a write at `time`: what readiness asks for. */
  putChecked(time: number): void;
}

export interface Store extends Reader {
  /** Identity of this event log; part of every token. */
  readonly logEpoch: string;
  /** Counts the starts of the service on this state, this one included. */
  readonly bootEpoch: number;
  /**
   * Runs `change` in this tick's group transaction and resolves once that is on the disk. A change that returns a refusal
   * or throws is rolled back alone.
   */
  commit<T>(change: (writer: Writer) => T): Promise<T | Refusal>;
  /**
   * The same for a change of one statement, which needs no taking back. `soon`: nobody waits for it, so it goes with the next transaction, or
   * within a twentieth of a second.
   */
  commitStatement<T>(change: (writer: Writer) => T, soon?: boolean): Promise<T | Refusal>;
  /** Every change is refused with `refusal` from now on; undefined ends that. A testing aid (faults.ts). */
  refuseWrites(refusal: Refusal | undefined): void;
  /** One listener, called after each commit with its time in seconds and the number of changes in it. */
  onCommit(listener: (seconds: number, changes: number) => void): void;
  /** One listener, called after each commit with the events that it wrote. */
  onEvents(listener: (events: readonly EventRecord[]) => void): void;
}

/** Console logs: absolute byte offsets for the life of a domain. */
export interface ConsoleLog {
  /** Up to `max` bytes from `offset` or from the oldest byte kept, whichever is later; `end` is the end of the log. */
  read(uuid: string, offset: number, max: number): { start: number; bytes: Uint8Array; end: number };
  /** Drops the log of a domain that is gone. */
  remove(uuid: string): void;
  /** Domains that have a log. */
  list(): readonly string[];
}

/** The figures of many objects at one time, as they were read: counters are not rates yet. */
export interface Sample {
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly objects: readonly string[];
  /** Whose counters they are, object by object: those of another instance count from zero. */
  readonly instances: Float64Array;
  /** Object by object, NaN where there is no figure. */
  readonly values: Float64Array;
}

export interface SeriesQuery {
  readonly object: string;
  /** Seconds since 1970. */
  readonly from: number;
  readonly to: number;
  /** Seconds from point to point; the finest that is kept of that time unless given. */
  readonly step?: number;
  readonly columns: readonly number[];
  readonly mostPoints: number;
}

/** Points in a row, one for each `step` from `from` on. */
export interface Series {
  /** Seconds since 1970, a multiple of `step`. */
  readonly from: number;
  readonly step: number;
  /** By column; null where nothing is known. */
  readonly points: readonly (readonly (number | null)[])[];
}

/** What domains and the host did over time. Nothing of it is vital: what fails is said in the log, and reads are refused. */
export interface History {
  record(sample: Sample): void;
  /** Rejects where the history cannot be read. */
  read(query: SeriesQuery): Promise<Series | "too-many">;
  forget(object: string): void;
  /** Forgets all but those of which `kept` says so: what was deleted while no history was kept. */
  retain(kept: (object: string) => boolean): Promise<void>;
  close(): Promise<void>;
}

export type KernelInspector = (path: string) => Promise<ImageInspection | null>;

export interface Log {
  debug(fields: object, text: string): void;
  info(fields: object, text: string): void;
  warn(fields: object, text: string): void;
  error(fields: object, text: string): void;
}

export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Resolves after `ms`, or at once when `signal` aborts. Never rejects. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}
