/**
 * One listener's place in the event log, whatever carries the events to it.
 *
 * What is published is sent as it is where the listener is at the newest place and takes it; else its events are read from the log at the
 * pace it reads. So it costs a bounded buffer, loses nothing, and the fast ones cost no query each. One that falls too far behind is
 * told, with the token to resume from, and cut, before compaction overtakes it; one that was overtaken is told to resynchronise.
 */

import { type Caller, hasRole, sees } from "../toolstack/access/caller.ts";
import type { EventLog, PublishedEvent } from "../toolstack/event-log.ts";

const PAGE = 200;
const PING_MS = 15_000;
/** Events that a listener may fall behind while it listens; twice as many are kept. */
export const MOST_BEHIND = 10_000;

export interface EventFilter {
  /** Who listens: what it does not see is left out. */
  readonly caller: Caller;
  readonly class?: string;
  readonly id?: string;
}

export function matches(filter: EventFilter, event: PublishedEvent): boolean {
  const wanted = (filter.class ?? event.class) === event.class && (filter.id ?? event.id) === event.id;
  // Tokens are the admins' affair.
  return (
    wanted && sees(filter.caller, event.project) && (event.class !== "token" || hasRole(filter.caller.role, "admin"))
  );
}

export interface Sink {
  /** False when the listener takes no more for now; `drained` is called when it does again. */
  send(event: PublishedEvent): boolean;
  /** Nothing happened for a while; `token` is where the listener is. */
  ping(token: string): void;
  /** The last that the listener hears. `token` is its own place for `slow`, a fresh one for `gone`. */
  end(why: "slow" | "gone", detail: string, token: string): void;
}

export interface FeedOptions {
  readonly log: EventLog;
  readonly from: { readonly sequence: number; readonly token: string };
  readonly filter: EventFilter;
  readonly sink: Sink;
}

export class EventFeed {
  readonly #options: FeedOptions;
  readonly #unsubscribe: () => void;
  readonly #ping: NodeJS.Timeout;
  /** The last event that was sent or filtered out. */
  #at: number;
  #token: string;
  /** How far behind it may be: one that began far back gets there at its own pace. */
  readonly #mostBehind: number;
  #full = false;
  #over = false;

  constructor(options: FeedOptions) {
    const { log, from, sink } = options;
    this.#options = options;
    this.#at = from.sequence;
    this.#token = from.token;
    this.#mostBehind = MOST_BEHIND + log.newest() - from.sequence;
    this.#unsubscribe = log.subscribe((events) => this.#published(events));
    this.#ping = setInterval(() => {
      if (!this.#full) sink.ping(this.#token);
    }, PING_MS);
    this.#ping.unref();
    this.#catchUp();
  }

  /** The listener takes more. */
  drained(): void {
    if (!this.#full) return;
    this.#full = false;
    this.#catchUp();
  }

  /** Tells the listener that it is too slow, and ends. */
  tooSlow(why: string): void {
    if (this.#over) return;
    this.close();
    this.#options.sink.end("slow", `${why} To go on without loss: since=${this.#token}.`, this.#token);
  }

  /** The listener is gone. */
  close(): void {
    this.#over = true;
    this.#unsubscribe();
    clearInterval(this.#ping);
  }

  #published(events: readonly PublishedEvent[]): void {
    const { sequence: newest } = events[events.length - 1];
    if (newest - this.#at > this.#mostBehind && this.#full) {
      this.tooSlow(`This listener is ${newest - this.#at} events behind.`);
      return;
    }
    if (this.#full) return;
    if (events[0].sequence === this.#at + 1) this.#sendAll(events);
    if (newest > this.#at) this.#catchUp();
  }

  #catchUp(): void {
    const { log, sink } = this.#options;
    while (!this.#full && !this.#over) {
      const position = log.position(this.#token);
      if (!position.ok) {
        this.close();
        sink.end("gone", position.detail, position.token ?? "");
        return;
      }
      const { events } = log.page(this.#at, PAGE);
      if (events.length === 0) return;
      this.#sendAll(events);
    }
  }

  #sendAll(events: readonly PublishedEvent[]): void {
    const { filter, sink } = this.#options;
    for (const event of events) {
      if (this.#full || this.#over) return;
      this.#at = event.sequence;
      this.#token = event.token;
      if (matches(filter, event) && !sink.send(event)) this.#full = true;
    }
  }
}
