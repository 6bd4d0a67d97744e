/**
 * The generator's only source of chance: a seeded stream (sfc32), and values drawn near the borders where instructions differ.
 *
 * Committed vectors name registers by seed (`drawRegisters`), so the stream and the order of draws there must never change.
 */

export class Random {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(seed: number) {
    this.#a = 0x9e37_79b9 | 0;
    this.#b = 0x243f_6a88 ^ seed;
    this.#c = seed | 0;
    for (let i = 0; i < 12; i++) this.u32();
  }

  u32(): number {
    const t = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (this.#c << 21) | (this.#c >>> 11);
    this.#c = (this.#c + t) | 0;
    return t >>> 0;
  }

  /** 0 <= result < bound <= 2^32. */
  below(bound: number): number {
    return Math.floor((this.u32() / 4294967296) * bound);
  }

  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  chance(percent: number): boolean {
    return this.below(100) < percent;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)];
  }

  bits64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }

  bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.u32() >>> 11);
  }

  /** A 64-bit pattern: mostly near the borders of 8, 16, 32 and 64-bit integers, else of random length. */
  edge64(): bigint {
    const kind = this.below(8);
    if (kind < 2) return this.pick(EDGES);
    if (kind === 2) return BigInt.asUintN(64, this.pick(EDGES) + BigInt(this.between(-2, 2)));
    if (kind === 3) return 1n << BigInt(this.below(64));
    if (kind === 4) return BigInt.asUintN(64, ~(1n << BigInt(this.below(64))));
    if (kind === 5) return this.bits64() >> BigInt(this.below(64));
    if (kind === 6) return BigInt.asUintN(64, BigInt.asIntN(64, this.bits64()) >> BigInt(this.below(64)));
    return this.bits64();
  }
}

const EDGES: readonly bigint[] = [
  0n,
  1n,
  2n,
  0x7fn,
  0x80n,
  0xffn,
  0x7fffn,
  0x8000n,
  0xffffn,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_ffffn,
  0x7fff_ffff_ffff_ffffn,
  0x8000_0000_0000_0000n,
  0xffff_ffff_ffff_ff80n,
  0xffff_ffff_ffff_8000n,
  0xffff_ffff_8000_0000n,
  0xffff_ffff_ffff_ffffn,
  0x5555_5555_5555_5555n,
  0xaaaa_aaaa_aaaa_aaaan,
  0x8080_8080_8080_8080n,
];

/** The sixteen registers that a vector starts from unless it says otherwise. */
export function drawRegisters(seed: number): BigUint64Array {
  const random = new Random(seed);
  return BigUint64Array.from({ length: 16 }, () => random.edge64());
}
