/**
 * Conversions between integers and numbers, and between singles and doubles. The common ones have fast paths with WebAssembly's conversions, which round
 * to nearest; when a result is inexact under other controls, and for all that is not a plain number, soft/sse.ts does them.
 */
import type { Ctx } from "../ctx.ts";
import { type F32, type F64, type I32, type I64, type Label, type Local, type V128, ValType } from "../emitter.ts";
import { signExtend } from "../flags.ts";
import { SseOp, sseArgument } from "../soft/sse.ts";
import { F32x4, F64x2, I32x4, V128Op } from "../wasm-simd.ts";
import { LaneMath, singleLanes } from "./lane-math.ts";
import type { OperandName, RowSpec } from "./row.ts";
import { callSoft, fastOrSlow, needDefaultControls, setInexact, softResult } from "./sse-arithmetic.ts";
import { enterMmx, guardX87, setLane, setMmx, setVector, sse, vector } from "./vector-operand.ts";

const DENORMALS_ARE_ZERO = 0x40;

/** When `inexact`: sets the flag, where the controls make the result right; else goes to `slow`. */
function noteInexact(c: Ctx, _inexact: I32, slow: Label): void {
  c.e.if(_inexact, () => {
    needDefaultControls(c, slow, DENORMALS_ARE_ZERO);
    setInexact(c);
  });
}

/** The other lanes of operand 0 stay; lane 0 gets the value's bits. */
function setScalar(c: Ctx, isDouble: boolean, value: Local<I64>): void {
  setLane(c, 0, isDouble ? 8 : 4, 0, value);
}
function setFromSoft(c: Ctx, isDouble: boolean): void {
  setScalar(c, isDouble, c.let64(c.e.v128.extractI64(softResult(c), 0)));
}

/** CVTSI2SS, CVTSI2SD. */
const fromInteger = (isDouble: boolean) => (c: Ctx) => {
  const { e } = c;
  const wide = c.size === 8;
  const value = c.let64(signExtend(e, c.size, c.get(1)));
  if (isDouble && !wide) {
    setScalar(c, true, c.let64(e.i64.reinterpretF64(e.f64.convertI64s(e.get(value)))));
    return;
  }
  const bits = c.i64();
  fastOrSlow(
    c,
    (slow) => {
      // The result as a double, which is exact from a single.
      const result = c.f64();
      if (isDouble) {
        e.set(result, e.f64.convertI64s(e.get(value)));
        e.set(bits, e.i64.reinterpretF64(e.get(result)));
      } else {
        const short = c.frame.temps.take<F32>(ValType.f32);
        e.set(short, e.f32.convertI64s(e.get(value)));
        e.set(bits, e.i64.extendI32u(e.i32.reinterpretF32(e.get(short))));
        e.set(result, e.f64.promote(e.get(short)));
      }
      // Back again: 2^63 saturates, so it is told apart first.
      const inexact = e.i32.or(
        e.f64.eq(e.get(result), e.f64.const(2 ** 63)),
        e.i64.ne(e.i64.truncSatF64s(e.get(result)), e.get(value)),
      );
      noteInexact(c, inexact, slow);
      setScalar(c, isDouble, bits);
    },
    () => {
      callSoft(c, undefined, c.letV(e.v128.splatI64(e.get(value))), () =>
        e.i32.const(sseArgument(SseOp.fromI64, isDouble, 1)),
      );
      setFromSoft(c, isDouble);
    },
  );
};

