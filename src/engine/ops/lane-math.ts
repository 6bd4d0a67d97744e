/**
 * Vector expressions over the lanes of one floating-point format, and what their rounding lost: Knuth's sum, and Dekker's product with
 * Veltkamp's split. Both are exact only in the range that `small` and `large` mark.
 */
import type { Ctx } from "../ctx.ts";
import type { I32, Local, V128 } from "../emitter.ts";
import { F32x4, F64x2, I32x4, I64x2, V128Op } from "../wasm-simd.ts";

/** Everything that depends on the lanes' format. */
export interface Lanes {
  readonly isDouble: boolean;
  readonly count: 2 | 4;
  readonly op: typeof F32x4 | typeof F64x2;
  readonly allTrue: number;
  /** Least normal and greatest finite number. */
  readonly least: V128Bits;
  readonly greatest: V128Bits;
  /** Operands and results between these, in magnitude, let rounding errors be computed. */
  readonly small: V128Bits;
  readonly large: V128Bits;
  /** 2^(half the precision, rounded up) + 1. */
  readonly splitter: V128Bits;
  readonly splat: readonly number[];
}
type V128Bits = bigint;

const singles = (n: number): bigint => {
  const bits = BigInt(new Uint32Array(new Float32Array([n]).buffer)[0]);
  return bits | (bits << 32n);
};
const doubles = (n: number): bigint => new BigUint64Array(new Float64Array([n]).buffer)[0];

export const singleLanes: Lanes = {
  isDouble: false,
  count: 4,
  op: F32x4,
  allTrue: I32x4.allTrue,
  least: singles(2 ** -126),
  greatest: singles(3.4028234663852886e38),
  small: singles(2 ** -100),
  large: singles(2 ** 100),
  splitter: singles(4097),
  splat: [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3],
};
export const doubleLanes: Lanes = {
  isDouble: true,
  count: 2,
  op: F64x2,
  allTrue: I64x2.allTrue,
  least: doubles(2 ** -1022),
  greatest: doubles(Number.MAX_VALUE),
  small: doubles(2 ** -900),
  large: doubles(2 ** 900),
  splitter: doubles(134217729),
  splat: [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7],
};

/** Vector expressions of one format. */
export class LaneMath {
  readonly c: Ctx;
  readonly lanes: Lanes;
  constructor(c: Ctx, lanes: Lanes) {
    this.c = c;
    this.lanes = lanes;
  }
  constant(bits: V128Bits): V128 {
    return this.c.e.v128.const(bits, bits);
  }
  binary(opcode: number, _a: V128, _b: V128): V128 {
    return this.c.e.v128.binary(opcode, _a, _b);
  }
  add(a: Local<V128>, b: Local<V128>): V128 {
    return this.binary(this.lanes.op.add, this.c.e.get(a), this.c.e.get(b));
  }
  sub(a: Local<V128>, b: Local<V128>): V128 {
    return this.binary(this.lanes.op.sub, this.c.e.get(a), this.c.e.get(b));
  }
  mul(a: Local<V128>, b: Local<V128>): V128 {
    return this.binary(this.lanes.op.mul, this.c.e.get(a), this.c.e.get(b));
  }
  abs(v: Local<V128>): V128 {
    return this.c.e.v128.unary(this.lanes.op.abs, this.c.e.get(v));
  }
  isZero(v: Local<V128>): V128 {
    return this.binary(this.lanes.op.eq, this.c.e.get(v), this.c.e.v128.const(0n, 0n));
  }
  /** Between the bounds in magnitude, both included; false for NaN. */
  within(v: Local<V128>, low: V128Bits, high: V128Bits): V128 {
    const { op } = this.lanes;
    return this.and(
      this.binary(op.ge, this.abs(v), this.constant(low)),
      this.binary(op.le, this.abs(v), this.constant(high)),
    );
  }
  /** Neither NaN nor denormal nor, unless `infinities`, infinite. */
  plain(v: Local<V128>, infinities = false): V128 {
    const { op, least, greatest } = this.lanes;
    const normal = infinities ? this.binary(op.ge, this.abs(v), this.constant(least)) : this.within(v, least, greatest);
    return this.or(normal, this.isZero(v));
  }
  and(_a: V128, _b: V128): V128 {
    return this.binary(V128Op.and, _a, _b);
  }
  or(_a: V128, _b: V128): V128 {
    return this.binary(V128Op.or, _a, _b);
  }
  /** 0 when a lane of the mask is 0. */
  all(_mask: V128): I32 {
    return this.c.e.v128.toI32(this.lanes.allTrue, _mask);
  }
  /** Lane 0 everywhere. */
  splat(_v: V128): Local<V128> {
    const { c, lanes } = this;
    const v = c.letV(_v);
    return c.letV(c.e.v128.shuffle(c.e.get(v), c.e.get(v), lanes.splat));
  }

  /** What a + b lost in rounding to r: 0 where exact (Knuth). */
  sumError(a: Local<V128>, b: Local<V128>, r: Local<V128>): V128 {
    const { c } = this;
    const partB = c.letV(this.sub(r, a));
    const partA = c.letV(this.sub(r, partB));
    const errorB = c.letV(this.sub(b, partB));
    const errorA = c.letV(this.sub(a, partA));
    return this.add(errorA, errorB);
  }
  /** a * b - p where p is the rounded product (Dekker). */
  productError(a: Local<V128>, b: Local<V128>, p: Local<V128>): V128 {
    const { c } = this;
    const [highA, lowA] = this.#split(a);
    const [highB, lowB] = a === b ? [highA, lowA] : this.#split(b);
    const error = c.letV(this.mul(highA, highB));
    c.e.set(error, this.sub(error, p));
    const cross = c.letV(this.mul(highA, lowB));
    c.e.set(error, this.add(error, cross));
    c.e.set(cross, this.mul(lowA, highB));
    c.e.set(error, this.add(error, cross));
    c.e.set(cross, this.mul(lowA, lowB));
    return this.add(error, cross);
  }
  /** Veltkamp's split into two halves. */
  #split(v: Local<V128>): [Local<V128>, Local<V128>] {
    const { c, lanes } = this;
    const t = c.letV(this.binary(lanes.op.mul, c.e.get(v), this.constant(lanes.splitter)));
    const u = c.letV(this.sub(t, v));
    const high = c.letV(this.sub(t, u));
    return [high, c.letV(this.sub(v, high))];
  }
}
