/**
 * Counters become rates: what they grew by a second since the sample before.
 *
 * There is no rate without a sample of the same instance before, nor over a gap, nor of a counter that went back.
 */

/** A sample that is older than so many steps is none to count from. */
const HEARTBEAT_STEPS = 2.5;

interface Last {
  readonly time: number;
  readonly instance: number;
  readonly values: Float64Array;
}

export class Rates {
  readonly #stepMs: number;
  readonly #last = new Map<number, Last>();

  constructor(stepMs: number) {
    this.#stepMs = stepMs;
  }

  /** `values` of an object at `time` (ms), the counters among them as rates; `isCounter` by column. */
  next(
    object: number,
    time: number,
    instance: number,
    values: Float64Array,
    isCounter: readonly boolean[],
  ): Float32Array<ArrayBuffer> {
    const last = this.#last.get(object);
    this.#last.set(object, { time, instance, values });
    const seconds = last && last.instance === instance ? (time - last.time) / 1000 : 0;
    const known = seconds > 0 && seconds * 1000 <= HEARTBEAT_STEPS * this.#stepMs;
    const rates = new Float32Array(values.length);
    for (let column = 0; column < values.length; column++) {
      const value = values[column]!;
      if (!isCounter[column]) rates[column] = value;
      else {
        const grown = known ? value - last!.values[column]! : Number.NaN;
        rates[column] = grown >= 0 ? grown / seconds : Number.NaN;
      }
    }
    return rates;
  }

  /** Drops what objects said last before `time`: they are gone, or begin anew. */
  dropBefore(time: number): void {
    for (const [object, last] of this.#last) if (last.time < time) this.#last.delete(object);
  }

  forget(object: number): void {
    this.#last.delete(object);
  }
}
