/** How long the event loop kept others waiting: Node's own samples, less the interval that they are taken at, which Node counts in. */

import { monitorEventLoopDelay } from "node:perf_hooks";

const RESOLUTION_MS = 10;

export class EventLoopDelay {
  readonly #histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });

  constructor() {
    this.#histogram.enable();
  }

  /** Seconds by quantile since this was last asked. */
  take(): readonly (readonly [quantile: string, seconds: number])[] {
    const of = (ns: number) => Math.max(0, ns / 1e9 - RESOLUTION_MS / 1000);
    const { max } = this.#histogram;
    const quantiles = [
      ["0.5", of(this.#histogram.percentile(50))],
      ["0.99", of(this.#histogram.percentile(99))],
      ["1", of(max)],
    ] as const;
    this.#histogram.reset();
    return quantiles;
  }
}
