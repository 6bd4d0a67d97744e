/**
 * RCPPS and RSQRTPS: the vendor-specific results of this CPU. The manuals only bound their error (1.5 * 2^-12); these are Intel's tables, which are
 * the function at the middle of 2048 (reciprocal) or 1024 (root) steps a binade, rounded to 12 fraction bits. They ignore MXCSR and raise nothing; denormals
 * count as zeros in operands and results.
 */
const INFINITY_BITS = 0x7f800000;
const QUIET = 0x400000;
const INDEFINITE = 0xffc00000;

/** Fraction bits of y in (1/2, 1], in place. */
const fractionOf = (y: number): number => Math.floor((2 * y - 1) * 4096 + 0.5) << 11;

/** @param bits a single's bits; result likewise, unsigned */
export function reciprocal(bits: number): number {
  const sign = bits & 0x80000000;
  const exponent = (bits >>> 23) & 0xff;
  const fraction = bits & 0x7fffff;
  if (exponent === 0) return (sign | INFINITY_BITS) >>> 0;
  if (exponent === 0xff) return (fraction === 0 ? sign : bits | QUIET) >>> 0;
  const result = 253 - exponent;
  if (result <= 0) return sign >>> 0;
  return (sign | (result << 23) | fractionOf(1 / (1 + ((fraction >> 12) + 0.5) / 2048))) >>> 0;
}

/** @param bits a single's bits; result likewise, unsigned */
export function reciprocalRoot(bits: number): number {
  const sign = bits & 0x80000000;
  const exponent = (bits >>> 23) & 0xff;
  const fraction = bits & 0x7fffff;
  if (exponent === 0) return (sign | INFINITY_BITS) >>> 0;
  if (exponent === 0xff && fraction !== 0) return (bits | QUIET) >>> 0;
  if (sign !== 0) return INDEFINITE;
  if (exponent === 0xff) return 0;
  const odd = (exponent - 127) & 1;
  const middle = (1 + ((fraction >> 13) + 0.5) / 1024) * (odd === 0 ? 1 : 2);
  return ((126 - ((exponent - 127 - odd) >> 1)) << 23) | fractionOf(1 / Math.sqrt(middle));
}
