/**
 * What a decompressor promises: at most `maxBytes` come out, however much the data claim or would make, in time that is linear in
 * what goes in and comes out. What it cannot decode it throws as one of two errors; `decompress.ts` makes refusals of them.
 *
 * Written here rather than taken from packages: those that install everywhere have no limits, or loop for ever on bad data.
 */

export interface Limits {
  /** Most bytes of output. */
  readonly maxBytes: number;
  /** Bytes of output that are expected; no more than `maxBytes`. */
  readonly expectedBytes: number;
}

export type Decompress = (data: Uint8Array, limits: Limits) => Uint8Array;

/** The data are not what the format says. The message goes on "is damaged: ". */
export class Damaged extends Error {}

/** More than `maxBytes` would come out. */
export class TooLarge extends Error {}

/** Where decompressors write: `length` bytes so far, and room for more by `claim`. */
export class Output {
  bytes: Uint8Array;
  length = 0;
  readonly #maxBytes: number;
  constructor({ maxBytes, expectedBytes }: Limits) {
    this.#maxBytes = maxBytes;
    this.bytes = new Uint8Array(expectedBytes);
  }
  /** Makes room for `count` more bytes; `bytes` may be another array afterwards. Throws TooLarge where they are not allowed. */
  claim(count: number): void {
    const needed = this.length + count;
    if (needed <= this.bytes.length) return;
    if (needed > this.#maxBytes) throw new TooLarge();
    const larger = new Uint8Array(Math.min(Math.max(needed, this.bytes.length * 2), this.#maxBytes));
    larger.set(this.bytes.subarray(0, this.length));
    this.bytes = larger;
  }
  append(source: Uint8Array): void {
    this.claim(source.length);
    this.bytes.set(source, this.length);
    this.length += source.length;
  }
  /** What stands `distance` back, `length` bytes of it, which may go on in what they write. The caller has claimed room and checked `distance`. */
  repeat(distance: number, length: number): void {
    const { bytes } = this;
    let to = this.length;
    const end = to + length;
    this.length = end;
    if (distance >= length && length > 32) bytes.copyWithin(to, to - distance, end - distance);
    else for (; to < end; to++) bytes[to] = bytes[to - distance];
  }
  finish(): Uint8Array {
    return this.length === this.bytes.length ? this.bytes : this.bytes.slice(0, this.length);
  }
}
