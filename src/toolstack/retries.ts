/**
 * Idempotency keys: a request that is sent again under its key is not carried out again.
 *
 * A key belongs to its caller and route, and is kept for a day with a hash of what was asked. It is stored before anything is done,
 * marked as accepted in the very transaction that takes the operation on (`Acceptance`), and given the answer before that is sent. So
 * whatever moment the service dies at, the next run knows: a key that is not accepted did nothing, and its request may be carried out;
 * one that is accepted without an answer is answered by the task or the object that it made.
 *
 * What was refused before it was accepted changed nothing: its key is free again.
 */

import { AsyncLocalStorage } from "node:async_hooks";
import type { EventRecord } from "./model.ts";
import type { Clock, Store, Writer } from "./ports.ts";
import { done, type Refusal, type Result, refuse } from "./refusal.ts";

export const KEY_KEPT_MS = 24 * 3600_000;
/** Keys of all callers together. */
export const MOST_KEYS = 100_000;
const MOST_BODY_BYTES = 64 * 1024;

export interface RetryKey {
  readonly caller: string;
  /** Method and path. */
  readonly route: string;
  readonly key: string;
}

/** What an accepted request made first: its task, or the object itself where there is none. */
export interface Made {
  readonly class: string;
  readonly id: string;
}

export interface KeptAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** Null when it had none; undefined when it is not kept: it held a secret, or was too large. */
  readonly body?: string | null;
}

export interface RetryRecord extends RetryKey {
  /** Of the query and the body. */
  readonly hash: string;
  /** The run of the service that it was asked of. */
  readonly bootEpoch: number;
  readonly startedAt: number;
  readonly accepted: Made | null;
  readonly answer: KeptAnswer | null;
}

export interface RetryReader {
  find(key: RetryKey): RetryRecord | undefined;
  count(): number;
}

export interface RetryWriter extends RetryReader {
  put(record: RetryRecord): void;
  remove(key: RetryKey): void;
  /** Forgets keys that came before `time`. */
  prune(time: number): void;
}

/** The request that is being carried out: told of what its first change made, within the transaction that makes it. */
export class Acceptance {
  readonly record: RetryRecord;
  made: Made | null = null;
  /** The request has its answer; what its task still does is not its acceptance. */
  over = false;

  constructor(record: RetryRecord) {
    this.record = record;
  }

  accept(writer: Writer, events: readonly EventRecord[]): void {
    if (this.over || this.made || events.length === 0) return;
    const first = events.find((event) => event.class === "task") ?? events[0];
    this.made = { class: first.class, id: first.id };
    writer.retries.put({ ...this.record, accepted: this.made });
  }
}

/** The acceptance that the running request waits for, where it came with a key. The store asks at each commit. */
export const acceptance = new AsyncLocalStorage<Acceptance>();

/** A key's first request, to be carried out; or how it was answered; or what it made before the service ended without an answer. */
export type Begun =
  | { readonly kind: "first"; readonly acceptance: Acceptance }
  | { readonly kind: "answered"; readonly answer: KeptAnswer; readonly made: Made | null }
  | { readonly kind: "unanswered"; readonly made: Made };

export class Retries {
  readonly #store: Store;
  readonly #clock: Clock;

  constructor(store: Store, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  begin(key: RetryKey, hash: string): Promise<Result<Begun>> {
    const now = this.#clock.now();
    const { bootEpoch } = this.#store;
    return this.#store.commit(({ retries }): Result<Begun> => {
      const known = retries.find(key);
      const undone = known && known.bootEpoch !== bootEpoch && !known.accepted && !known.answer;
      if (!known || undone || known.startedAt < now - KEY_KEPT_MS) {
        if (!known && retries.count() >= MOST_KEYS) return tooMany();
        const record: RetryRecord = { ...key, hash, bootEpoch, startedAt: now, accepted: null, answer: null };
        retries.put(record);
        return done({ kind: "first", acceptance: new Acceptance(record) });
      }
      if (known.hash !== hash)
        return refuse("key-reused", "This key came with another request before; make a new key for this one.", {
          field: "idempotency-key",
        });
      if (known.answer) return done({ kind: "answered", answer: known.answer, made: known.accepted });
      if (known.bootEpoch !== bootEpoch && known.accepted) return done({ kind: "unanswered", made: known.accepted });
      return refuse(
        "key-in-flight",
        "The first request with this key is being carried out; ask again for its answer.",
        {
          field: "idempotency-key",
        },
      );
    });
  }

  /** Keeps the answer of what was done; frees the key of what was not. `secret`: the body is not for the disk. */
  async finish(request: Acceptance, answer: Required<KeptAnswer>, secret: boolean): Promise<void> {
    const { record, made } = request;
    request.over = true;
    const kept = made !== null || answer.status < 400;
    const { body, ...head } = answer;
    const whole = !secret && Buffer.byteLength(body ?? "") <= MOST_BODY_BYTES;
    await this.#store.commit(({ retries }) => {
      if (kept) retries.put({ ...record, accepted: made, answer: whole ? answer : head });
      else retries.remove(record);
    });
  }
}

function tooMany(): Refusal {
  return refuse(
    "too-many-keys",
    `${MOST_KEYS} keys are kept already; each is for a day. Send the request without one.`,
    {
      field: "idempotency-key",
      limit: MOST_KEYS,
    },
  );
}
