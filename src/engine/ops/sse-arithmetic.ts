/**
 * SSE and SSE2 arithmetic and comparisons.
 *
 * The fast path is WebAssembly's own arithmetic, taken only where it gives the processor's bits and flags: operands normal or zero, result
 * normal (or an exact zero), round to nearest, every exception masked. What is left is the inexact flag. It is sticky, so once it is set there is
 * nothing to find out; before that the rounding error is computed exactly (Knuth's sum, Dekker's product with Veltkamp's split), in a range
 * where that cannot overflow or lose bits. Everything else goes to soft/sse.ts.
 *
 * A scalar row works on vectors of its one lane everywhere, so packed and scalar rows are the same code.
 */
import type { Ctx } from "../ctx.ts";
import type { I32, Label, Local, V128 } from "../emitter.ts";
import { Vector } from "../exits.ts";
import { setFromImage } from "../flags.ts";
import { State } from "../layout.ts";
import { Service } from "../service-numbers.ts";
import { SseOp, sseArgument } from "../soft/sse.ts";
import { V128Op } from "../wasm-simd.ts";
import { doubleLanes, LaneMath, type Lanes, singleLanes } from "./lane-math.ts";
import type { OperandName, RowSpec } from "./row.ts";
import { MXCSR, setVector, sse, vector } from "./vector-operand.ts";
import { vendorSpecific } from "./vendor-specific.ts";

/** Rounding control, all exception masks: and their value when the fast path may be taken. */
const CONTROLS = 0x7f80;
const DEFAULT_CONTROLS = 0x1f80;
const INEXACT = 0x20;

function mxcsr(c: Ctx): I32 {
  return c.state32(MXCSR);
}
/** Goes to `slow` unless rounding is to nearest, every exception masked, and the other MXCSR bits clear. */
export function needDefaultControls(c: Ctx, slow: Label, others = 0): void {
  const { e } = c;
  e.brIf(slow, e.i32.ne(e.i32.and(mxcsr(c), e.i32.const(CONTROLS | others)), e.i32.const(DEFAULT_CONTROLS)));
}
export function setInexact(c: Ctx): void {
  c.setState32(MXCSR, () => c.e.i32.or(mxcsr(c), c.e.i32.const(INEXACT)));
}

/** `fast` may leave by its label; then `slow` runs. */
export function fastOrSlow(c: Ctx, fast: (slow: Label) => void, slow: () => void): void {
  const { e } = c;
  e.block((done) => {
    e.block((toSlow) => {
      fast(toSlow);
      e.br(done);
    });
    slow();
  });
}

/** Puts operands where soft/sse.ts looks for them, calls it and raises #XM if it says so. Returns the local with its result. */
export function callSoft(c: Ctx, a: Local<V128> | undefined, b: Local<V128>, argument: () => I32): Local<I32> {
  const { e } = c;
  if (a !== undefined) e.v128.store(e.get(c.s), e.get(a), State.floatA);
  e.v128.store(e.get(c.s), e.get(b), State.floatB);
  const result = c.let32(e.call<I32>(c.helpers.service, e.get(c.s), e.i32.const(Service.sse), argument()));
  c.raiseIf(e.i32.and(e.get(result), e.i32.const(1)), Vector.simd);
  return result;
}
/** The vector that soft/sse.ts left. */
export function softResult(c: Ctx): V128 {
  return c.e.v128.load(c.e.get(c.s), State.floatA);
}

/** Lane 0 of `_low` with the other lanes of `_rest`, or all of `_low` in packed rows. */
function merged(c: Ctx, lanes: Lanes, scalar: boolean, low: Local<V128>, rest: Local<V128>): Local<V128> {
  if (!scalar) return low;
  const bytes = lanes.isDouble ? 8 : 4;
  const pattern = Array.from({ length: 16 }, (_, i) => (i < bytes ? i : 16 + i));
  return c.letV(c.e.v128.shuffle(c.e.get(low), c.e.get(rest), pattern));
}

type Arithmetic = "add" | "sub" | "mul" | "div" | "sqrt";

