/**
 * Add, multiply, divide, square root, remainder and compare on numbers that are no NaN: operands exact, results through `round`.
 *
 * NaN operands, and which NaN comes out, differ between SSE and x87 and are the callers'; invalid operations found here give the indefinite.
 */
import {
  bitLength,
  type Environment,
  type Float,
  type Format,
  FpFlag,
  finite,
  indefinite,
  infinity,
  isInfinite,
  isZero,
  negate,
  RoundingMode,
  round,
  zero,
} from "./float.ts";

/** Beyond this distance the smaller operand only decides a rounding. */
const FAR = 200;

function invalid(env: Environment): Float {
  env.flags |= FpFlag.invalid;
  env.roundedUp = false;
  return indefinite;
}

export function add(env: Environment, format: Format, a: Float, b: Float): Float {
  env.roundedUp = false;
  if (isInfinite(a)) return isInfinite(b) && a.sign !== b.sign ? invalid(env) : a;
  if (isInfinite(b)) return b;
  if (isZero(a) && isZero(b)) {
    if (a.sign === b.sign) return a;
    return zero(env.mode === RoundingMode.down ? 1 : 0);
  }
  if (isZero(a)) return round(env, format, b.sign, b.significand, b.exponent);
  if (isZero(b)) return round(env, format, a.sign, a.significand, a.exponent);
  const leadA = a.exponent + bitLength(a.significand);
  const leadB = b.exponent + bitLength(b.significand);
  if (Math.abs(leadA - leadB) > FAR) {
    const [big, small] = leadA > leadB ? [a, b] : [b, a];
    // The big one with room below it, and one unit there for the small one.
    const room = 130;
    const scaled = big.significand << BigInt(room);
    const sum = big.sign === small.sign ? scaled + 1n : scaled - 1n;
    return round(env, format, big.sign, sum, big.exponent - room, false);
  }
  const exponent = Math.min(a.exponent, b.exponent);
  const left = a.significand << BigInt(a.exponent - exponent);
  const right = b.significand << BigInt(b.exponent - exponent);
  if (a.sign === b.sign) return round(env, format, a.sign, left + right, exponent);
  if (left === right) return zero(env.mode === RoundingMode.down ? 1 : 0);
  return left > right
    ? round(env, format, a.sign, left - right, exponent)
    : round(env, format, b.sign, right - left, exponent);
}

export function subtract(env: Environment, format: Format, a: Float, b: Float): Float {
  return add(env, format, a, negate(b));
}

export function multiply(env: Environment, format: Format, a: Float, b: Float): Float {
  env.roundedUp = false;
  const sign = (a.sign ^ b.sign) as 0 | 1;
  if (isInfinite(a) || isInfinite(b)) return isZero(a) || isZero(b) ? invalid(env) : infinity(sign);
  if (isZero(a) || isZero(b)) return zero(sign);
  return round(env, format, sign, a.significand * b.significand, a.exponent + b.exponent);
}

export function divide(env: Environment, format: Format, a: Float, b: Float): Float {
  env.roundedUp = false;
  const sign = (a.sign ^ b.sign) as 0 | 1;
  if (isInfinite(a)) return isInfinite(b) ? invalid(env) : infinity(sign);
  if (isInfinite(b)) return zero(sign);
  if (isZero(b)) {
    if (isZero(a)) return invalid(env);
    env.flags |= FpFlag.divideByZero;
    return infinity(sign);
  }
  if (isZero(a)) return zero(sign);
  const shift = Math.max(0, format.precision + 3 - bitLength(a.significand) + bitLength(b.significand));
  const dividend = a.significand << BigInt(shift);
  const quotient = dividend / b.significand;
  return round(env, format, sign, quotient, a.exponent - b.exponent - shift, quotient * b.significand !== dividend);
}

export function squareRoot(env: Environment, format: Format, a: Float): Float {
  env.roundedUp = false;
  if (isZero(a)) return a;
  if (a.sign === 1) return invalid(env);
  if (isInfinite(a)) return a;
  let shift = Math.max(0, 2 * (format.precision + 3) - bitLength(a.significand));
  if (((a.exponent - shift) & 1) !== 0) shift++;
  const radicand = a.significand << BigInt(shift);
  const root = integerRoot(radicand);
  return round(env, format, 0, root, (a.exponent - shift) / 2, root * root !== radicand);
}

/** Floor of the square root. */
export function integerRoot(n: bigint): bigint {
  if (n < 2n) return n;
  let x = 1n << BigInt((bitLength(n) + 1) >> 1);
  for (;;) {
    const next = (x + n / x) >> 1n;
    if (next >= x) return x;
    x = next;
  }
}

/** -1, 0 or 1. Zeros are equal. */
export function compare(a: Float, b: Float): -1 | 0 | 1 {
  if (isZero(a) && isZero(b)) return 0;
  const signA = isZero(a) ? 0 : a.sign === 0 ? 1 : -1;
  const signB = isZero(b) ? 0 : b.sign === 0 ? 1 : -1;
  if (signA !== signB) return signA < signB ? -1 : 1;
  const magnitude = compareMagnitude(a, b);
  return (signA === 1 ? magnitude : -magnitude) as -1 | 0 | 1;
}
function compareMagnitude(a: Float, b: Float): -1 | 0 | 1 {
  if (isInfinite(a) || isInfinite(b)) {
    const [x, y] = [isInfinite(a) ? 1 : 0, isInfinite(b) ? 1 : 0];
    return x === y ? 0 : x < y ? -1 : 1;
  }
  const leadA = a.exponent + bitLength(a.significand);
  const leadB = b.exponent + bitLength(b.significand);
  if (leadA !== leadB) return leadA < leadB ? -1 : 1;
  const exponent = Math.min(a.exponent, b.exponent);
  const left = a.significand << BigInt(a.exponent - exponent);
  const right = b.significand << BigInt(b.exponent - exponent);
  return left === right ? 0 : left < right ? -1 : 1;
}

/** An integer as a number. */
export function fromInteger(n: bigint): Float {
  return n < 0n ? finite(1, -n, 0) : finite(0, n, 0);
}
