/** FSCALE, FXTRACT, FPREM and FPREM1: the steps that longer computations are made of. */
import { fromInteger } from "./arithmetic.ts";
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
  RoundingMode,
  round,
  toInteger,
  zero,
} from "./float.ts";
import { Fsw, type X87State } from "./x87-state.ts";

export function scale(x: X87State): number {
  x.setC1(false);
  let result = indefinite;
  if (x.isEmpty(0) || x.isEmpty(1)) x.stackUnderflow();
  else {
    const [a, b] = [x.get(0), x.get(1)];
    if (isNan(a) || isNan(b)) result = x.nan(a, b);
    else result = scaled(x, a, b);
  }
  if (!x.record()) x.set(0, result);
  return 0;
}
function scaled(x: X87State, a: Float, b: Float): Float {
  const { env } = x;
  if (isInfinite(b)) {
    const wrong = b.sign === 0 ? isZero(a) : isInfinite(a);
    if (wrong) {
      env.flags |= FpFlag.invalid;
      return indefinite;
    }
    x.noteDenormal(a);
    if (b.sign === 0) return infinity(a.sign);
    return zero(a.sign);
  }
  x.noteDenormal(a, b);
  if (a.kind !== Kind.finite || isZero(b)) return a;
  const { value } = toInteger(env, b, RoundingMode.zero);
  const by = value > 65536n ? 65536 : value < -65536n ? -65536 : Number(value);
  return round(env, extended, a.sign, a.significand, a.exponent + by);
}

export function extract(x: X87State): number {
  x.setC1(false);
  let [exponent, significand] = [indefinite, indefinite];
  if (x.isEmpty(0)) x.stackUnderflow();
  else if (!x.isEmpty(-1)) x.stackOverflow();
  else {
    const f = x.get(0);
    if (isNan(f)) exponent = significand = x.nan(f);
    else if (isInfinite(f)) [exponent, significand] = [infinity(0), f];
    else if (isZero(f)) {
      x.env.flags |= FpFlag.divideByZero;
      [exponent, significand] = [infinity(1), f];
    } else {
      x.noteDenormal(f);
      const length = bitLength(f.significand);
      exponent = fromInteger(BigInt(f.exponent + length - 1));
      significand = finite(f.sign, f.significand, 1 - length);
    }
  }
  if (x.record()) return 0;
  x.set(0, exponent);
  x.push();
  x.set(0, significand);
  return 0;
}

/** FPREM and FPREM1: the whole remainder when exponents are less than 64 apart, else a step towards it, with C2 set. */
export function remainder(x: X87State, nearest: boolean): number {
  const { env } = x;
  // C0 and C3 are kept unless there is a quotient.
  let codes = x.fsw & (Fsw.c0 | Fsw.c3);
  x.setCodes(codes);
  let result = indefinite;
  if (x.isEmpty(0) || x.isEmpty(1)) x.stackUnderflow();
  else {
    const [a, b] = [x.get(0), x.get(1)];
    if (isNan(a) || isNan(b)) result = x.nan(a, b);
    else if (isInfinite(a) || isZero(b)) env.flags |= FpFlag.invalid;
    else {
      x.noteDenormal(a, b);
      if (isZero(a) || isInfinite(b)) [result, codes] = [a, 0];
      else [result, codes] = reduced(x, a, b, nearest);
    }
  }
  if (x.record()) return 0;
  x.setCodes(codes);
  x.set(0, result);
  return 0;
}
function reduced(x: X87State, a: Float, b: Float, nearest: boolean): [Float, number] {
  const distance = a.exponent + bitLength(a.significand) - b.exponent - bitLength(b.significand);
  const exponent = Math.min(a.exponent, b.exponent);
  const left = a.significand << BigInt(a.exponent - exponent);
  const right = b.significand << BigInt(b.exponent - exponent);
  if (distance >= 64) {
    const step = (distance & 31) | 32;
    const divisor = right << BigInt(distance - step);
    return [exact(x, a.sign, left % divisor, exponent), Fsw.c2];
  }
  let quotient = left / right;
  let rest = left % right;
  let sign = a.sign;
  if (nearest && (rest * 2n > right || (rest * 2n === right && (quotient & 1n) === 1n))) {
    quotient++;
    rest = right - rest;
    sign = sign === 0 ? 1 : 0;
  }
  const low = Number(quotient & 7n);
  const codes = (low & 4 ? Fsw.c0 : 0) | (low & 2 ? Fsw.c3 : 0) | (low & 1 ? Fsw.c1 : 0);
  return [rest === 0n ? zero(a.sign) : exact(x, sign, rest, exponent), codes];
}
function exact(x: X87State, sign: 0 | 1, significand: bigint, exponent: number): Float {
  return significand === 0n ? zero(sign) : round(x.env, extended, sign, significand, exponent);
}
