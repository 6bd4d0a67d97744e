/** A time series put together from blocks: points of a given length, each the mean of what is known in it. */

import { BLOCK_MS } from "./archives.ts";

export class SeriesBuilder {
  /** Milliseconds since 1970, a multiple of the step. */
  readonly from: number;
  readonly points: number;
  readonly #step: number;
  readonly #width: number;
  readonly #columns: readonly number[];
  readonly #sums: Float64Array;
  readonly #known: Uint32Array;

  /** Times in ms; the points cover `from` to `to`. */
  constructor(from: number, to: number, step: number, width: number, columns: readonly number[]) {
    this.from = Math.floor(from / step) * step;
    this.points = Math.ceil((to - this.from) / step);
    this.#step = step;
    this.#width = width;
    this.#columns = columns;
    this.#sums = new Float64Array(this.points * columns.length);
    this.#known = new Uint32Array(this.#sums.length);
  }

  /** Adds the block of that number. */
  add(number: number, block: Float32Array): void {
    const count = block.length / this.#width;
    const each = BLOCK_MS / count;
    for (let i = 0; i < count; i++) {
      const point = Math.floor((number * BLOCK_MS + i * each - this.from) / this.#step);
      if (point < 0 || point >= this.points) continue;
      for (let column = 0; column < this.#columns.length; column++) {
        const value = block[i * this.#width + this.#columns[column]!]!;
        if (Number.isNaN(value)) continue;
        this.#sums[column * this.points + point]! += value;
        this.#known[column * this.points + point]!++;
      }
    }
  }

  /** By column, in order of time. */
  result(): (number | null)[][] {
    return this.#columns.map((_, column) =>
      Array.from({ length: this.points }, (_, point) => {
        const known = this.#known[column * this.points + point]!;
        return known > 0 ? this.#sums[column * this.points + point]! / known : null;
      }),
    );
  }
}
