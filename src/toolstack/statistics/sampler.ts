/** Puts the figures of all domains and of the host into the history, every so many seconds, at multiples of them. */

import type { Clock, History, Log, Sample } from "../ports.ts";
import { DOMAIN_SERIES, HOST_SERIES } from "./figures.ts";
import { HOST, type Snapshot, type Statistics } from "./statistics.ts";

/** Numbers of one object in a sample: the longest series. */
export const SAMPLE_WIDTH = Math.max(DOMAIN_SERIES.length, HOST_SERIES.length);
const DOMID = 0;
const CHUNK = 500;

/** The process's own part of the host's figures. */
export interface ProcessLoad {
  readonly cpuSeconds: number;
  readonly residentBytes: number;
}

interface SamplerOptions {
  readonly statistics: Statistics;
  readonly history: History;
  readonly clock: Clock;
  readonly log: Log;
  readonly stepSeconds: number;
  readonly process: () => ProcessLoad;
}

export class Sampler {
  readonly #options: SamplerOptions;

  constructor(options: SamplerOptions) {
    this.#options = options;
  }

  /** Samples until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, stepSeconds, log } = this.#options;
    const step = stepSeconds * 1000;
    while (!signal.aborted) {
      await clock.sleep(step - (clock.now() % step), signal);
      if (signal.aborted) return;
      await this.sample().catch((error) => log.warn({ err: error }, "no figures for the history this time"));
    }
  }

  /** Takes one sample. */
  async sample(): Promise<void> {
    const { statistics, history, clock } = this.#options;
    const time = clock.now();
    history.record(await this.#sampleOf(await statistics.snapshot(), time));
  }

  async #sampleOf(snapshot: Snapshot, time: number): Promise<Sample> {
    const { domains } = snapshot;
    const objects = [HOST, ...domains.map(({ uuid }) => uuid)];
    const instances = new Float64Array(objects.length);
    const values = new Float64Array(objects.length * SAMPLE_WIDTH).fill(Number.NaN);
    values.set(this.#ofHost(snapshot));
    for (const [index, { row }] of domains.entries()) {
      const at = (index + 1) * SAMPLE_WIDTH;
      instances[index + 1] = row[DOMID]!;
      for (const [column, figure] of DOMAIN_SERIES.entries()) values[at + column] = figure.of(row);
      if (index % CHUNK === CHUNK - 1) await new Promise(setImmediate);
    }
    return { time, objects, instances, values };
  }

  /** In the order of `HOST_SERIES`. */
  #ofHost({ host, workers, domains }: Snapshot): number[] {
    const busyNs = workers.reduce((sum, { upNs, idleNs }) => sum + upNs - idleNs, 0);
    const { cpuSeconds, residentBytes } = this.#options.process();
    return [busyNs / 1e9, cpuSeconds, residentBytes, host.memoryFreeMiB * 2 ** 20, domains.length];
  }
}
