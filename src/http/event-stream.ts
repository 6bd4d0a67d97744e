/**
 * One listener's place in the event log, as Server-Sent Events.
 *
 * What is published is written as it is where the listener is at the newest place and takes it; else its events are read from
 * the log at the pace it reads. So it costs a bounded buffer, loses nothing, and the fast ones cost no query each. One that has
 * been overtaken by compaction is told (`event: gone`) and cut.
 */

import type { ServerResponse } from "node:http";
import { type Caller, hasRole, sees } from "../toolstack/caller.ts";
import type { EventLog, PublishedEvent } from "../toolstack/event-log.ts";

const PAGE = 200;
const PING_MS = 15_000;

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

export class EventStream {
  readonly #log: EventLog;
  readonly #raw: ServerResponse;
  readonly #filter: EventFilter;
  /** The last event that was written or filtered out. */
  #at: number;
  #token: string;
  #full = false;

  constructor(log: EventLog, raw: ServerResponse, from: { sequence: number; token: string }, filter: EventFilter) {
    this.#log = log;
    this.#raw = raw;
    this.#filter = filter;
    this.#at = from.sequence;
    this.#token = from.token;
    const unsubscribe = log.subscribe((events) => this.#published(events));
    const ping = setInterval(() => {
      if (!this.#full) this.#write(`id: ${this.#token}\nevent: ping\ndata: {}\n\n`);
    }, PING_MS);
    ping.unref();
    raw.on("drain", () => {
      this.#full = false;
      this.#catchUp();
    });
    raw.once("close", () => {
      unsubscribe();
      clearInterval(ping);
    });
    raw.write(`retry: 1000\nid: ${this.#token}\n\n`);
    this.#catchUp();
  }

  #published(events: readonly PublishedEvent[]): void {
    if (this.#full) return;
    if (events[0].sequence === this.#at + 1) this.#writeAll(events);
    if (!this.#full && events[events.length - 1].sequence > this.#at) this.#catchUp();
  }

  #catchUp(): void {
    while (!this.#full && !this.#raw.destroyed) {
      const position = this.#log.position(this.#token);
      if (!position.ok) {
        this.#raw.end(`event: gone\ndata: ${JSON.stringify({ detail: position.detail, token: position.token })}\n\n`);
        return;
      }
      const { events } = this.#log.page(this.#at, PAGE);
      if (events.length === 0) return;
      this.#writeAll(events);
    }
  }

  #writeAll(events: readonly PublishedEvent[]): void {
    for (const event of events) {
      if (this.#full) return;
      this.#at = event.sequence;
      this.#token = event.token;
      if (matches(this.#filter, event))
        this.#write(`id: ${event.token}\nevent: ${event.class}\ndata: ${event.json}\n\n`);
    }
  }

  #write(text: string): void {
    if (!this.#raw.destroyed && !this.#raw.write(text)) this.#full = true;
  }
}
