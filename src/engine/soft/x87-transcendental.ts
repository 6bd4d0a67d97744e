/**
 * x87 constants and transcendental instructions.
 *
 * Results are the exact function's, correctly rounded: computed with 320 fractional bits and rounded once by the rounding control. Processors promise
 * an error below one unit in the last place, so theirs may differ from these in the last bit, and so may vendors from each other. Trigonometric arguments are
 * reduced with the 66-bit pi that Intel documents (SDM vol. 1, 8.3.8), so large arguments err as they do there.
 */
import { integerRoot } from "./arithmetic.ts";
import {
  bitLength,
  extended,
  type Float,
  FpFlag,
  finite,
  indefinite,
  infinity,
  isInfinite,
  isNan,
  isZero,
  Kind,
  type RoundingMode,
  round,
  zero,
} from "./float.ts";
import { X87Op } from "./x87-op.ts";
import { Fsw, type X87State } from "./x87-state.ts";

/** Fractional bits of the fixed-point numbers here. */
const F = 320;
const BITS = BigInt(F);
const ONE = 1n << BITS;
/** Below this exponent the first term of a series is right to far more than 64 bits. */
const TINY = -140;

const multiply = (a: bigint, b: bigint): bigint => (a * b) >> BITS;

/** atanh(z) for |z| <= 1/3, as fixed point. */
function atanh(z: bigint): bigint {
  const square = multiply(z, z);
  let power = z;
  let sum = 0n;
  for (let n = 1n; power !== 0n && power !== -1n; n += 2n) {
    sum += power / n;
    power = multiply(power, square);
  }
  return sum;
}
/** atan(z) for 0 <= z <= 1. */
function atan(z: bigint): bigint {
  // Halve the angle until the series is short: tan(a/2) = t / (1 + sqrt(1 + t^2)).
  let t = z;
  const HALVINGS = 4n;
  for (let i = 0n; i < HALVINGS; i++) t = (t << BITS) / (ONE + integerRoot((ONE + multiply(t, t)) << BITS));
  const square = multiply(t, t);
  let power = t;
  let sum = 0n;
  for (let n = 1n; power !== 0n; n += 2n) {
    sum += (n & 2n) === 0n ? power / n : -(power / n);
    power = multiply(power, square);
  }
  return sum << HALVINGS;
}
/** sin and cos of 0 <= r <= 1. */
function sineSeries(r: bigint): bigint {
  return series(r, r, 1n);
}
function cosineSeries(r: bigint): bigint {
  return series(r, ONE, 0n);
}
function series(r: bigint, first: bigint, start: bigint): bigint {
  const square = multiply(r, r);
  let term = first;
  let sum = 0n;
  for (let n = start; term !== 0n; n += 2n) {
    sum += ((n - start) & 2n) === 0n ? term : -term;
    term = multiply(term, square) / ((n + 1n) * (n + 2n));
  }
  return sum;
}

const LN2 = 2n * atanh(ONE / 3n);
const PI = 4n * atan(ONE);
const LN10 = 3n * LN2 + 2n * atanh(ONE / 9n);
/** Intel's pi for argument reduction: 66 bits. */
const PI66 = 0x3243f6a8885a308d3n;
const PI66_FRACTION = 64;

/** A positive fixed-point number, never exact, rounded. */
function rounded(x: X87State, sign: 0 | 1, value: bigint, exponent = -F): Float {
  return round(x.env, extended, sign, value, exponent, true);
}

/** FLD1, FLDL2T, FLDL2E, FLDPI, FLDLG2, FLDLN2, FLDZ by number, rounded by the mode without a flag. */
export function constantOf(which: number, mode: RoundingMode): Float {
  if (which === 0) return finite(0, 1n, 0);
  if (which === 6) return zero(0);
  const values = [ONE, (LN10 << BITS) / LN2, (ONE << BITS) / LN2, PI, (LN2 << BITS) / LN10, LN2];
  const env = { mode, masked: 0x3f, flushToZero: false, bias: 0, flags: 0, roundedUp: false };
  return round(env, extended, 0, values[which], -F, true);
}

