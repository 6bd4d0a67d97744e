/**
 * Binary floating point in software: numbers taken apart, and the one place where results are rounded.
 *
 * A finite number is `significand * 2^exponent` with an exact bigint, so arithmetic on it is exact and every IEEE 754 rule is in `round`. Exceptions are the
 * processor's six flags, with the same bits in MXCSR and in the x87 status word; tininess is detected after rounding, as x86 does.
 */

/** Exception flags (Intel SDM vol. 1, 4.9.1). */
export const FpFlag = { invalid: 1, denormal: 2, divideByZero: 4, overflow: 8, underflow: 16, inexact: 32 } as const;
/** Rounding control. */
export const RoundingMode = { nearest: 0, down: 1, up: 2, zero: 3 } as const;
export type RoundingMode = (typeof RoundingMode)[keyof typeof RoundingMode];

export const Kind = { zero: 0, finite: 1, infinity: 2, quiet: 3, signaling: 4, unsupported: 5 } as const;
export type Kind = (typeof Kind)[keyof typeof Kind];

export interface Float {
  readonly kind: Kind;
  readonly sign: 0 | 1;
  /** Of a NaN: the 64-bit significand of its extended form, so its payload is at the top whatever the format. */
  readonly significand: bigint;
  readonly exponent: number;
  /** It was denormal in its format (pseudo-denormals too). */
  readonly denormal: boolean;
}

export interface Format {
  /** Significand bits, the leading one included. */
  readonly precision: number;
  /** Exponents of the least and the greatest normal number's leading bit. */
  readonly least: number;
  readonly greatest: number;
}
export const single: Format = { precision: 24, least: -126, greatest: 127 };
export const double: Format = { precision: 53, least: -1022, greatest: 1023 };
export const extended: Format = { precision: 64, least: -16382, greatest: 16383 };

/** Control bits that a computation is done under, and the flags that it raises. */
export interface Environment {
  mode: RoundingMode;
  /** Flags whose exception is masked. */
  masked: number;
  /** Tiny results become zero (SSE, with underflow masked). */
  flushToZero: boolean;
  /** Unmasked overflow and underflow give a result with a moved exponent (x87 registers); without it they give none that counts. */
  bias: number;
  flags: number;
  /** The last rounding went away from zero. */
  roundedUp: boolean;
}

const INTEGER_BIT = 1n << 63n;
const QUIET_BIT = 1n << 62n;
const MASK64 = (1n << 64n) - 1n;

const make = (kind: Kind, sign: 0 | 1, significand = 0n, exponent = 0, denormal = false): Float => ({
  kind,
  sign,
  significand,
  exponent,
  denormal,
});
export const zero = (sign: 0 | 1): Float => make(Kind.zero, sign);
export const infinity = (sign: 0 | 1): Float => make(Kind.infinity, sign);
export const finite = (sign: 0 | 1, significand: bigint, exponent: number): Float =>
  significand === 0n ? zero(sign) : make(Kind.finite, sign, significand, exponent);
/** The "real indefinite": what masked invalid operations give. */
export const indefinite: Float = make(Kind.quiet, 1, INTEGER_BIT | QUIET_BIT);

export const isNan = (f: Float): boolean => f.kind >= Kind.quiet;
export const isZero = (f: Float): boolean => f.kind === Kind.zero;
export const isInfinite = (f: Float): boolean => f.kind === Kind.infinity;
export const negate = (f: Float): Float => ({ ...f, sign: f.sign === 0 ? 1 : 0 });
export const withSign = (f: Float, sign: 0 | 1): Float => (f.sign === sign ? f : { ...f, sign });
/** A NaN made quiet. */
export const quieted = (f: Float): Float =>
  f.kind === Kind.signaling ? make(Kind.quiet, f.sign, f.significand | QUIET_BIT) : f;

function nan(sign: 0 | 1, significand: bigint): Float {
  return make((significand & QUIET_BIT) !== 0n ? Kind.quiet : Kind.signaling, sign, significand);
}

