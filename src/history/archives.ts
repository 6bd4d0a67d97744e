/**
 * How the past is kept: in blocks of a quarter of an hour, each at three resolutions, the finer ones for less time.
 *
 * A block of an object is an array of points (32-bit floats, `width` of them for each point, NaN where nothing is known); how many
 * points it has says how long each is. Coarser points are means of the finer ones that are known.
 */

export const BLOCK_MS = 900_000;

export interface Archive {
  /** Its table. */
  readonly name: "fine" | "minutes" | "quarters";
  /** Points of a block; undefined: as many as there are samples. */
  readonly points: number | undefined;
  /** How many blocks are kept before the one that is being filled. */
  readonly blocks: number;
}

/** Finest first: an hour as it was sampled, a day by the minute, 30 days by the quarter of an hour. */
export const ARCHIVES: readonly Archive[] = [
  { name: "fine", points: undefined, blocks: 4 },
  { name: "minutes", points: 15, blocks: 96 },
  { name: "quarters", points: 1, blocks: 2880 },
];

/** The number of the block that `time` (ms since 1970) is in. */
export function blockOf(time: number): number {
  return Math.floor(time / BLOCK_MS);
}

/** A block with fewer points: each the mean of what is known of those that it stands for. `points` divides theirs. */
export function consolidate(block: Float32Array, width: number, points: number): Float32Array<ArrayBuffer> {
  const coarse = new Float32Array(points * width);
  const each = block.length / width / points;
  for (let point = 0; point < points; point++) {
    for (let column = 0; column < width; column++) {
      let sum = 0;
      let known = 0;
      for (let i = 0; i < each; i++) {
        const value = block[(point * each + i) * width + column]!;
        if (Number.isNaN(value)) continue;
        sum += value;
        known++;
      }
      coarse[point * width + column] = known > 0 ? sum / known : Number.NaN;
    }
  }
  return coarse;
}