export function transcendental(x: X87State, op: X87Op): number {
  switch (op) {
    case X87Op.twoToXMinus1:
      return unary(x, (f) => twoToXMinus1(x, f));
    case X87Op.yLog2X:
      return binary(x, (y, f) => yLog2X(x, y, f));
    case X87Op.yLog2XPlus1:
      return binary(x, (y, f) => yLog2XPlus1(x, y, f));
    case X87Op.arctangent:
      return binary(x, (y, f) => arctangent(x, y, f));
    default:
      return trigonometric(x, op);
  }
}

function unary(x: X87State, f: (value: Float) => Float): number {
  x.setC1(false);
  let result = indefinite;
  if (x.isEmpty(0)) x.stackUnderflow();
  else {
    const value = x.get(0);
    result = isNan(value) ? x.nan(value) : f(value);
  }
  if (!x.record()) x.set(0, result);
  return 0;
}
/** ST(1) = f(ST(1), ST(0)), popped. */
function binary(x: X87State, f: (y: Float, value: Float) => Float): number {
  x.setC1(false);
  let result = indefinite;
  if (x.isEmpty(0) || x.isEmpty(1)) x.stackUnderflow();
  else {
    const [value, y] = [x.get(0), x.get(1)];
    result = isNan(value) || isNan(y) ? x.nan(value, y) : f(y, value);
  }
  if (x.record()) return 0;
  x.set(1, result);
  x.pop();
  return 0;
}
function invalid(x: X87State): Float {
  x.env.flags |= FpFlag.invalid;
  return indefinite;
}
/** Exponent of the leading bit. */
const leading = (f: Float): number => f.exponent + bitLength(f.significand) - 1;
/** The magnitude as fixed point; only bits below 2^-F are lost. */
const fixed = (f: Float): bigint =>
  f.exponent + F >= 0 ? f.significand << BigInt(f.exponent + F) : f.significand >> BigInt(-f.exponent - F);

function twoToXMinus1(x: X87State, f: Float): Float {
  if (isZero(f)) return f;
  // Outside [-1, 1] the result is undefined; processors leave such an operand alone, and -infinity gives -1.
  if (isInfinite(f)) return f.sign === 1 ? finite(1, 1n, 0) : f;
  x.noteDenormal(f);
  if (leading(f) >= 0) {
    x.env.flags |= FpFlag.inexact;
    if (f.significand === 1n << BigInt(-f.exponent)) return f.sign === 0 ? finite(0, 1n, 0) : finite(1, 1n, -1);
    return f;
  }
  if (leading(f) < TINY) return rounded(x, f.sign, f.significand * LN2, f.exponent - F);
  const power = multiply(fixed(f), LN2) * (f.sign === 0 ? 1n : -1n);
  let term = power;
  let sum = 0n;
  for (let n = 2n; term !== 0n && term !== -1n; n++) {
    sum += term;
    term = multiply(term, power) / n;
  }
  return rounded(x, f.sign, sum < 0n ? -sum : sum);
}

/** y times a logarithm given as sign and fixed point times 2^exponent. */
function times(x: X87State, y: Float, sign: 0 | 1, logarithm: bigint, exponent = -F): Float {
  return rounded(x, (y.sign ^ sign) as 0 | 1, y.significand * logarithm, y.exponent + exponent);
}

/** Base-2 logarithm of the positive `value * 2^(exponent - F)`, as fixed point. */
function log2(value: bigint, exponent: number): bigint {
  const length = bitLength(value);
  let whole = length - 1 + exponent - F;
  let m = length <= F + 1 ? value << BigInt(F + 1 - length) : value >> BigInt(length - F - 1);
  // m in [1, 2), or halved to stay near 1.
  if (m > ONE + ONE / 2n) {
    m >>= 1n;
    whole++;
  }
  return BigInt(whole) * ONE + ((2n * atanh(((m - ONE) << BITS) / (m + ONE))) << BITS) / LN2;
}