/** From the bits of an IEEE format with an implied leading bit. */
function decodeImplied(bits: bigint, fractionBits: number, exponentBits: number, format: Format): Float {
  const sign = Number((bits >> BigInt(fractionBits + exponentBits)) & 1n) as 0 | 1;
  const biased = Number((bits >> BigInt(fractionBits)) & ((1n << BigInt(exponentBits)) - 1n));
  const fraction = bits & ((1n << BigInt(fractionBits)) - 1n);
  if (biased === (1 << exponentBits) - 1) {
    if (fraction === 0n) return infinity(sign);
    return nan(sign, INTEGER_BIT | (fraction << BigInt(63 - fractionBits)));
  }
  if (biased === 0) {
    if (fraction === 0n) return zero(sign);
    return make(Kind.finite, sign, fraction, format.least - fractionBits, true);
  }
  return make(Kind.finite, sign, fraction | (1n << BigInt(fractionBits)), biased - 1 + format.least - fractionBits);
}
export const decodeSingle = (bits: number): Float => decodeImplied(BigInt(bits >>> 0), 23, 8, single);
export const decodeDouble = (bits: bigint): Float => decodeImplied(bits, 52, 11, double);
/** From an 80-bit register. Encodings that x87 processors since the 387 refuse are `unsupported`. */
export function decodeExtended(signExponent: number, significand: bigint): Float {
  const sign = ((signExponent >> 15) & 1) as 0 | 1;
  const biased = signExponent & 0x7fff;
  if (biased === 0) {
    if (significand === 0n) return zero(sign);
    return make(Kind.finite, sign, significand, extended.least - 63, true);
  }
  if ((significand & INTEGER_BIT) === 0n) return make(Kind.unsupported, sign, significand);
  if (biased === 0x7fff) return significand === INTEGER_BIT ? infinity(sign) : nan(sign, significand);
  return make(Kind.finite, sign, significand, biased - 16383 - 63);
}

/** Bits of a number that is representable in the format (as `round` gives it), or of a NaN. */
function encodeImplied(f: Float, fractionBits: number, exponentBits: number, format: Format): bigint {
  const sign = BigInt(f.sign) << BigInt(fractionBits + exponentBits);
  const top = (1n << BigInt(exponentBits)) - 1n;
  switch (f.kind) {
    case Kind.zero:
      return sign;
    case Kind.infinity:
      return sign | (top << BigInt(fractionBits));
    case Kind.finite: {
      const { significand, leading } = normalized(f, format);
      const biased = leading < format.least ? 0 : leading - format.least + 1;
      return sign | (BigInt(biased) << BigInt(fractionBits)) | (significand & ((1n << BigInt(fractionBits)) - 1n));
    }
    default:
      return (
        sign |
        (top << BigInt(fractionBits)) |
        ((f.significand >> BigInt(63 - fractionBits)) & ((1n << BigInt(fractionBits)) - 1n))
      );
  }
}
/** The significand as the format stores it (with its leading bit), and the exponent of the leading bit. */
function normalized(f: Float, format: Format): { significand: bigint; leading: number } {
  const leading = f.exponent + bitLength(f.significand) - 1;
  const unit = Math.max(leading, format.least) - format.precision + 1;
  const shift = f.exponent - unit;
  return { significand: shift >= 0 ? f.significand << BigInt(shift) : f.significand >> BigInt(-shift), leading };
}
export const encodeSingle = (f: Float): number => Number(encodeImplied(f, 23, 8, single));
export const encodeDouble = (f: Float): bigint => encodeImplied(f, 52, 11, double);
export function encodeExtended(f: Float): { signExponent: number; significand: bigint } {
  const sign = f.sign << 15;
  switch (f.kind) {
    case Kind.zero:
      return { signExponent: sign, significand: 0n };
    case Kind.infinity:
      return { signExponent: sign | 0x7fff, significand: INTEGER_BIT };
    case Kind.finite: {
      const { significand, leading } = normalized(f, extended);
      return { signExponent: sign | (leading < extended.least ? 0 : leading + 16383), significand };
    }
    default:
      return { signExponent: sign | 0x7fff, significand: f.significand & MASK64 };
  }
}

export function bitLength(n: bigint): number {
  // By 32-bit words, then within the top one.
  let bits = 0;
  let rest = n;
  while (rest >= 0x1_0000_0000_0000n) {
    const hex = rest.toString(16).length;
    const drop = (hex - 8) * 4;
    rest >>= BigInt(drop);
    bits += drop;
  }
  const small = Number(rest);
  const high = Math.floor(small / 4294967296);
  return bits + (high > 0 ? 64 - Math.clz32(high) : 32 - Math.clz32(small >>> 0));
}

