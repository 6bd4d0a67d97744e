/**
 * The audit log: who did what, with the result.
 *
 * An entry of a change is begun in the same tick as the change itself, so the two share a transaction and cost one wait; the result
 * is added when the answer is out. An entry without a result is thus of a request that the service did not live to answer.
 * Neither bodies nor secrets are ever in it.
 */

import type { Clock, Log, Store } from "../ports.ts";
import type { AuditEntry, AuditResult } from "./access-ports.ts";

interface AuditOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
  /** How long entries are kept. */
  readonly keptMs: number;
}

/** Requests that nobody answers for could fill the disk: so many of them at once are written down, and so many a second. */
const STRANGERS_BURST = 200;
const STRANGERS_PER_SECOND = 10;
const PRUNED_AT_ONCE = 500;

export class Audit {
  readonly #options: AuditOptions;
  #strangersLeft = STRANGERS_BURST;
  #strangersAt: number;
  #unwritten = 0;

  constructor(options: AuditOptions) {
    this.#options = options;
    this.#strangersAt = options.clock.now();
  }

  /** Resolves when the entry is on the disk, with its number; never rejects. */
  begin(entry: AuditEntry): Promise<number | undefined> {
    return this.#write(entry);
  }

  /** Adds the result to an entry that was begun, some time soon. */
  async finish(begun: Promise<number | undefined>, result: AuditResult): Promise<void> {
    const number = await begun;
    if (number === undefined) return;
    const { store, log } = this.#options;
    await store
      .commitStatement((writer) => writer.access.finishAudit(number, result), true)
      .catch((error) => log.error({ err: error, number }, "the result of an audit entry was not written"));
  }

  /** An entry with its result, some time soon. `stranger`: of a request that bore no token. */
  append(entry: AuditEntry, stranger: boolean): void {
    if (stranger && !this.#mayWrite()) {
      this.#unwritten++;
      return;
    }
    if (this.#unwritten > 0)
      this.#options.log.warn({ count: this.#unwritten }, "too many requests without a token to write each down");
    this.#unwritten = 0;
    void this.#write(entry);
  }

  /** Forgets what is too old, a little at a time. */
  async prune(): Promise<void> {
    const { store, clock, keptMs } = this.#options;
    const before = clock.now() - keptMs;
    while ((await store.commit((writer) => writer.access.pruneAudit(before, PRUNED_AT_ONCE))) === PRUNED_AT_ONCE);
  }

  async #write(entry: AuditEntry): Promise<number | undefined> {
    const { store, log } = this.#options;
    try {
      const number = await store.commitStatement((writer) => writer.access.appendAudit(entry));
      if (typeof number === "number") return number;
      log.error({ refusal: number }, "an audit entry was not written");
    } catch (error) {
      log.error({ err: error }, "an audit entry was not written");
    }
    return undefined;
  }

  #mayWrite(): boolean {
    const now = this.#options.clock.now();
    const filled = (Math.max(0, now - this.#strangersAt) * STRANGERS_PER_SECOND) / 1000;
    this.#strangersLeft = Math.min(STRANGERS_BURST, this.#strangersLeft + filled);
    this.#strangersAt = now;
    if (this.#strangersLeft < 1) return false;
    this.#strangersLeft -= 1;
    return true;
  }
}
