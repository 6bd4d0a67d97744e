/**
 * The ordered log of every change of every object, persisted with the change itself.
 *
 * A token `epoch:sequence` names a place in it, across restarts. A token of another log, of the future, or from before the
 * oldest event kept cannot be continued: the refusal carries a fresh token to list everything at and to go on from.
 */

import type { EventClass, EventRecord } from "./model.ts";
import type { Store } from "./ports.ts";
import { done, type Result, refuse } from "./refusal.ts";
import { eventJson } from "./views.ts";

/** An event ready to be sent: made once, however many listeners there are. */
export interface PublishedEvent {
  readonly sequence: number;
  readonly token: string;
  readonly class: EventClass;
  readonly id: string;
  readonly project: string | null;
  /** JSON text. */
  readonly json: string;
}

export interface EventPage {
  readonly events: readonly PublishedEvent[];
  /** Where to go on. */
  readonly token: string;
}

type EventListener = (events: readonly PublishedEvent[]) => void;

const PAUSE_MS = 5;

export class EventLog {
  readonly #store: Store;
  readonly #listeners = new Set<EventListener>();
  readonly #unsaid: PublishedEvent[] = [];
  #quiet: NodeJS.Timeout | undefined;
  /** Events of this run, by class and reason. */
  readonly #counts = new Map<string, { readonly class: EventClass; readonly reason: string; count: number }>();

  constructor(store: Store) {
    this.#store = store;
    store.onEvents((records) => this.#publish(records));
  }

  /** The newest place in the log. */
  token(): string {
    return this.tokenAt(this.#store.eventRange().last);
  }

  /** The sequence that a token names, checked; `now` and `first` are the log's ends. */
  position(token: string): Result<number> {
    const { first, last } = this.#store.eventRange();
    if (token === "now") return done(last);
    if (token === "first") return done(first - 1);
    const match = /^([0-9a-f]+):(\d{1,15})$/.exec(token);
    if (!match)
      return refuse("bad-value", "A token is what an earlier answer gave, `now` or `first`.", { field: "since" });
    const sequence = Number(match[2]);
    const fresh = this.tokenAt(last);
    if (match[1] !== this.#store.logEpoch || sequence > last)
      return refuse("events-gone", `The token is not of this event log. ${resynchronise(fresh)}`, { token: fresh });
    if (sequence < first - 1)
      return refuse("events-gone", `Events after this token are compacted. ${resynchronise(fresh)}`, { token: fresh });
    return done(sequence);
  }

  /** The sequence of the newest event. */
  newest(): number {
    return this.#store.eventRange().last;
  }

  /** Events after `sequence`, oldest first. */
  page(sequence: number, limit: number): EventPage {
    const events = this.#store.events(sequence, limit).map((record) => this.#ready(record));
    return { events, token: events.at(-1)?.token ?? this.tokenAt(sequence) };
  }

  subscribe(listener: EventListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** How many events the log holds. */
  size(): number {
    const { first, last } = this.#store.eventRange();
    return last - first + 1;
  }

  /** How many there were in this run of the service. */
  counts(): Iterable<{ readonly class: EventClass; readonly reason: string; readonly count: number }> {
    return this.#counts.values();
  }

  #publish(records: readonly EventRecord[]): void {
    for (const { class: kind, reason } of records) {
      const key = `${kind} ${reason}`;
      const counted = this.#counts.get(key);
      if (counted) counted.count++;
      else this.#counts.set(key, { class: kind, reason, count: 1 });
    }
    if (this.#listeners.size === 0) return;
    for (const record of records) this.#unsaid.push(this.#ready(record));
    if (this.#quiet) return;
    this.#tell();
  }

  /** At once after a pause; in the midst of many changes, those of some milliseconds in one piece, so that many listeners cost little. */
  #tell(): void {
    const events = this.#unsaid.splice(0);
    if (events.length === 0) return;
    this.#quiet = setTimeout(() => {
      this.#quiet = undefined;
      this.#tell();
    }, PAUSE_MS);
    this.#quiet.unref();
    for (const listener of [...this.#listeners]) listener(events);
  }

  #ready(record: EventRecord): PublishedEvent {
    const { sequence, id, project } = record;
    return {
      sequence,
      token: this.tokenAt(sequence),
      class: record.class,
      id,
      project,
      json: eventJson(record, this.#store.logEpoch),
    };
  }

  /** The token of a place. */
  tokenAt(sequence: number): string {
    return `${this.#store.logEpoch}:${sequence}`;
  }
}

function resynchronise(token: string): string {
  return `To resynchronise: GET /v1/domains, /v1/images and /v1/tasks, then go on with since=${token}.`;
}
