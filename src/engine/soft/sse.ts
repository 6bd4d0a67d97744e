/**
 * SSE and SSE2 arithmetic where the generated fast paths do not go: NaNs, infinities, denormals, results near the borders, other rounding modes, FTZ and
 * DAZ, unmasked exceptions.
 *
 * Operands are in the vCPU's floatA (destination) and floatB (source), the result goes to floatA. Flags collect over all lanes; when an unmasked
 * exception is among them the result does not count and the row raises #XM. Exceptions seen before computing (invalid, denormal, divide by zero),
 * unmasked in any lane, keep those of computing from being recorded (Intel SDM vol. 1, 11.5.2).
 */
import { Fx, State } from "../layout.ts";
import { add, compare, divide, fromInteger, multiply, squareRoot, subtract } from "./arithmetic.ts";
import {
  decodeDouble,
  decodeSingle,
  double,
  type Environment,
  encodeDouble,
  encodeSingle,
  type Float,
  type Format,
  FpFlag,
  isNan,
  isZero,
  Kind,
  quieted,
  RoundingMode,
  round,
  single,
  toInteger,
  zero,
} from "./float.ts";
import { reciprocal, reciprocalRoot } from "./sse-approximate.ts";
import { Cost, surcharge } from "./surcharge.ts";

/** Operations, as the low 8 bits of the argument name them. */
export const SseOp = {
  add: 0,
  sub: 1,
  mul: 2,
  div: 3,
  min: 4,
  max: 5,
  sqrt: 6,
  /** Predicate from bit 12 on; lanes become masks. */
  compare: 7,
  /** UCOMIS and COMIS: the result is the rflags image shifted left by one. */
  compareQuiet: 8,
  compareOrdered: 9,
  /** Integers in floatB to numbers of the argument's width. */
  fromI32: 10,
  fromI64: 11,
  /** Numbers of the argument's width in floatB to integers, by MXCSR's rounding or cut off. */
  toI32: 12,
  toI64: 13,
  cutToI32: 14,
  cutToI64: 15,
  /** From the argument's width to the other one. */
  resize: 16,
  /** RCP and RSQRT of singles in floatB. */
  reciprocal: 17,
  reciprocalRoot: 18,
} as const;
export type SseOp = (typeof SseOp)[keyof typeof SseOp];

/** The service's argument. `lanes`: results (2 lanes of 64 bits at most where 64-bit lanes are on either side). */
export function sseArgument(op: SseOp, isDouble: boolean, lanes: number, predicate = 0): number {
  return op | (isDouble ? 0x100 : 0) | (lanes << 9) | (predicate << 12);
}

const Mxcsr = { daz: 0x40, ftz: 0x8000 } as const;
const BEFORE_COMPUTING = FpFlag.invalid | FpFlag.denormal | FpFlag.divideByZero;
const UNORDERED = 0x45;
const LESS = 1;
const EQUAL = 0x40;
const ORDERED_PREDICATES = 0b01100110;

export class SseUnit {
  readonly #u32: Uint32Array;
  readonly #big: BigUint64Array;
  readonly #env: Environment = { mode: 0, masked: 0, flushToZero: false, bias: 0, flags: 0, roundedUp: false };
  #daz = false;

  /** @param bytes of linear memory that hold all vCPU blocks */
  constructor(memory: WebAssembly.Memory, bytes: number) {
    this.#u32 = new Uint32Array(memory.buffer, 0, bytes / 4);
    this.#big = new BigUint64Array(memory.buffer, 0, bytes / 8);
  }

