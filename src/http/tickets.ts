/** Single-use keys for WebSockets, whose makers, browsers, cannot set headers. */

import { randomBytes } from "node:crypto";
import type { Caller } from "../toolstack/access/caller.ts";

const TICKET_MS = 30_000;
const MOST_TICKETS = 10_000;

export class Tickets {
  readonly #issued = new Map<string, { caller: Caller; expiresAt: number }>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** A ticket is its caller's: it opens what the caller may, and dies with its token. */
  issue(caller: Caller): { ticket: string; expiresAt: number } {
    // In order of issue, so the first that has not expired ends the sweep.
    for (const [ticket, { expiresAt }] of this.#issued) {
      if (expiresAt > this.#now() && this.#issued.size < MOST_TICKETS) break;
      this.#issued.delete(ticket);
    }
    const ticket = randomBytes(24).toString("base64url");
    const expiresAt = this.#now() + TICKET_MS;
    this.#issued.set(ticket, { caller, expiresAt });
    return { ticket, expiresAt };
  }

  /** Whose it is, once at most for a ticket. */
  redeem(ticket: string): Caller | undefined {
    const issued = this.#issued.get(ticket);
    this.#issued.delete(ticket);
    if (!issued || issued.expiresAt <= this.#now() || issued.caller.ended.aborted) return undefined;
    return issued.caller;
  }
}