function yLog2X(x: X87State, y: Float, f: Float): Float {
  if (isZero(f)) {
    if (isZero(y)) return invalid(x);
    if (isInfinite(y)) return infinity(y.sign === 0 ? 1 : 0);
    x.env.flags |= FpFlag.divideByZero;
    return infinity(y.sign === 0 ? 1 : 0);
  }
  if (f.sign === 1) return invalid(x);
  if (isInfinite(f)) {
    if (isZero(y)) return invalid(x);
    x.noteDenormal(y);
    return infinity(y.sign);
  }
  const length = bitLength(f.significand);
  const isPower = f.significand === 1n << BigInt(length - 1);
  const whole = f.exponent + length - 1;
  if (isPower && whole === 0) {
    if (isInfinite(y)) return invalid(x);
    x.noteDenormal(y);
    return zero(y.sign);
  }
  const below = whole < 0;
  x.noteDenormal(f, y);
  if (isInfinite(y)) return infinity((y.sign ^ (below ? 1 : 0)) as 0 | 1);
  if (isZero(y)) return zero((y.sign ^ (below ? 1 : 0)) as 0 | 1);
  if (isPower) {
    const sign = (y.sign ^ (below ? 1 : 0)) as 0 | 1;
    const result = round(x.env, extended, sign, y.significand * BigInt(Math.abs(whole)), y.exponent);
    // Exact or not, processors say inexact, and so underflow where it is tiny.
    x.env.flags |= FpFlag.inexact;
    if (result.kind === Kind.finite && leading(result) < extended.least) x.env.flags |= FpFlag.underflow;
    return result;
  }
  const logarithm = log2(f.significand, f.exponent + F);
  return times(x, y, logarithm < 0n ? 1 : 0, logarithm < 0n ? -logarithm : logarithm);
}

function yLog2XPlus1(x: X87State, y: Float, f: Float): Float {
  if (isZero(f)) {
    if (isInfinite(y)) return invalid(x);
    x.noteDenormal(y);
    return zero((y.sign ^ f.sign) as 0 | 1);
  }
  if (isInfinite(f)) {
    if (f.sign === 1 || isZero(y)) return invalid(x);
    x.noteDenormal(y);
    return infinity(y.sign);
  }
  if (f.sign === 1 && leading(f) >= 0) return invalid(x);
  x.noteDenormal(f, y);
  const sign = (y.sign ^ f.sign) as 0 | 1;
  if (isInfinite(y)) return infinity(sign);
  if (isZero(y)) return zero(sign);
  if (leading(f) < TINY)
    return rounded(x, sign, y.significand * f.significand * ((ONE << BITS) / LN2), y.exponent + f.exponent - F);
  const value = fixed(f) * (f.sign === 0 ? 1n : -1n);
  if (leading(f) >= -2) {
    // Mostly beyond the documented range, still a logarithm.
    const sum = ONE + value;
    const logarithm = log2(sum, 0);
    return times(x, y, f.sign, logarithm < 0n ? -logarithm : logarithm);
  }
  const natural = 2n * atanh((value << BITS) / (2n * ONE + value));
  const logarithm = (natural << BITS) / LN2;
  return times(x, y, f.sign, logarithm < 0n ? -logarithm : logarithm);
}

/** atan2(y, f), in (-pi, pi]. */
function arctangent(x: X87State, y: Float, f: Float): Float {
  const quadrant = (numerator: bigint, denominator: bigint): Float =>
    rounded(x, y.sign, (PI * numerator) / denominator);
  if (isInfinite(y)) {
    if (isInfinite(f)) return f.sign === 0 ? quadrant(1n, 4n) : quadrant(3n, 4n);
    x.noteDenormal(f);
    return quadrant(1n, 2n);
  }
  if (isInfinite(f)) {
    x.noteDenormal(y);
    return f.sign === 0 ? zero(y.sign) : quadrant(1n, 1n);
  }
  if (isZero(y)) {
    x.noteDenormal(f);
    return f.sign === 0 ? y : quadrant(1n, 1n);
  }
  x.noteDenormal(y, f);
  if (isZero(f)) return quadrant(1n, 2n);
  const distance = leading(y) - leading(f);
  if (distance < TINY) {
    if (f.sign === 1) return quadrant(1n, 1n);
    // The quotient itself, but for less than can be seen.
    const shift = Math.max(0, 140 - bitLength(y.significand) + bitLength(f.significand));
    return rounded(x, y.sign, (y.significand << BigInt(shift)) / f.significand, y.exponent - f.exponent - shift);
  }
  if (distance > -TINY) return quadrant(1n, 2n);
  const [big, small] = distance >= 1 || (distance === 0 && larger(y, f)) ? [y, f] : [f, y];
  const shift = F + small.exponent - big.exponent;
  const ratio =
    shift >= 0
      ? (small.significand << BigInt(shift)) / big.significand
      : small.significand / (big.significand << BigInt(-shift));
  let angle = atan(ratio);
  if (big === y) angle = PI / 2n - angle;
  if (f.sign === 1) angle = PI - angle;
  return rounded(x, y.sign, angle);
}
function larger(a: Float, b: Float): boolean {
  const exponent = Math.min(a.exponent, b.exponent);
  return a.significand << BigInt(a.exponent - exponent) > b.significand << BigInt(b.exponent - exponent);
}