const arithmetic = (name: Arithmetic, lanes: Lanes, scalar: boolean) => (c: Ctx) => {
  const { e } = c;
  const m = new LaneMath(c, lanes);
  const source = c.letV(vector(c, 1));
  const target = c.letV(vector(c, 0));
  const b = scalar ? m.splat(e.get(source)) : source;
  const a = name === "sqrt" ? b : scalar ? m.splat(e.get(target)) : target;
  const r =
    name === "sqrt"
      ? c.letV(e.v128.unary(lanes.op.sqrt, e.get(b)))
      : c.letV(e.v128.binary(lanes.op[name], e.get(a), e.get(b)));
  const { least, greatest, small, large } = lanes;
  fastOrSlow(
    c,
    (slow) => {
      needDefaultControls(c, slow);
      e.brIf(slow, e.i32.eqz(m.all(usable())));
      e.if(e.i32.eqz(e.i32.and(mxcsr(c), e.i32.const(INEXACT))), () => {
        e.brIf(slow, e.i32.eqz(m.all(measurable())));
        e.if(e.v128.toI32(V128Op.anyTrue, lost()), () => setInexact(c));
      });
      setVector(c, 0, merged(c, lanes, scalar, r, target));
    },
    () => {
      callSoft(c, target, source, () =>
        e.i32.const(sseArgument(SseOp[name], lanes.isDouble, scalar ? 1 : lanes.count)),
      );
      setVector(c, 0, c.letV(softResult(c)));
    },
  );

  /** Where the result has the right bits and no flag but inexact. A least normal result may have been tiny before rounding. */
  function usable(): V128 {
    const normalResult = (): V128 =>
      m.and(m.binary(lanes.op.lt, m.constant(least), m.abs(r)), m.binary(lanes.op.le, m.abs(r), m.constant(greatest)));
    switch (name) {
      case "add":
      case "sub":
        return m.and(m.and(m.plain(a), m.plain(b)), m.plain(r));
      case "mul":
        return m.and(m.and(m.plain(a), m.plain(b)), m.or(normalResult(), m.or(m.isZero(a), m.isZero(b))));
      case "div":
        return m.and(m.and(m.plain(a), m.within(b, least, greatest)), m.or(normalResult(), m.isZero(a)));
      default:
        // A negative operand gives NaN, which is not plain.
        return m.and(m.plain(b), m.plain(r));
    }
  }
  /** Where the rounding error can be computed. */
  function measurable(): V128 {
    const middle = (v: Local<V128>): V128 => m.or(m.within(v, small, large), m.isZero(v));
    switch (name) {
      case "add":
      case "sub":
        // Sums lose nothing below; above, the parts must not overflow.
        return m.and(
          m.binary(lanes.op.le, m.abs(a), m.constant(large)),
          m.binary(lanes.op.le, m.abs(b), m.constant(large)),
        );
      case "mul":
        return m.and(m.and(middle(a), middle(b)), m.or(m.within(r, small, large), m.or(m.isZero(a), m.isZero(b))));
      case "div":
        return m.and(m.and(middle(a), m.within(b, small, large)), middle(r));
      default:
        return middle(b);
    }
  }
  /** Not zero where rounding lost something. */
  function lost(): V128 {
    const nonZero = (_v: V128): V128 => m.binary(lanes.op.ne, _v, e.v128.const(0n, 0n));
    switch (name) {
      case "add":
        return nonZero(m.sumError(a, b, r));
      case "sub": {
        const minusB = c.letV(e.v128.unary(lanes.op.neg, e.get(b)));
        return nonZero(m.sumError(a, minusB, r));
      }
      case "mul":
        return nonZero(m.productError(a, b, r));
      default: {
        // Exact when quotient times divisor, or the root squared, is the operand and that product is exact.
        const factor = name === "div" ? b : r;
        const product = c.letV(m.mul(r, factor));
        const error = c.letV(m.productError(r, factor, product));
        return m.or(
          m.binary(lanes.op.ne, e.get(product), e.get(a)),
          m.binary(lanes.op.ne, e.get(error), e.v128.const(0n, 0n)),
        );
      }
    }
  }
};

