/**
 * Brings back the domains that the host lost or put away, as their `onHostCrash` wants it: `lastStop.returnsTo` says that one is due, and
 * is written with the loss itself, so that another crash forgets nobody.
 *
 * A domain comes back three times in ten minutes, with longer and longer pauses; then it stays as it is, and an event says so. Those that
 * an orderly stop suspended come back as often as the service starts.
 */

import type { DomainRecord, LastStop } from "../model.ts";
import type { Clock, Log, Store } from "../ports.ts";
import type { Result } from "../refusal.ts";
import type { Accepted } from "./domain-queue.ts";
import type { TaskOperation } from "./operation-table.ts";
import type { OperationInput } from "./operations.ts";
import { changeRuntime } from "./runtime-records.ts";

/** Pause before the first, second and third return within the window. */
const PAUSES_MS = [0, 2000, 10_000];
const WINDOW_MS = 600_000;
/** Domains that are built or loaded at a time. */
const AT_A_TIME = 4;

interface HostReturnsOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
  /** Aborts when the service stops. */
  readonly signal: AbortSignal;
  submit(
    record: DomainRecord,
    operation: TaskOperation,
    input: OperationInput,
    stillDue: () => boolean,
  ): Promise<Result<Accepted>>;
}

export class HostReturns {
  readonly #options: HostReturnsOptions;
  #free = AT_A_TIME;
  readonly #waiting: (() => void)[] = [];

  constructor(options: HostReturnsOptions) {
    this.#options = options;
  }

  /** Brings everybody back who is due, those with the highest stop priority first. */
  async all(): Promise<void> {
    const due = this.#options.store.hostReturns.due();
    await Promise.all(due.map(({ uuid }) => this.one(uuid)));
  }

  /** Brings a domain back, if it is due; resolves when it is back, or is given up. */
  async one(uuid: string): Promise<void> {
    const { store, clock, log, signal } = this.#options;
    while (!signal.aborted) {
      const record = store.domain(uuid);
      if (!record || !isDue(record)) return;
      const now = clock.now();
      const returns = store.hostReturns.count(uuid, now - WINDOW_MS);
      const orderly = record.lastStop.reason === "host-stopped";
      if (returns >= PAUSES_MS.length) return this.#giveUp(record, returns);
      await clock.sleep(PAUSES_MS[returns], signal);
      if (!orderly) await store.commit((writer) => writer.hostReturns.put(uuid, now));
      const back = await this.#inTurn(() => this.#bringBack(record));
      if (back || signal.aborted) return;
      log.warn({ domain: uuid, name: record.name }, "could not be brought back");
      if (orderly) await store.commit((writer) => writer.hostReturns.put(uuid, now));
    }
  }

  async #bringBack(record: DueRecord): Promise<boolean> {
    const { store, log } = this.#options;
    const due = () => {
      const now = store.domain(record.uuid);
      return now !== undefined && isDue(now);
    };
    if (!due()) return true;
    const operation = record.state === "suspended" ? "resume" : "start";
    const paused = record.lastStop.returnsTo === "paused";
    log.info({ domain: record.uuid, name: record.name }, `is brought back: ${operation}`);
    const taken = await this.#options.submit(record, operation, paused ? { paused } : {}, due);
    return taken.ok && (await taken.value.finished).state === "succeeded";
  }

  async #giveUp({ uuid, name }: DomainRecord, returns: number): Promise<void> {
    const { store, clock, log } = this.#options;
    const detail = `It was brought back ${returns} times in ten minutes, and is left as it is now.`;
    log.error({ domain: uuid, name }, "was lost too often; it is not brought back");
    await store.commit((writer) => {
      const record = writer.domain(uuid);
      if (!record || !isDue(record)) return;
      const { returnsTo: _, ...lastStop } = record.lastStop;
      changeRuntime(writer, record, "return-given-up", { lastStop: { ...lastStop, detail } }, clock.now());
    });
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free++;
    }
  }
}

type DueRecord = DomainRecord & { readonly lastStop: LastStop & { readonly returnsTo: "running" | "paused" } };

/** Whoever wants it no more says so by `onHostCrash`; one that an orderly stop suspended comes back all the same. */
function isDue(record: DomainRecord): record is DueRecord {
  if (record.domid !== null || record.lastStop?.returnsTo === undefined) return false;
  return record.onHostCrash !== "off" || record.lastStop.reason === "host-stopped";
}