function trigonometric(x: X87State, op: X87Op): number {
  const kept = x.fsw & (Fsw.c0 | Fsw.c3);
  x.setCodes(kept);
  const pushes = op === X87Op.tangent || op === X87Op.sineCosine;
  if (x.isEmpty(0) || (pushes && !x.isEmpty(-1))) {
    if (x.isEmpty(0)) x.stackUnderflow();
    else x.stackOverflow();
    if (x.record()) return 0;
    x.set(0, indefinite);
    if (pushes) {
      x.push();
      x.set(0, indefinite);
    }
    return 0;
  }
  const f = x.get(0);
  let result: Float;
  let second: Float = finite(0, 1n, 0);
  if (isNan(f)) second = result = x.nan(f);
  else if (isInfinite(f)) second = result = invalid(x);
  else if (isZero(f)) result = op === X87Op.cosine ? finite(0, 1n, 0) : f;
  else {
    if (leading(f) >= 63) {
      // Out of range: nothing is done.
      x.setCodes(kept | Fsw.c2);
      return 0;
    }
    x.noteDenormal(f);
    const angle = reduce(f);
    if (op === X87Op.sine) result = sine(x, f, angle);
    else if (op === X87Op.cosine) result = cosine(x, angle);
    else if (op === X87Op.tangent) result = tangent(x, f, angle);
    else {
      second = cosine(x, angle);
      result = sine(x, f, angle);
    }
  }
  if (x.record()) return 0;
  x.set(0, result);
  if (pushes) {
    x.push();
    x.set(0, second);
  }
  return 0;
}

/** |f| = quadrant * pi/2 + rest, 0 <= rest <= pi/4 or its complement (`fromEnd`: pi/2 - rest), as fixed point. */
interface Angle {
  readonly quadrant: number;
  readonly rest: bigint;
  readonly fromEnd: boolean;
}
function reduce(f: Float): Angle {
  const half = PI66 << BigInt(F - PI66_FRACTION - 1);
  const value = fixed(f);
  const quadrant = Number((value / half) & 3n);
  const rest = value % half;
  const fromEnd = rest * 2n > half;
  return { quadrant, rest: fromEnd ? half - rest : rest, fromEnd };
}
function sine(x: X87State, f: Float, { quadrant, rest, fromEnd }: Angle): Float {
  // The first terms decide for tiny ones: a little less than the operand.
  if (leading(f) < TINY) return rounded(x, f.sign, (f.significand << 130n) - 1n, f.exponent - 130);
  const value = (quadrant & 1) === (fromEnd ? 1 : 0) ? sineSeries(rest) : cosineSeries(rest);
  return rounded(x, (f.sign ^ (quadrant >> 1)) as 0 | 1, value);
}
function cosine(x: X87State, { quadrant, rest, fromEnd }: Angle): Float {
  const value = (quadrant & 1) === (fromEnd ? 1 : 0) ? cosineSeries(rest) : sineSeries(rest);
  const sign = quadrant === 1 || quadrant === 2 ? 1 : 0;
  // A little less than 1 where the angle is too small to see.
  return rounded(x, sign, value >= ONE ? ONE - 1n : value);
}
function tangent(x: X87State, f: Float, { quadrant, rest, fromEnd }: Angle): Float {
  if (leading(f) < TINY) return rounded(x, f.sign, (f.significand << 130n) + 1n, f.exponent - 130);
  const [s, c] = [sineSeries(rest), cosineSeries(rest)];
  const plain = (quadrant & 1) === (fromEnd ? 1 : 0);
  const value = plain ? (s << BITS) / c : (c << BITS) / s;
  return rounded(x, (f.sign ^ (quadrant & 1)) as 0 | 1, value);
}