/** MINxx and MAXxx: the source where operands are equal. */
const extreme = (name: "min" | "max", lanes: Lanes, scalar: boolean) => (c: Ctx) => {
  const { e } = c;
  const m = new LaneMath(c, lanes);
  const source = c.letV(vector(c, 1));
  const target = c.letV(vector(c, 0));
  const b = scalar ? m.splat(e.get(source)) : source;
  const a = scalar ? m.splat(e.get(target)) : target;
  fastOrSlow(
    c,
    (slow) => {
      e.brIf(slow, e.i32.eqz(m.all(m.and(m.plain(a, true), m.plain(b, true)))));
      const opcode = name === "min" ? lanes.op.pmin : lanes.op.pmax;
      setVector(c, 0, merged(c, lanes, scalar, c.letV(e.v128.binary(opcode, e.get(b), e.get(a))), target));
    },
    () => {
      callSoft(c, target, source, () =>
        e.i32.const(sseArgument(SseOp[name], lanes.isDouble, scalar ? 1 : lanes.count)),
      );
      setVector(c, 0, c.letV(softResult(c)));
    },
  );
};

/** CMPxx: the immediate's low bits are the predicate: equal, less, less or equal, unordered, and their opposites. */
const compare = (lanes: Lanes, scalar: boolean) => (c: Ctx) => {
  const { e } = c;
  const m = new LaneMath(c, lanes);
  const source = c.letV(vector(c, 1));
  const target = c.letV(vector(c, 0));
  const b = scalar ? m.splat(e.get(source)) : source;
  const a = scalar ? m.splat(e.get(target)) : target;
  const predicate = c.let32(e.i32.and(e.i32.wrap(c.immediate()), e.i32.const(7)));
  fastOrSlow(
    c,
    (slow) => {
      e.brIf(slow, e.i32.eqz(m.all(m.and(m.plain(a, true), m.plain(b, true)))));
      const mask = c.letV(e.v128.const(0n, 0n));
      const kind = (n: number, opcode: number): void =>
        e.if(e.i32.eq(e.i32.and(e.get(predicate), e.i32.const(3)), e.i32.const(n)), () =>
          e.set(mask, e.v128.binary(opcode, e.get(a), e.get(b))),
        );
      kind(0, lanes.op.eq);
      kind(1, lanes.op.lt);
      kind(2, lanes.op.le);
      e.if(e.i32.and(e.get(predicate), e.i32.const(4)), () => e.set(mask, e.v128.unary(V128Op.not, e.get(mask))));
      setVector(c, 0, merged(c, lanes, scalar, mask, target));
    },
    () => {
      callSoft(c, target, source, () =>
        e.i32.or(
          e.i32.const(sseArgument(SseOp.compare, lanes.isDouble, scalar ? 1 : lanes.count)),
          e.i32.shl(e.get(predicate), e.i32.const(12)),
        ),
      );
      setVector(c, 0, c.letV(softResult(c)));
    },
  );
};

/** COMISx and UCOMISx: ZF PF CF by the order, the other arithmetic flags 0. */
const compareFlags = (op: SseOp, lanes: Lanes) => (c: Ctx) => {
  const { e } = c;
  const m = new LaneMath(c, lanes);
  const source = c.letV(vector(c, 1));
  const target = c.letV(vector(c, 0));
  const b = m.splat(e.get(source));
  const a = m.splat(e.get(target));
  const image = c.i32();
  fastOrSlow(
    c,
    (slow) => {
      e.brIf(slow, e.i32.eqz(m.all(m.and(m.plain(a, true), m.plain(b, true)))));
      const holds = (opcode: number): I32 => e.v128.toI32(V128Op.anyTrue, e.v128.binary(opcode, e.get(a), e.get(b)));
      e.set(image, e.i32.or(holds(lanes.op.lt), e.i32.shl(holds(lanes.op.eq), e.i32.const(6))));
    },
    () => {
      const result = callSoft(c, target, source, () => e.i32.const(sseArgument(op, lanes.isDouble, 1)));
      e.set(image, e.i32.shrU(e.get(result), e.i32.const(1)));
    },
  );
  setFromImage(c, image);
};