/** CVT(T)SS2SI, CVT(T)SD2SI. Out of range, the integer indefinite with the invalid flag. */
const toInteger = (isDouble: boolean, cut: boolean) => (c: Ctx) => {
  const { e } = c;
  const wide = c.size === 8;
  const source = c.letV(vector(c, 1));
  const result = c.i64();
  fastOrSlow(
    c,
    (slow) => {
      const x = c.f64();
      const whole = c.f64();
      e.set(x, isDouble ? e.v128.extractF64(e.get(source), 0) : e.f64.promote(e.v128.extractF32(e.get(source), 0)));
      e.set(whole, cut ? e.f64.trunc(e.get(x)) : e.f64.nearest(e.get(x)));
      const least = wide ? -(2 ** 63) : -(2 ** 31);
      e.brIf(
        slow,
        e.i32.eqz(
          e.i32.and(
            e.f64.ge(e.get(whole), e.f64.const(least)),
            wide ? e.f64.lt(e.get(whole), e.f64.const(2 ** 63)) : e.f64.le(e.get(whole), e.f64.const(2 ** 31 - 1)),
          ),
        ),
      );
      e.if(e.f64.ne(e.get(x), e.get(whole)), () => {
        needDefaultControls(c, slow);
        // A denormal is zero and exact under DAZ.
        e.brIf(slow, e.f64.lt(e.f64.abs(e.get(x)), e.f64.const(isDouble ? 2 ** -1022 : 2 ** -126)));
        setInexact(c);
      });
      e.set(result, e.i64.truncSatF64s(e.get(whole)));
    },
    () => {
      const op = cut ? (wide ? SseOp.cutToI64 : SseOp.cutToI32) : wide ? SseOp.toI64 : SseOp.toI32;
      callSoft(c, undefined, source, () => e.i32.const(sseArgument(op, isDouble, 1)));
      e.set(result, e.v128.extractI64(softResult(c), 0));
    },
  );
  c.put(0, result);
};
function noteUnequal(c: Ctx, a: Local<F64>, b: Local<F64>, slow: Label): void {
  noteInexact(c, c.e.f64.ne(c.e.get(a), c.e.get(b)), slow);
}

/** CVTSS2SD: exact for numbers. */
const widen = (c: Ctx) => {
  const { e } = c;
  const m = new LaneMath(c, singleLanes);
  const source = c.letV(vector(c, 1));
  const lane = m.splat(e.get(source));
  fastOrSlow(
    c,
    (slow) => {
      e.brIf(slow, e.i32.eqz(m.all(m.plain(lane, true))));
      const wide = c.letV(e.v128.unary(F64x2.promoteLow, e.get(lane)));
      setScalar(c, true, c.let64(e.v128.extractI64(e.get(wide), 0)));
    },
    () => {
      callSoft(c, undefined, source, () => e.i32.const(sseArgument(SseOp.resize, false, 1)));
      setFromSoft(c, true);
    },
  );
};
/** CVTSD2SS: what comes out as a normal single or zero of zero. */
const narrow = (c: Ctx) => {
  const { e } = c;
  const source = c.letV(vector(c, 1));
  fastOrSlow(
    c,
    (slow) => {
      const x = c.f64();
      const short = c.frame.temps.take<F32>(ValType.f32);
      const back = c.f64();
      e.set(x, e.v128.extractF64(e.get(source), 0));
      e.set(short, e.f32.demote(e.get(x)));
      e.set(back, e.f64.promote(e.get(short)));
      const magnitude = (): F64 => e.f64.abs(e.get(back));
      const normal = e.i32.and(
        e.f64.gt(magnitude(), e.f64.const(2 ** -126)),
        e.f64.le(magnitude(), e.f64.const(3.4028234663852886e38)),
      );
      e.brIf(slow, e.i32.eqz(e.i32.or(normal, e.f64.eq(e.get(x), e.f64.const(0)))));
      noteUnequal(c, x, back, slow);
      setScalar(c, false, c.let64(e.i64.extendI32u(e.i32.reinterpretF32(e.get(short)))));
    },
    () => {
      callSoft(c, undefined, source, () => e.i32.const(sseArgument(SseOp.resize, true, 1)));
      setFromSoft(c, false);
    },
  );
};

