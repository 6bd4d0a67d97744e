/**
 * Domain 0's ends of a domain's channels. Domain 0 is the service: its end of a channel has the number of the port that the domain
 * offered it, and is there until the domain goes. When the domain closes its own end, as a kernel does that resets its event channels, Domain
 * 0's is unbound again, and the domain can bind to it anew from whatever port it gets.
 */
import type { Channel } from "./event-channels.ts";

export class Dom0Ends {
  /** By the number of Domain 0's end: the domain's, or null when it has closed it. */
  readonly #ends = new Map<number, Channel | null>();

  join(end: number, channel: Channel): void {
    this.#ends.set(end, channel);
  }

  leave(end: number): void {
    this.#ends.set(end, null);
  }

  /** Whether the domain may bind to this end. */
  offered(end: number): boolean {
    return this.#ends.get(end) === null;
  }

  channelOf(end: number): Channel | undefined {
    return this.#ends.get(end) ?? undefined;
  }
}
