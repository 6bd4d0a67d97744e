/** How often each token may ask: a bucket that fills at its rate, up to its burst, and from which every request takes one. */

import type { FastifyReply } from "fastify";
import type { Caller, RateLimit } from "../toolstack/access/caller.ts";
import { HttpProblem } from "./problem.ts";

interface Bucket {
  left: number;
  /** When `left` was so, in milliseconds. */
  at: number;
}

export class RateLimits {
  readonly #buckets = new WeakMap<Caller, Bucket>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Takes one for the request; throws the problem where there is none. Says in the headers what is left. */
  take(caller: Caller, reply: FastifyReply): void {
    const { rateLimit } = caller;
    if (!rateLimit) return;
    const bucket = this.#fill(caller, rateLimit);
    const enough = bucket.left >= 1;
    if (enough) bucket.left -= 1;
    const seconds = (wanted: number) => Math.max(0, Math.ceil((wanted - bucket.left) / rateLimit.perSecond));
    reply.headers({
      "RateLimit-Limit": rateLimit.burst,
      "RateLimit-Remaining": Math.floor(bucket.left),
      "RateLimit-Reset": seconds(rateLimit.burst),
    });
    if (enough) return;
    reply.header("Retry-After", Math.max(1, seconds(1)));
    throw new HttpProblem(
      "rate-limited",
      `Token ${caller.name} may ask ${rateLimit.perSecond} times a second, ${rateLimit.burst} times at once.`,
      { limit: rateLimit.perSecond },
    );
  }

  #fill(caller: Caller, { perSecond, burst }: RateLimit): Bucket {
    const now = this.#now();
    let bucket = this.#buckets.get(caller);
    if (!bucket) {
      bucket = { left: burst, at: now };
      this.#buckets.set(caller, bucket);
    }
    bucket.left = Math.min(burst, bucket.left + (Math.max(0, now - bucket.at) * perSecond) / 1000);
    bucket.at = now;
    return bucket;
  }
}