/** RCPxS and RSQRTxS. */
const approximate = (op: SseOp, scalar: boolean) => (c: Ctx) => {
  const source = c.letV(vector(c, 1));
  const target = c.letV(vector(c, 0));
  callSoft(c, target, source, () => c.e.i32.const(sseArgument(op, false, scalar ? 1 : 4)));
  setVector(c, 0, c.letV(softResult(c)));
};

/** The four rows of an operation: packed and scalar, of singles and doubles. */
function family(
  opcode: number,
  name: string,
  emit: (lanes: Lanes, scalar: boolean) => (c: Ctx) => void,
  immediate: readonly OperandName[] = [],
): RowSpec[] {
  const row = (
    suffix: string,
    prefix: RowSpec["prefix"],
    source: OperandName,
    lanes: Lanes,
    scalar: boolean,
  ): RowSpec => ({
    name: name + suffix,
    map: 1,
    opcode,
    prefix: prefix ?? "none",
    unit: "sse",
    operands: ["Vo", source, ...immediate],
    emit: sse(emit(lanes, scalar)),
  });
  return [
    row("ps", "none", "Wo", singleLanes, false),
    row("pd", 0x66, "Wo", doubleLanes, false),
    row("ss", 0xf3, "Wd", singleLanes, true),
    row("sd", 0xf2, "Wq", doubleLanes, true),
  ];
}
const flagsRow = (
  opcode: number,
  name: string,
  prefix: RowSpec["prefix"],
  source: OperandName,
  emit: (c: Ctx) => void,
): RowSpec => ({
  name,
  map: 1,
  opcode,
  prefix: prefix ?? "none",
  unit: "sse",
  operands: ["Vo", source],
  emit: sse(emit),
});

const approximateRow = (opcode: number, name: string, op: SseOp, scalar: boolean): RowSpec => ({
  name,
  map: 1,
  opcode,
  prefix: scalar ? 0xf3 : "none",
  unit: "sse",
  operands: ["Vo", scalar ? "Wd" : "Wo"],
  noVectors: vendorSpecific.has(name),
  emit: sse(approximate(op, scalar)),
});

export const sseArithmeticRows: readonly RowSpec[] = [
  ...family(0x58, "add", (lanes, scalar) => arithmetic("add", lanes, scalar)),
  ...family(0x59, "mul", (lanes, scalar) => arithmetic("mul", lanes, scalar)),
  ...family(0x5c, "sub", (lanes, scalar) => arithmetic("sub", lanes, scalar)),
  ...family(0x5d, "min", (lanes, scalar) => extreme("min", lanes, scalar)),
  ...family(0x5e, "div", (lanes, scalar) => arithmetic("div", lanes, scalar)),
  ...family(0x5f, "max", (lanes, scalar) => extreme("max", lanes, scalar)),
  ...family(0x51, "sqrt", (lanes, scalar) => arithmetic("sqrt", lanes, scalar)),
  ...family(0xc2, "cmp", (lanes, scalar) => compare(lanes, scalar), ["Ib"]),
  flagsRow(0x2e, "ucomiss", "none", "Wd", compareFlags(SseOp.compareQuiet, singleLanes)),
  flagsRow(0x2e, "ucomisd", 0x66, "Wq", compareFlags(SseOp.compareQuiet, doubleLanes)),
  flagsRow(0x2f, "comiss", "none", "Wd", compareFlags(SseOp.compareOrdered, singleLanes)),
  flagsRow(0x2f, "comisd", 0x66, "Wq", compareFlags(SseOp.compareOrdered, doubleLanes)),
  approximateRow(0x53, "rcpps", SseOp.reciprocal, false),
  approximateRow(0x53, "rcpss", SseOp.reciprocal, true),
  approximateRow(0x52, "rsqrtps", SseOp.reciprocalRoot, false),
  approximateRow(0x52, "rsqrtss", SseOp.reciprocalRoot, true),
];