/** `significand / 2^shift` to an integer by the rounding mode; `sticky`: there is something more below. */
function cut(
  significand: bigint,
  shift: number,
  sticky: boolean,
  mode: RoundingMode,
  sign: 0 | 1,
): { value: bigint; inexact: boolean; up: boolean } {
  if (shift <= 0) {
    return { value: significand << BigInt(-shift), inexact: sticky, up: false };
  }
  const by = BigInt(shift);
  const value = significand >> by;
  const rest = significand - (value << by);
  const inexact = rest !== 0n || sticky;
  let up = false;
  if (inexact) {
    if (mode === RoundingMode.nearest) {
      const half = 1n << (by - 1n);
      up = rest > half || (rest === half && (sticky || (value & 1n) === 1n));
    } else up = mode === (sign === 0 ? RoundingMode.up : RoundingMode.down);
  }
  return { value: up ? value + 1n : value, inexact, up };
}

/**
 * Rounds `significand * 2^exponent` (and a bit more when `sticky`, which wants at least two bits beyond the precision) into the format, raises
 * overflow, underflow and inexact in the environment, and gives what a masked response gives.
 */
export function round(
  env: Environment,
  format: Format,
  sign: 0 | 1,
  significand: bigint,
  exponent: number,
  sticky = false,
): Float {
  env.roundedUp = false;
  if (significand === 0n && !sticky) return zero(sign);
  const { precision, least, greatest } = format;
  const length = bitLength(significand);
  const shift = length - precision;
  const wide = cut(significand, shift, sticky, env.mode, sign);
  const carried = wide.value === 1n << BigInt(precision);
  const leading = exponent + length - 1 + (carried ? 1 : 0);
  if (leading > greatest) {
    env.flags |= FpFlag.overflow;
    if ((env.masked & FpFlag.overflow) === 0) {
      if (wide.inexact) env.flags |= FpFlag.inexact;
      env.roundedUp = wide.up;
      if (env.bias === 0) return infinity(sign);
      // Too far even for the moved exponent: infinity.
      if (leading - env.bias > greatest) {
        env.flags |= FpFlag.inexact;
        env.roundedUp = true;
        return infinity(sign);
      }
      return finite(sign, wide.value, exponent + shift - env.bias);
    }
    env.flags |= FpFlag.inexact;
    const away = env.mode === RoundingMode.nearest || env.mode === (sign === 0 ? RoundingMode.up : RoundingMode.down);
    env.roundedUp = away;
    if (away) return infinity(sign);
    return finite(sign, (1n << BigInt(precision)) - 1n, greatest - precision + 1);
  }
  if (leading < least) {
    if ((env.masked & FpFlag.underflow) === 0) {
      env.flags |= FpFlag.underflow;
      if (wide.inexact) env.flags |= FpFlag.inexact;
      env.roundedUp = wide.up;
      if (env.bias === 0) return zero(sign);
      if (leading + env.bias < least) {
        env.flags |= FpFlag.inexact;
        return zero(sign);
      }
      return finite(sign, wide.value, exponent + shift + env.bias);
    }
    if (env.flushToZero) {
      env.flags |= FpFlag.underflow | FpFlag.inexact;
      return zero(sign);
    }
    const unit = least - precision + 1;
    const narrow = cut(significand, unit - exponent, sticky, env.mode, sign);
    if (narrow.inexact) env.flags |= FpFlag.underflow | FpFlag.inexact;
    env.roundedUp = narrow.up;
    return finite(sign, narrow.value, unit);
  }
  if (wide.inexact) env.flags |= FpFlag.inexact;
  env.roundedUp = wide.up;
  return finite(sign, wide.value, exponent + shift);
}

/** To an integer of either sign by a rounding mode; `inexact` when it is another number. Finite numbers and zero only. */
export function toInteger(env: Environment, f: Float, mode: RoundingMode): { value: bigint; inexact: boolean } {
  env.roundedUp = false;
  if (f.kind === Kind.zero) return { value: 0n, inexact: false };
  const { value, inexact, up } = cut(f.significand, -f.exponent, false, mode, f.sign);
  env.roundedUp = up;
  return { value: f.sign === 0 ? value : -value, inexact };
}
