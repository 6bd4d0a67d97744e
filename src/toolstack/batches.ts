/**
 * One action on many domains: a task of its own, which asks for the action on each, some at a time, and keeps what became of each.
 *
 * Every domain has its own task beside it, and its own refusal: that some are refused stops nobody else. A batch that is cancelled asks
 * for no more; what it has asked for goes on. One that the service dies under has failed, and each domain's own task tells the rest.
 */

import { randomUUID } from "node:crypto";
import { type Caller, sees, sightOf } from "./access/caller.ts";
import type { ActOptions, Domains } from "./domains.ts";
import type { DomainFilter } from "./lists.ts";
import type { DomainRecord, TaskRecord } from "./model.ts";
import type { Accepted } from "./operations/domain-queue.ts";
import type { Operation } from "./operations/lifecycle.ts";
import { cancelled } from "./operations/task-runner.ts";
import type { Clock, Log, Store } from "./ports.ts";
import { done, type Refusal, type Result, refuse } from "./refusal.ts";
import { saveTask } from "./views.ts";

export const MOST_IN_BATCH = 1000;
/** Domains that a batch acts on at a time. */
const LANES = 8;
/** How often its progress is an event, at most. */
const MOST_PROGRESS_EVENTS = 20;

export interface Batch {
  readonly operation: Operation;
  readonly options: ActOptions;
  /** By uuid or name; else all that the filter matches now. */
  readonly domains?: readonly string[];
  readonly filter?: DomainFilter;
}

/** What became of one domain. */
export interface BatchResult {
  /** Its uuid, or what it was asked for by where there is none. */
  readonly domain: string;
  readonly task?: string;
  readonly refusal?: Refusal;
}

interface Ports {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
  readonly domains: Domains;
}

interface Running {
  readonly abort: AbortController;
  readonly finished: Promise<TaskRecord>;
  task: TaskRecord;
}

export class Batches {
  readonly #ports: Ports;
  readonly #running = new Map<string, Running>();

  constructor(ports: Ports) {
    this.#ports = ports;
  }

  /** Taken as a whole, or refused as a whole; then each domain answers for itself. */
  async start(batch: Batch, caller: Caller): Promise<Result<Accepted>> {
    const { store, clock } = this.#ports;
    const chosen = this.#choose(batch, caller);
    if (!chosen.ok) return chosen;
    const project = projectOf(batch, chosen.value, caller);
    if (!project.ok) return project;
    const now = clock.now();
    const task: TaskRecord = {
      id: randomUUID(),
      operation: `batch-${batch.operation}`,
      domain: null,
      state: "running",
      step: null,
      stepsDone: 0,
      stepsTotal: chosen.value.length,
      createdAt: now,
      startedAt: now,
      finishedAt: null,
      result: null,
      refusal: null,
      project: project.value,
    };
    const refusal = await store.commit((writer) => void saveTask(writer, task, now, "add"));
    if (refusal) return refusal;
    const { promise: finished, resolve } = Promise.withResolvers<TaskRecord>();
    const running: Running = { abort: new AbortController(), finished, task };
    this.#running.set(task.id, running);
    void this.#run(running, batch, chosen.value).then(resolve);
    return done({ task, finished });
  }

  /** Undefined when it is none of these, or has ended. */
  cancel(task: string): Accepted | undefined {
    const running = this.#running.get(task);
    running?.abort.abort();
    return running;
  }

  /** Asks for nothing more. */
  stop(): void {
    for (const { abort } of this.#running.values()) abort.abort();
  }

  #choose({ domains, filter }: Batch, caller: Caller): Result<readonly (DomainRecord | string)[]> {
    if ((domains === undefined) === (filter === undefined))
      return refuse("bad-value", "A batch has `domains` or a `filter`, one of them.", { field: "filter" });
    if (domains)
      return done(
        [...new Set(domains)].map((reference) => {
          const found = this.#ports.domains.find(reference);
          return found.ok && sees(caller, found.value.project) ? found.value : reference;
        }),
      );
    const order = { by: "created", descending: false } as const;
    const selection = { filter: filter ?? {}, order, limit: MOST_IN_BATCH, ...sightOf(caller) };
    const { items, next } = this.#ports.store.lists.select("domains", selection);
    if (next)
      return refuse("out-of-range", `The filter matches more than ${MOST_IN_BATCH} domains; narrow it down.`, {
        field: "filter",
        limit: MOST_IN_BATCH,
      });
    return done(items);
  }

  async #run(running: Running, batch: Batch, chosen: readonly (DomainRecord | string)[]): Promise<TaskRecord> {
    const results: BatchResult[] = [];
    const every = Math.max(1, Math.ceil(chosen.length / MOST_PROGRESS_EVENTS));
    let next = 0;
    let ended = 0;
    const lane = async () => {
      while (next < chosen.length) {
        const index = next++;
        results[index] = await this.#one(running, batch, chosen[index]);
        if (++ended % every === 0 && ended < chosen.length) await this.#save(running, { stepsDone: ended });
      }
    };
    try {
      await Promise.all(Array.from({ length: LANES }, lane));
      const stopped = running.abort.signal.aborted && results.some(({ refusal }) => refusal?.code === "cancelled");
      const refusal = stopped ? { ...cancelled(), task: running.task.id } : null;
      await this.#save(running, {
        state: stopped ? "cancelled" : "succeeded",
        stepsDone: ended,
        finishedAt: this.#ports.clock.now(),
        result: { domains: results },
        refusal,
      });
    } catch (error) {
      this.#ports.log.error({ err: error, task: running.task.id }, "a batch cannot be kept");
    }
    this.#running.delete(running.task.id);
    return running.task;
  }

  async #one({ abort }: Running, batch: Batch, chosen: DomainRecord | string): Promise<BatchResult> {
    if (typeof chosen === "string")
      return { domain: chosen, refusal: refuse("domain-not-found", `There is no domain ${chosen}.`) };
    const domain = chosen.uuid;
    if (abort.signal.aborted) return { domain, refusal: cancelled() };
    const accepted = await this.#ports.domains.act(domain, batch.operation, batch.options);
    if (!accepted.ok) return { domain, refusal: accepted };
    const { id: task, refusal } = await accepted.value.finished;
    return { domain, task, ...(refusal && { refusal }) };
  }

  async #save(running: Running, change: Partial<TaskRecord>): Promise<void> {
    const { store, clock } = this.#ports;
    running.task = { ...running.task, ...change };
    const { task } = running;
    await store.commit((writer) => void saveTask(writer, task, clock.now()));
  }
}

/**
 * Whose the batch's task is: of the project that all its domains are in, else the host's own. A limited token would not see the
 * host's, so its batch is in one project.
 */
function projectOf(batch: Batch, chosen: readonly (DomainRecord | string)[], caller: Caller): Result<string | null> {
  const found = chosen.flatMap((one) => (typeof one === "string" ? [] : [one.project]));
  const [first, ...more] = new Set(found.length > 0 || caller.projects === "all" ? found : caller.projects.slice(0, 1));
  if (more.length === 0) return done(first ?? null);
  if (caller.projects === "all") return done(null);
  return refuse(
    "bad-value",
    `These are in ${[first, ...more].join(", ")}: a limited token's batch is in one project.`,
    {
      field: batch.domains ? "domains" : "filter",
    },
  );
}
