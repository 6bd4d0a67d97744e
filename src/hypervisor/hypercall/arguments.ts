/**
 * The six arguments of a hypercall, wherever they came from: registers rdi rsi rdx r10 r8 r9, or a multicall entry.
 *
 * Kept as 32-bit halves (argument i at words 2i and 2i+1), so that neither BigInt nor allocation is needed on the way.
 */
export class HypercallArgs {
  readonly words = new Int32Array(12);

  /** Low half, signed. */
  lo(index: number): number {
    return this.words[index * 2]!;
  }

  /** High half, signed. */
  hi(index: number): number {
    return this.words[index * 2 + 1]!;
  }

  /** The low half as an `unsigned int` argument, as C passes it: the high half is ignored. */
  u32(index: number): number {
    return this.words[index * 2]! >>> 0;
  }

  /** A guest virtual address as a signed double; NaN when it is not canonical. */
  va(index: number): number {
    const hi = this.words[index * 2 + 1]!;
    return (hi << 16) >> 16 === hi ? hi * 0x1_0000_0000 + (this.words[index * 2]! >>> 0) : Number.NaN;
  }

  /** The whole argument as an unsigned double; exact below 2^53, rounded above. */
  number(index: number): number {
    return (this.words[index * 2 + 1]! >>> 0) * 0x1_0000_0000 + (this.words[index * 2]! >>> 0);
  }

  set(index: number, lo: number, hi: number): void {
    this.words[index * 2] = lo;
    this.words[index * 2 + 1] = hi;
  }

  /** `value` is an integer in (-2^53, 2^53), taken modulo 2^64. */
  setNumber(index: number, value: number): void {
    this.words[index * 2] = value | 0;
    this.words[index * 2 + 1] = Math.floor(value / 0x1_0000_0000) | 0;
  }
}
