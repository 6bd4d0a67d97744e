/** A token bucket: what may flow is what has flowed in since, up to a burst. Tokens are bytes, times are ns. */
export class TokenBucket {
  readonly #perNs: number;
  readonly #burst: number;
  #tokens: number;
  #at: number;

  constructor(bytesPerSecond: number, burst: number, now: number) {
    this.#perNs = bytesPerSecond / 1e9;
    this.#burst = burst;
    this.#tokens = burst;
    this.#at = now;
  }

  /** How many of `wanted` bytes may pass now; they are spent. */
  take(wanted: number, now: number): number {
    this.#tokens = Math.min(this.#burst, this.#tokens + Math.max(0, now - this.#at) * this.#perNs);
    this.#at = now;
    const taken = Math.min(wanted, Math.floor(this.#tokens));
    this.#tokens -= taken;
    return taken;
  }

  /** When `wanted` bytes, or a full burst, may pass. */
  readyAt(wanted: number, now: number): number {
    const missing = Math.min(wanted, this.#burst) - this.#tokens;
    return missing <= 0 ? now : now + Math.ceil(missing / this.#perNs);
  }
}
