/** Whether the service can do work: its store takes writes, and the threads that run guests answer. */

import type { Domctl } from "../machine/domctl.ts";
import type { Clock, Store } from "./ports.ts";

/** Threads answer within this time, or are said to be silent. */
const PATIENCE_MS = 2000;
/** An answer holds so long: whoever asks more often costs no more writes. */
const HOLDS_MS = 1000;

interface ReadinessOptions {
  readonly store: Store;
  readonly domctl: Domctl;
  readonly clock: Clock;
}

export class Readiness {
  readonly #options: ReadinessOptions;
  #last: { readonly time: number; readonly reasons: Promise<readonly string[]> } | undefined;

  constructor(options: ReadinessOptions) {
    this.#options = options;
  }

  /** Sentences that say what is wrong; none when the service is ready. */
  reasons(): Promise<readonly string[]> {
    const time = this.#options.clock.now();
    if (!this.#last || Math.abs(time - this.#last.time) >= HOLDS_MS) this.#last = { time, reasons: this.#look(time) };
    return this.#last.reasons;
  }

  async #look(time: number): Promise<readonly string[]> {
    const { store, domctl } = this.#options;
    const [refusal, silent] = await Promise.all([
      store.commit((writer) => writer.putChecked(time)).catch((error: Error) => ({ detail: error.message })),
      domctl.silent(PATIENCE_MS),
    ]);
    const reasons = silent.map((thread) => `The thread ${thread} has not answered within ${PATIENCE_MS} ms.`);
    if (refusal) reasons.unshift(`The store takes no writes: ${refusal.detail}`);
    return reasons;
  }
}
