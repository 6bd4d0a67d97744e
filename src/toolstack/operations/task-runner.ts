/**
 * Runs an operation's steps, and keeps the journal that lets a restart finish or undo them.
 *
 * Contract of a step: `effect` touches the world outside the database, `record` is its side of the database, written in the
 * same transaction as the journal row. A step is journalled as begun before its effect and as done with its record.
 * When a step refuses, every step that was begun is undone in reverse order; undoing is idempotent. A task whose process died is
 * undone in the same way by the next one, or goes on from its journal (recovery.ts).
 *
 * A task can be cancelled until all that is left of it is final.
 *
 * A full disk refuses a task while that can be taken back. What has happened already, and that a task is undone, waits for room instead.
 */

import type { TaskRecord, TaskResult } from "../model.ts";
import type { Clock, Log, StepRow, Store, Writer } from "../ports.ts";
import { type Refusal, refuse } from "../refusal.ts";
import { saveTask } from "../views.ts";
import type { CrashMoment } from "./operation-table.ts";

export interface Step<C> {
  readonly name: string;
  /** Once begun, with only such steps after it, the task goes on to its end whoever would cancel it. */
  readonly final?: true;
  readonly effect?: (context: C) => Promise<Refusal | undefined>;
  readonly record?: (context: C, writer: Writer) => Refusal | undefined;
  /** Takes the effect back; must not fail for one that never happened. */
  readonly undo?: (context: C) => Promise<void>;
  /** Takes the record back. `why` is the refusal that ended the task. */
  readonly undoRecord?: (context: C, writer: Writer, why: Refusal) => void;
}

/** Reason of a signal that aborts because somebody asked for just that, and not for another operation. */
export const BY_REQUEST = Symbol("by request");
/** Of one that aborts because the service stops. */
export const BY_STOP = Symbol("by stop");

interface TaskContext {
  /** What the task has made so far; kept when it succeeds. */
  result?: TaskResult;
}

interface Hindrance {
  /** Before a step's effect: waits, or refuses it. */
  beforeEffect(task: TaskRecord, step: string, signal: AbortSignal): Promise<Refusal | undefined>;
  /** Before the record of a step without effect: refuses it. */
  onRecord(task: TaskRecord, step: string): Refusal | undefined;
}

export interface RunnerPorts {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
  /** Stands in the way of steps: a testing aid (faults.ts). */
  readonly hindrance?: Hindrance;
  /** Told of every `operation/step/moment` that is passed (`crashPoints`): a testing aid. */
  readonly passed?: (point: string) => void;
}

/** How often a full disk is asked for room. */
export const ROOM_RETRY_MS = 500;

export class TaskRun<C extends TaskContext> {
  readonly #ports: RunnerPorts;
  readonly #steps: readonly Step<C>[];
  readonly #context: C;
  /** Kept with the task. */
  readonly #input: string | undefined;
  #task: TaskRecord;
  #next: number;

  constructor(ports: RunnerPorts, task: TaskRecord, steps: readonly Step<C>[], context: C, input?: string) {
    this.#ports = ports;
    this.#steps = steps;
    this.#context = context;
    this.#input = input;
    this.#task = { ...task, stepsTotal: steps.length };
    this.#next = task.stepsDone;
  }

  get task(): TaskRecord {
    return this.#task;
  }

  /** It goes on to its end now, or has ended. */
  get settled(): boolean {
    return this.#task.finishedAt !== null || (this.#task.state === "running" && this.#onlyFinalLeft());
  }

  /** Journals the task with the first steps that need no effect; a refusal among those leaves no task behind. */
  open(state: "queued" | "running"): Promise<Refusal | undefined> {
    return this.#advance("add", state);
  }