  /** The `sse` service. Bit 0 of the result: raise #XM. */
  run(s: number, argument: number): number {
    surcharge(this.#u32, s, Cost.simple);
    const mxcsrAt = (s + State.fx + Fx.mxcsr) >> 2;
    const mxcsr = this.#u32[mxcsrAt];
    const env = this.#env;
    env.mode = ((mxcsr >> 13) & 3) as RoundingMode;
    env.masked = (mxcsr >> 7) & 63;
    env.flushToZero = (mxcsr & Mxcsr.ftz) !== 0;
    this.#daz = (mxcsr & Mxcsr.daz) !== 0;
    const op = (argument & 0xff) as SseOp;
    const isDouble = (argument & 0x100) !== 0;
    const lanes = (argument >> 9) & 7;
    let before = 0;
    let after = 0;
    let image = 0;
    // Results of all lanes before any is stored: they may overlap operands of another width.
    const results: bigint[] = [];
    for (let lane = 0; lane < lanes; lane++) {
      env.flags = 0;
      if (op === SseOp.compareQuiet || op === SseOp.compareOrdered)
        image = this.#flagsImage(s, op === SseOp.compareOrdered, isDouble);
      else results.push(this.#lane(s, op, isDouble, lane, argument >> 12));
      before |= env.flags & BEFORE_COMPUTING;
      after |= env.flags & ~BEFORE_COMPUTING;
    }
    const stopped = (before & ~env.masked) !== 0;
    const flags = stopped ? before : before | after;
    this.#u32[mxcsrAt] = mxcsr | flags;
    if ((flags & ~env.masked) !== 0) return 1;
    const wide = resultBytes(op, isDouble) === 8;
    for (let lane = 0; lane < results.length; lane++) {
      if (wide) this.#big[((s + State.floatA) >> 3) + lane] = results[lane];
      else this.#u32[((s + State.floatA) >> 2) + lane] = Number(results[lane]);
    }
    return image << 1;
  }

  /** Result bits of one lane. */
  #lane(s: number, op: SseOp, isDouble: boolean, lane: number, predicate: number): bigint {
    const env = this.#env;
    const format = isDouble ? double : single;
    switch (op) {
      case SseOp.fromI32:
        return encode(
          isDouble,
          this.#rounded(format, fromInteger(BigInt(this.#u32[((s + State.floatB) >> 2) + lane] | 0))),
        );
      case SseOp.fromI64:
        return encode(
          isDouble,
          this.#rounded(format, fromInteger(BigInt.asIntN(64, this.#big[((s + State.floatB) >> 3) + lane]))),
        );
      case SseOp.toI32:
        return this.#integer(this.#operand(s, State.floatB, isDouble, lane, false), 32, env.mode);
      case SseOp.toI64:
        return this.#integer(this.#operand(s, State.floatB, isDouble, lane, false), 64, env.mode);
      case SseOp.cutToI32:
        return this.#integer(this.#operand(s, State.floatB, isDouble, lane, false), 32, RoundingMode.zero);
      case SseOp.cutToI64:
        return this.#integer(this.#operand(s, State.floatB, isDouble, lane, false), 64, RoundingMode.zero);
      case SseOp.resize:
        return this.#resize(this.#operand(s, State.floatB, isDouble, lane, true), !isDouble);
      case SseOp.reciprocal:
        return BigInt(reciprocal(this.#u32[((s + State.floatB) >> 2) + lane]));
      case SseOp.reciprocalRoot:
        return BigInt(reciprocalRoot(this.#u32[((s + State.floatB) >> 2) + lane]));
      case SseOp.sqrt: {
        const a = this.#operand(s, State.floatB, isDouble, lane, false);
        if (isNan(a)) return encode(isDouble, this.#nan(a, a));
        if (a.denormal && a.sign === 0) env.flags |= FpFlag.denormal;
        return encode(isDouble, squareRoot(env, format, a));
      }
      default:
    }
    const a = this.#operand(s, State.floatA, isDouble, lane, false);
    const b = this.#operand(s, State.floatB, isDouble, lane, false);
    if (op === SseOp.min || op === SseOp.max) {
      if (isNan(a) || isNan(b)) {
        env.flags |= FpFlag.invalid;
        return encode(isDouble, b);
      }
      this.#noteDenormal(a, b);
      const order = compare(a, b);
      return encode(isDouble, (op === SseOp.min ? order < 0 : order > 0) ? a : b);
    }
    if (op === SseOp.compare) {
      const yes = this.#holds(a, b, predicate & 7);
      return yes ? (isDouble ? 0xffff_ffff_ffff_ffffn : 0xffff_ffffn) : 0n;
    }
    if (isNan(a) || isNan(b)) return encode(isDouble, this.#nan(a, b));
    return encode(isDouble, this.#arithmetic(op, format, a, b));
  }

  #arithmetic(op: SseOp, format: Format, a: Float, b: Float): Float {
    const env = this.#env;
    const operation = op === SseOp.add ? add : op === SseOp.sub ? subtract : op === SseOp.mul ? multiply : divide;
    const result = operation(env, format, a, b);
    // Invalid and divide by zero come before the denormal operand.
    if ((env.flags & (FpFlag.invalid | FpFlag.divideByZero)) === 0) this.#noteDenormal(a, b);
    return result;
  }

  #rounded(format: Format, f: Float): Float {
    return isZero(f) ? f : round(this.#env, format, f.sign, f.significand, f.exponent);
  }

  #resize(f: Float, toDouble: boolean): bigint {
    if (isNan(f)) return encode(toDouble, this.#nan(f, f));
    return encode(toDouble, f.kind === Kind.finite ? this.#rounded(toDouble ? double : single, f) : f);
  }

  #integer(f: Float, bits: 32 | 64, mode: RoundingMode): bigint {
    const env = this.#env;
    const least = -(1n << BigInt(bits - 1));
    if (f.kind <= Kind.finite) {
      const { value, inexact } = toInteger(env, f, mode);
      if (value >= least && value < -least) {
        if (inexact) env.flags |= FpFlag.inexact;
        return BigInt.asUintN(bits, value);
      }
    }
    env.flags |= FpFlag.invalid;
    return BigInt.asUintN(bits, least);
  }

  /** The first operand if it is a NaN, else the second; quiet. */
  #nan(a: Float, b: Float): Float {
    if (a.kind === Kind.signaling || b.kind === Kind.signaling) this.#env.flags |= FpFlag.invalid;
    return quieted(isNan(a) ? a : b);
  }
  #noteDenormal(a: Float, b: Float): void {
    if (a.denormal || b.denormal) this.#env.flags |= FpFlag.denormal;
  }

  #holds(a: Float, b: Float, predicate: number): boolean {
    const negated = predicate >= 4;
    if (isNan(a) || isNan(b)) {
      const signals = a.kind === Kind.signaling || b.kind === Kind.signaling || (ORDERED_PREDICATES >> predicate) & 1;
      if (signals) this.#env.flags |= FpFlag.invalid;
      return ((predicate & 3) === 3) !== negated;
    }
    this.#noteDenormal(a, b);
    const order = compare(a, b);
    const plain = [order === 0, order < 0, order <= 0, false][predicate & 3];
    return plain !== negated;
  }

  #flagsImage(s: number, ordered: boolean, isDouble: boolean): number {
    const a = this.#operand(s, State.floatA, isDouble, 0, false);
    const b = this.#operand(s, State.floatB, isDouble, 0, false);
    if (isNan(a) || isNan(b)) {
      if (ordered || a.kind === Kind.signaling || b.kind === Kind.signaling) this.#env.flags |= FpFlag.invalid;
      return UNORDERED;
    }
    this.#noteDenormal(a, b);
    const order = compare(a, b);
    return order < 0 ? LESS : order === 0 ? EQUAL : 0;
  }

  #operand(s: number, at: number, isDouble: boolean, lane: number, note: boolean): Float {
    const f = isDouble
      ? decodeDouble(this.#big[((s + at) >> 3) + lane])
      : decodeSingle(this.#u32[((s + at) >> 2) + lane]);
    if (!f.denormal) return f;
    if (this.#daz) return zero(f.sign);
    if (note) this.#env.flags |= FpFlag.denormal;
    return f;
  }
}

function encode(isDouble: boolean, f: Float): bigint {
  return isDouble ? encodeDouble(f) : BigInt(encodeSingle(f));
}

/** Bytes of a result lane. */
function resultBytes(op: SseOp, isDouble: boolean): 4 | 8 {
  switch (op) {
    case SseOp.toI32:
    case SseOp.cutToI32:
      return 4;
    case SseOp.toI64:
    case SseOp.cutToI64:
      return 8;
    case SseOp.resize:
      return isDouble ? 4 : 8;
    default:
      return isDouble ? 8 : 4;
  }
}