/** Four integers to singles, exact or inexact with the flag; two to doubles, always exact. */
const integersToSingles = (c: Ctx) => {
  const { e } = c;
  const source = c.letV(vector(c, 1));
  fastOrSlow(
    c,
    (slow) => {
      const r = c.letV(e.v128.unary(F32x4.convertI32S, e.get(source)));
      const back = e.v128.binary(I32x4.eq, e.v128.unary(I32x4.truncSatF32S, e.get(r)), e.get(source));
      // 2^31 is no integer here, so it came from rounding.
      const exact = e.v128.binary(
        V128Op.and,
        back,
        e.v128.binary(F32x4.lt, e.get(r), e.v128.const(0x4f0000004f000000n, 0x4f0000004f000000n)),
      );
      noteInexact(c, e.i32.eqz(e.v128.toI32(I32x4.allTrue, exact)), slow);
      setVector(c, 0, r);
    },
    () => {
      callSoft(c, undefined, source, () => e.i32.const(sseArgument(SseOp.fromI32, false, 4)));
      setVector(c, 0, c.letV(softResult(c)));
    },
  );
};
const integersToDoubles = (c: Ctx) => {
  const source = c.letV(vector(c, 1));
  setVector(c, 0, c.letV(c.e.v128.unary(F64x2.convertLowI32S, c.e.get(source))));
};
/** CVTTPS2DQ and CVTPS2DQ where every lane is in range. */
const singlesToIntegers = (cut: boolean) => (c: Ctx) => {
  const { e } = c;
  const source = c.letV(vector(c, 1));
  fastOrSlow(
    c,
    (slow) => {
      const whole = c.letV(e.v128.unary(cut ? F32x4.trunc : F32x4.nearest, e.get(source)));
      const limit = (): V128 => e.v128.const(0x4f0000004f000000n, 0x4f0000004f000000n);
      e.brIf(
        slow,
        e.i32.eqz(e.v128.toI32(I32x4.allTrue, e.v128.binary(F32x4.lt, e.v128.unary(F32x4.abs, e.get(whole)), limit()))),
      );
      const unequal = e.v128.binary(F32x4.ne, e.get(whole), e.get(source));
      noteInexact(c, e.v128.toI32(V128Op.anyTrue, unequal), slow);
      setVector(c, 0, c.letV(e.v128.unary(I32x4.truncSatF32S, e.get(whole))));
    },
    () => {
      const op = cut ? SseOp.cutToI32 : SseOp.toI32;
      callSoft(c, undefined, source, () => e.i32.const(sseArgument(op, false, 4)));
      setVector(c, 0, c.letV(softResult(c)));
    },
  );
};

/** CVTPS2PD. */
const widenPacked = (c: Ctx) => {
  const { e } = c;
  const m = new LaneMath(c, singleLanes);
  const source = c.letV(vector(c, 1));
  const pair = c.letV(e.v128.shuffle(e.get(source), e.get(source), [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7]));
  fastOrSlow(
    c,
    (slow) => {
      e.brIf(slow, e.i32.eqz(m.all(m.plain(pair, true))));
      setVector(c, 0, c.letV(e.v128.unary(F64x2.promoteLow, e.get(pair))));
    },
    () => {
      callSoft(c, undefined, source, () => e.i32.const(sseArgument(SseOp.resize, false, 2)));
      setVector(c, 0, c.letV(softResult(c)));
    },
  );
};

/** Two lanes out of 64-bit ones: results in the low half, zeros above. In software. */
const halved = (op: SseOp) => (c: Ctx) => {
  const { e } = c;
  const source = c.letV(vector(c, 1));
  callSoft(c, undefined, source, () => e.i32.const(sseArgument(op, true, 2)));
  setVector(c, 0, c.letV(e.v128.splatI64(e.v128.extractI64(softResult(c), 0))));
  setLane(c, 0, 8, 1, c.let64(e.i64.const(0)));
};

// Between mmx and xmm registers; always in software but for what is exact.

/** CVTPI2PS (low half) and CVTPI2PD (whole). No MMX instructions when their source is memory. */
const fromMmx = (isDouble: boolean) => (c: Ctx) => {
  const { e } = c;
  const source = c.letV(vector(c, 1));
  if (!c.isMemory(1)) enterMmx(c);
  if (isDouble) {
    setVector(c, 0, c.letV(e.v128.unary(F64x2.convertLowI32S, e.get(source))));
    return;
  }
  callSoft(c, undefined, source, () => e.i32.const(sseArgument(SseOp.fromI32, false, 2)));
  setLane(c, 0, 8, 0, c.let64(e.v128.extractI64(softResult(c), 0)));
};
const toMmx = (op: SseOp, isDouble: boolean) => (c: Ctx) => {
  const { e } = c;
  const source = c.letV(vector(c, 1));
  enterMmx(c);
  callSoft(c, undefined, source, () => e.i32.const(sseArgument(op, isDouble, 2)));
  setMmx(c, 0, c.let64(e.v128.extractI64(softResult(c), 0)));
};
const withMmx = (emit: (c: Ctx) => void) => (c: Ctx) => {
  guardX87(c);
  emit(c);
};
/** From memory nothing of the x87 is touched, and so none of its pending exceptions comes up. */
const mmxIfRegister = (emit: (c: Ctx) => void) => (c: Ctx) => (c.isMemory(1) ? sse(emit) : withMmx(emit))(c);

