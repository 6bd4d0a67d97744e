/** Operations under way, in a queue for each domain: every operation on a domain becomes a task here. */

import { randomUUID } from "node:crypto";
import type { TaskRecord } from "../model.ts";
import { type Result, refuse } from "../refusal.ts";
import { type Accepted, DomainQueue } from "./domain-queue.ts";
import { OPERATIONS, type TaskOperation } from "./operation-table.ts";
import type { OperationContext, OperationInput } from "./operations.ts";
import { BY_STOP, type RunnerPorts, type Step, TaskRun } from "./task-runner.ts";

export type OperationSteps = Readonly<Record<TaskOperation, readonly Step<OperationContext>[]>>;

export type OperationDetails = OperationInput & Pick<OperationContext, "definition">;

export class OperationQueues {
  readonly #runner: RunnerPorts;
  readonly #steps: OperationSteps;
  readonly #queues = new Map<string, DomainQueue>();

  constructor(runner: RunnerPorts, steps: OperationSteps) {
    this.#runner = runner;
    this.#steps = steps;
  }

  /** Domains that an operation runs on. */
  get size(): number {
    return this.#queues.size;
  }

  /** What runs on a domain now. */
  current(uuid: string): TaskRecord | undefined {
    return this.#queues.get(uuid)?.current;
  }

  /** Ends all that can be ended, for the service stops. */
  cancelAll(): void {
    for (const queue of this.#queues.values()) queue.cancelAll(BY_STOP);
  }

  /** Ends a task before it is done, as soon as that leaves a valid state. */
  cancel(task: TaskRecord): Result<Accepted> {
    const cancelled = this.#queues.get(task.domain ?? "")?.cancel(task.id);
    return cancelled ?? refuse("task-ended", `The task has ended already: ${task.state}.`, { task: task.id });
  }

  /** `stillDue` is asked when the turn of an operation comes that the service itself asks for. */
  submit(
    { uuid, project }: { readonly uuid: string; readonly project: string | null },
    operation: TaskOperation,
    details: OperationDetails,
    stillDue?: () => boolean,
  ): Promise<Result<Accepted>> {
    const task: TaskRecord = {
      id: randomUUID(),
      operation,
      domain: uuid,
      state: "queued",
      step: null,
      stepsDone: 0,
      stepsTotal: 0,
      createdAt: this.#runner.clock.now(),
      startedAt: null,
      finishedAt: null,
      result: null,
      refusal: null,
      project,
    };
    return this.#enqueue(task, operation, details, stillDue);
  }

  /** Goes on with a task out of the journal of an earlier run. */
  async resume(task: TaskRecord, operation: TaskOperation, input: OperationInput): Promise<TaskRecord> {
    const resumed = await this.#enqueue(task, operation, input);
    return resumed.ok ? resumed.value.finished : task;
  }

  #enqueue(
    task: TaskRecord,
    operation: TaskOperation,
    details: OperationDetails,
    stillDue?: () => boolean,
  ): Promise<Result<Accepted>> {
    const { definition, ...input } = details;
    const abort = new AbortController();
    const uuid = task.domain ?? "";
    const row = OPERATIONS[operation];
    const context: OperationContext = { ...details, uuid, row, signal: abort.signal, result: { domain: uuid } };
    const kept = Object.keys(input).length > 0 ? JSON.stringify(input) : undefined;
    const run = new TaskRun(this.#runner, task, this.#steps[operation], context, kept);
    let queue = this.#queues.get(uuid);
    if (!queue) {
      queue = new DomainQueue(
        uuid,
        () => this.#runner.store.domain(uuid),
        () => this.#queues.delete(uuid),
      );
    }
    const job = { operation, run, abort, tookOver: false, ...(stillDue && { stillDue }) };
    const queued = task.startedAt === null ? queue.submit(job) : queue.resume(job);
    if (queue.busy) this.#queues.set(uuid, queue);
    return queued;
  }
}