  /** Runs what is left. Always ends the task; never rejects unless the store is gone. */
  async run(signal: AbortSignal): Promise<TaskRecord> {
    if (this.#task.state === "queued") {
      const refusal = await this.#advance("mod", "running");
      if (refusal) return this.#undo(refusal);
    }
    while (this.#task.state === "running") {
      const refusal =
        signal.aborted && !this.#onlyFinalLeft() ? cancelled() : await this.#effect(this.#steps[this.#next], signal);
      const refused = refusal ?? (await this.#advance("mod", "running", true));
      if (refused) return this.#undo(refused);
    }
    return this.#task;
  }

  /** Ends a task whose turn never came, or that may not begin. */
  async abandon(refusal: Refusal): Promise<TaskRecord> {
    return this.#undo(refusal);
  }

  async #effect(step: Step<C> | undefined, signal: AbortSignal): Promise<Refusal | undefined> {
    try {
      const hindered = step && (await this.#ports.hindrance?.beforeEffect(this.#task, step.name, signal));
      if (hindered) return hindered;
      this.#passed(step, "before");
      const refusal = await step?.effect?.(this.#context);
      this.#passed(step, "after");
      return refusal;
    } catch (error) {
      this.#ports.log.error({ err: error, task: this.#task.id, step: step?.name }, "a step threw");
      return refuse("internal", `Step ${step?.name} failed: ${message(error)}`);
    }
  }

  /** One commit: the record of the step whose effect has just ended, those of the effectless ones after it, the task. */
  async #advance(how: "add" | "mod", state: "queued" | "running", effected = false): Promise<Refusal | undefined> {
    const { store, clock } = this.#ports;
    const time = clock.now();
    const before = this.#task;
    const advance = (writer: Writer): Refusal | { task: TaskRecord; next: number } => {
      let next = this.#next;
      let pending = effected;
      const rows: StepRow[] = [];
      for (; next < this.#steps.length; next++) {
        const step = this.#steps[next];
        if (state === "queued" || (step.effect && !pending)) break;
        pending = false;
        const hindered = step.effect ? undefined : this.#ports.hindrance?.onRecord(before, step.name);
        const refusal = hindered ?? step.record?.(this.#context, writer);
        if (refusal) return refusal;
        rows.push(this.#row(next, "done", time));
      }
      const over = next === this.#steps.length;
      const task: TaskRecord = {
        ...before,
        state: over ? "succeeded" : state,
        step: over ? null : this.#steps[next].name,
        stepsDone: next,
        startedAt: state === "running" ? (before.startedAt ?? time) : null,
        finishedAt: over ? time : null,
        result: over ? (this.#context.result ?? null) : null,
      };
      if (!over && state === "running") rows.push(this.#row(next, "begun", time));
      saveTask(writer, task, time, how);
      if (how === "add" && this.#input !== undefined) writer.taskInputs.put(task.id, this.#input);
      for (const row of rows) writer.putStep(row);
      return { task, next };
    };
    const happened = effected && this.#onlyFinalLeft();
    const outcome = await (happened ? whenThereIsRoom(this.#ports, advance) : store.commit(advance));
    if ("ok" in outcome) return outcome;
    const done = this.#steps.slice(this.#next, outcome.next);
    this.#task = outcome.task;
    this.#next = outcome.next;
    for (const step of done) this.#passed(step, "journalled");
    return undefined;
  }

  #passed(step: Step<C> | undefined, moment: CrashMoment): void {
    if (step) this.#ports.passed?.(`${this.#task.operation}/${step.name}/${moment}`);
  }

  async #undo(why: Refusal): Promise<TaskRecord> {
    const { clock, log } = this.#ports;
    const last = this.#task.state === "queued" ? -1 : Math.min(this.#next, this.#steps.length - 1);
    for (let index = last; index >= 0; index--) {
      const step = this.#steps[index];
      try {
        await step.undo?.(this.#context);
      } catch (error) {
        log.error({ err: error, task: this.#task.id, step: step.name }, "undoing a step threw");
      }
    }
    const time = clock.now();
    const state = why.code === "cancelled" || why.code === "host-stopping" ? "cancelled" : "failed";
    const task: TaskRecord = { ...this.#task, state, finishedAt: time, refusal: { ...why, task: this.#task.id } };
    await whenThereIsRoom(this.#ports, (writer) => {
      for (let index = last; index >= 0; index--) {
        // A step that was begun and never done has no record to take back.
        if (index < this.#next) this.#steps[index].undoRecord?.(this.#context, writer, why);
        writer.putStep(this.#row(index, "undone", time));
      }
      saveTask(writer, task, time);
      return undefined;
    });
    this.#task = task;
    return task;
  }

  #onlyFinalLeft(): boolean {
    return this.#steps.slice(this.#next).every((step) => step.final);
  }

  #row(index: number, state: StepRow["state"], time: number): StepRow {
    return { task: this.#task.id, index, name: this.#steps[index].name, state, time };
  }
}

/**
 * Rolls back a task of an earlier run of the service: its effects outside that process, then what it left in the database, and the task
 * has failed. Never rejects unless the store is gone.
 */
export async function rollBack<C>(
  { store, clock, log }: RunnerPorts,
  task: TaskRecord,
  steps: readonly Step<C>[],
  context: C,
  why: Refusal,
): Promise<void> {
  const begun = store.steps(task.id).filter((row) => row.state !== "undone");
  begun.reverse();
  const stepOf = (row: StepRow) => steps.find((step) => step.name === row.name);
  for (const row of begun) {
    try {
      await stepOf(row)?.undo?.(context);
    } catch (error) {
      log.error({ err: error, task: task.id, step: row.name }, "undoing a step threw");
    }
  }
  const time = clock.now();
  await store.commit((writer) => {
    for (const row of begun) {
      if (row.state === "done") stepOf(row)?.undoRecord?.(context, writer, why);
      writer.putStep({ ...row, state: "undone", time });
    }
    saveTask(writer, { ...task, state: "failed", finishedAt: time, refusal: { ...why, task: task.id } }, time);
    return undefined;
  });
}

/** Commits what has happened: on a full disk, once it is not. */
async function whenThereIsRoom<T>(
  { store, clock, log }: RunnerPorts,
  change: (writer: Writer) => T | Refusal,
): Promise<T | Refusal> {
  for (;;) {
    let ownRefusal: T | Refusal | undefined;
    const outcome = await store.commit((writer) => {
      ownRefusal = change(writer);
      return ownRefusal;
    });
    const full = outcome !== ownRefusal && isStorageFull(outcome);
    if (!full) return outcome;
    log.warn({}, "the disk is full: what has happened is recorded when there is room");
    await clock.sleep(ROOM_RETRY_MS);
  }
}

function isStorageFull(outcome: unknown): boolean {
  return typeof outcome === "object" && outcome !== null && "code" in outcome && outcome.code === "storage-full";
}

export function cancelled(): Refusal {
  return refuse("cancelled", "This operation was ended by request before it was done.");
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