const row = (
  opcode: number,
  prefix: Exclude<RowSpec["prefix"], undefined>,
  name: string,
  operands: readonly OperandName[],
  emit: (c: Ctx) => void,
): RowSpec => ({ name, map: 1, opcode, prefix, unit: "sse", operands, emit: sse(emit) });
const mmxRow = (
  opcode: number,
  prefix: Exclude<RowSpec["prefix"], undefined>,
  name: string,
  operands: readonly OperandName[],
  emit: (c: Ctx) => void,
): RowSpec => ({ name, map: 1, opcode, prefix, unit: "mmx", operands, emit: withMmx(emit) });

export const sseConvertRows: readonly RowSpec[] = [
  row(0x2a, 0xf3, "cvtsi2ss", ["Vo", "Ey"], fromInteger(false)),
  row(0x2a, 0xf2, "cvtsi2sd", ["Vo", "Ey"], fromInteger(true)),
  row(0x2c, 0xf3, "cvttss2si", ["Gy", "Wd"], toInteger(false, true)),
  row(0x2c, 0xf2, "cvttsd2si", ["Gy", "Wq"], toInteger(true, true)),
  row(0x2d, 0xf3, "cvtss2si", ["Gy", "Wd"], toInteger(false, false)),
  row(0x2d, 0xf2, "cvtsd2si", ["Gy", "Wq"], toInteger(true, false)),
  row(0x5a, 0xf3, "cvtss2sd", ["Vo", "Wd"], widen),
  row(0x5a, 0xf2, "cvtsd2ss", ["Vo", "Wq"], narrow),
  row(0x5a, "none", "cvtps2pd", ["Vo", "Wq"], widenPacked),
  row(0x5a, 0x66, "cvtpd2ps", ["Vo", "Wo"], halved(SseOp.resize)),
  row(0x5b, "none", "cvtdq2ps", ["Vo", "Wo"], integersToSingles),
  row(0x5b, 0x66, "cvtps2dq", ["Vo", "Wo"], singlesToIntegers(false)),
  row(0x5b, 0xf3, "cvttps2dq", ["Vo", "Wo"], singlesToIntegers(true)),
  row(0xe6, 0xf3, "cvtdq2pd", ["Vo", "Wq"], integersToDoubles),
  row(0xe6, 0x66, "cvttpd2dq", ["Vo", "Wo"], halved(SseOp.cutToI32)),
  row(0xe6, 0xf2, "cvtpd2dq", ["Vo", "Wo"], halved(SseOp.toI32)),
  { ...mmxRow(0x2a, "none", "cvtpi2ps", ["Vo", "Qq"], fromMmx(false)), emit: mmxIfRegister(fromMmx(false)) },
  { ...mmxRow(0x2a, 0x66, "cvtpi2pd", ["Vo", "Qq"], fromMmx(true)), emit: mmxIfRegister(fromMmx(true)) },
  mmxRow(0x2c, "none", "cvttps2pi", ["Pq", "Wq"], toMmx(SseOp.cutToI32, false)),
  mmxRow(0x2c, 0x66, "cvttpd2pi", ["Pq", "Wo"], toMmx(SseOp.cutToI32, true)),
  mmxRow(0x2d, "none", "cvtps2pi", ["Pq", "Wq"], toMmx(SseOp.toI32, false)),
  mmxRow(0x2d, 0x66, "cvtpd2pi", ["Pq", "Wo"], toMmx(SseOp.toI32, true)),
];
