/**
 * A byte ring in a page that a guest shares with Domain 0 (the xenstore and console interfaces), one direction each.
 *
 * The page is hostile: a guest may write anything to it at any time. So Domain 0 keeps its own index to itself and only publishes it,
 * looks at the guest's index once for each decision, and copies bytes out before anything looks at them. Indices run freely
 * modulo 2^32. An index that claims more than the ring holds is an error for good: `HOSTILE`.
 */

/** What a ring answers when the guest's index makes no sense. */
export const HOSTILE = -1;

export interface RingLayout {
  /** Byte offset of the ring's data in the memory; `size` is a power of two. */
  readonly data: number;
  readonly size: number;
  /** Byte offsets of the two indices, aligned to 4. */
  readonly consumer: number;
  readonly producer: number;
}

class Ring {
  protected readonly bytes: Uint8Array;
  protected readonly mask: number;
  /** Domain 0's index, unsigned 32 bits. */
  protected own: number;
  readonly #mine: Int32Array;
  readonly #theirs: Int32Array;

  constructor(buffer: ArrayBufferLike, layout: RingLayout, mine: number, theirs: number) {
    this.bytes = new Uint8Array(buffer, layout.data, layout.size);
    this.mask = layout.size - 1;
    this.#mine = new Int32Array(buffer, mine, 1);
    this.#theirs = new Int32Array(buffer, theirs, 1);
    this.own = Atomics.load(this.#mine, 0) >>> 0;
  }

  /** How far the guest's index is ahead of Domain 0's; 0 to size, or HOSTILE. */
  protected lead(): number {
    const lead = (Atomics.load(this.#theirs, 0) - this.own) >>> 0;
    return lead <= this.mask + 1 ? lead : HOSTILE;
  }

  /** The same for a guest's index that is behind. */
  protected lag(): number {
    const lag = (this.own - Atomics.load(this.#theirs, 0)) >>> 0;
    return lag <= this.mask + 1 ? lag : HOSTILE;
  }

  protected publish(count: number): void {
    this.own = (this.own + count) >>> 0;
    Atomics.store(this.#mine, 0, this.own | 0);
  }

  /** Both indices back to zero, and nothing in the ring; when the guest has asked for it and waits. */
  clear(): void {
    this.own = 0;
    Atomics.store(this.#theirs, 0, 0);
    Atomics.store(this.#mine, 0, 0);
  }
}

/** A ring that the guest fills and Domain 0 empties. */
export class ConsumerRing extends Ring {
  constructor(buffer: ArrayBufferLike, layout: RingLayout) {
    super(buffer, layout, layout.consumer, layout.producer);
  }

  /** Bytes to read, or HOSTILE. */
  available(): number {
    return this.lead();
  }

  /** Copies `target.length` bytes, which `available` must have promised, and gives their room back to the guest. */
  read(target: Uint8Array): void {
    const start = this.own & this.mask;
    const first = Math.min(target.length, this.bytes.length - start);
    target.set(this.bytes.subarray(start, start + first), 0);
    target.set(this.bytes.subarray(0, target.length - first), first);
    this.publish(target.length);
  }
}

/** A ring that Domain 0 fills and the guest empties. */
export class ProducerRing extends Ring {
  constructor(buffer: ArrayBufferLike, layout: RingLayout) {
    super(buffer, layout, layout.producer, layout.consumer);
  }

  /** Bytes that fit, or HOSTILE. */
  space(): number {
    const lag = this.lag();
    return lag === HOSTILE ? HOSTILE : this.bytes.length - lag;
  }

  /** Puts in bytes, for which `space` must have promised room. */
  write(source: Uint8Array): void {
    const start = this.own & this.mask;
    const first = Math.min(source.length, this.bytes.length - start);
    this.bytes.set(source.subarray(0, first), start);
    this.bytes.set(source.subarray(first), 0);
    this.publish(source.length);
  }
}
