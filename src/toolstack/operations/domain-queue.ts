/**
 * One operation on a domain at a time, in the order of asking.
 *
 * - An operation asked for while another runs waits its turn (at most `MOST_WAITING` do), and is checked again then.
 * - While a clean shutdown, reboot or suspend waits for its guest, only operations that pre-empt are taken.
 * - Each can be cancelled: one that waits at once, one that runs as soon as its step lets it, unless only final steps are left.
 * - One that pre-empts cancels what runs and what waits, then takes its turn.
 */

import { gone } from "../domctl-refusal.ts";
import type { DomainRecord, TaskRecord } from "../model.ts";
import { done, type Refusal, type Result, refuse } from "../refusal.ts";
import { checkTransition, type Operation, TRANSITIONS } from "./lifecycle.ts";
import type { TaskOperation } from "./operation-table.ts";
import type { OperationContext } from "./operations.ts";
import { BY_REQUEST, type BY_STOP, cancelled, type TaskRun } from "./task-runner.ts";

export const MOST_WAITING = 16;

const WAITS_FOR_GUEST: ReadonlySet<TaskOperation> = new Set(["shutdown", "reboot", "suspend"]);

/** An operation that was taken: its task as journalled, and the task when it has ended. */
export interface Accepted {
  readonly task: TaskRecord;
  readonly finished: Promise<TaskRecord>;
}

export interface Job {
  readonly operation: TaskOperation;
  readonly run: TaskRun<OperationContext>;
  readonly abort: AbortController;
  /** Asked for by the service itself, for a guest that ended: is this still to be done? */
  readonly stillDue?: () => boolean;
  /** A pre-empting job that cancelled others: finding the domain halted is then its success. */
  tookOver: boolean;
}

interface QueuedJob extends Job {
  readonly opened: Promise<Refusal | undefined>;
  readonly finished: Promise<TaskRecord>;
  readonly finish: (task: TaskRecord) => void;
}

export class DomainQueue {
  readonly #domain: () => DomainRecord | undefined;
  readonly #uuid: string;
  readonly #onIdle: () => void;
  #current: QueuedJob | undefined;
  readonly #waiting: QueuedJob[] = [];

  constructor(uuid: string, domain: () => DomainRecord | undefined, onIdle: () => void) {
    this.#uuid = uuid;
    this.#domain = domain;
    this.#onIdle = onIdle;
  }

  /** What runs now. */
  get current(): TaskRecord | undefined {
    return this.#current?.run.task;
  }

  get busy(): boolean {
    return this.#current !== undefined;
  }

  async submit(job: Job): Promise<Result<Accepted>> {
    if (!job.stillDue) {
      const refusal = this.#makeRoom(job);
      if (refusal) return refusal;
    }
    const idle = !this.#current;
    if (idle) {
      const refusal = this.#check(job);
      if (refusal) return refusal;
    }
    const { promise: finished, resolve: finish } = Promise.withResolvers<TaskRecord>();
    const opened = job.run.open(idle ? "running" : "queued");
    // Spreading would lose `tookOver` as a shared flag; the job itself becomes the queued one.
    const queued: QueuedJob = Object.assign(job, { opened, finished, finish });
    if (idle) {
      this.#current = queued;
      void this.#execute(queued);
    } else this.#waiting.push(queued);
    const refusal = await opened;
    if (refusal) return refusal;
    return done({ task: job.run.task, finished });
  }

  /** Goes on with a task that an earlier run of the service journalled: the first there is, and taken long ago. */
  async resume(job: Job): Promise<Result<Accepted>> {
    const { promise: finished, resolve: finish } = Promise.withResolvers<TaskRecord>();
    this.#current = Object.assign(job, { opened: Promise.resolve(undefined), finished, finish });
    void this.#execute(this.#current);
    return done({ task: job.run.task, finished });
  }

  /** Ends what runs where it can be ended, and all that waits. */
  cancelAll(why?: typeof BY_STOP): boolean {
    const any = this.#current !== undefined;
    this.#current?.abort.abort(why);
    for (const job of this.#waiting) job.abort.abort(why);
    return any;
  }

  /** Ends one task, as soon as it can be; undefined when it is not here (any more). */
  cancel(task: string): Result<Accepted> | undefined {
    const current = this.#current;
    if (current?.run.task.id === task) {
      if (current.run.settled)
        return refuse(
          "not-cancellable",
          `The ${current.operation} is past the point where it could be taken back; it ends by itself.`,
          { task },
        );
      current.abort.abort(BY_REQUEST);
      return done({ task: current.run.task, finished: current.finished });
    }
    const index = this.#waiting.findIndex((job) => job.run.task.id === task);
    if (index < 0) return undefined;
    const [job] = this.#waiting.splice(index, 1);
    job.abort.abort(BY_REQUEST);
    void job.opened.then(async (refused) => job.finish(refused ? job.run.task : await job.run.abandon(cancelled())));
    return done({ task: job.run.task, finished: job.finished });
  }

  #makeRoom(job: Job): Refusal | undefined {
    if (job.operation in TRANSITIONS && TRANSITIONS[job.operation as Operation].preempts) {
      job.tookOver = this.cancelAll();
      return undefined;
    }
    const clean = [this.#current, ...this.#waiting].find(
      (other) => other !== undefined && WAITS_FOR_GUEST.has(other.operation),
    );
    if (clean)
      return refuse(
        "operation-pending",
        `A clean ${clean.operation} waits for the guest (task ${clean.run.task.id}); only destroy is taken meanwhile.`,
        { task: clean.run.task.id },
      );
    if (this.#waiting.length < MOST_WAITING) return undefined;
    return refuse("too-many-operations", `${MOST_WAITING} operations wait for this domain already.`, {
      limit: MOST_WAITING,
    });
  }

  #check(job: Job): Refusal | undefined {
    if (job.operation === "create") return undefined;
    if (job.abort.signal.aborted) return refuse("cancelled", "A later request took the place of this one.");
    if (job.stillDue) return job.stillDue() ? undefined : refuse("cancelled", "Another operation has dealt with it.");
    const record = this.#domain();
    if (!record) return gone(this.#uuid);
    if (job.tookOver && job.operation === "destroy" && record.state === "halted") return undefined;
    return checkTransition(record, job.operation as Operation);
  }

  async #execute(job: QueuedJob): Promise<void> {
    try {
      const refused = await job.opened;
      if (!refused) {
        const refusal = job.run.task.state === "queued" ? this.#check(job) : undefined;
        job.finish(await (refusal ? job.run.abandon(refusal) : job.run.run(job.abort.signal)));
      }
    } catch {
      // The store refused to keep the task: whoever opened it has been told by its own rejection.
      job.finish(job.run.task);
    }
    this.#current = this.#waiting.shift();
    if (this.#current) void this.#execute(this.#current);
    else this.#onIdle();
  }
}
