/** Multiplication and division, one to three operands. */
import type { Ctx } from "../ctx.ts";
import type { Emitter, I32, I64, Local } from "../emitter.ts";
import { Vector } from "../exits.ts";
import { setCarryOverflow, signExtend, zeroExtend } from "../flags.ts";
import { State } from "../layout.ts";
import { Flag, type RowSpec } from "./row.ts";

const RAX = 0;
const RDX = 2;

/** High half of the unsigned product. */
function multiplyHighUnsigned(c: Ctx, a: Local<I64>, b: Local<I64>): I64 {
  const { e } = c;
  const lowOf = (v: Local<I64>): I64 => zeroExtend(e, 4, e.get(v));
  const highOf = (v: Local<I64>): I64 => e.i64.shrU(e.get(v), e.i64.const(32));
  const t = c.let64(e.i64.shrU(e.i64.mul(lowOf(a), lowOf(b)), e.i64.const(32)));
  e.set(t, e.i64.add(e.i64.mul(highOf(a), lowOf(b)), e.get(t)));
  const u = c.let64(e.i64.add(e.i64.mul(lowOf(a), highOf(b)), lowOf(t)));
  return e.i64.add(e.i64.add(e.i64.mul(highOf(a), highOf(b)), highOf(t)), highOf(u));
}
/** High half of the signed product, from the unsigned one. */
function multiplyHighSigned(c: Ctx, a: Local<I64>, b: Local<I64>): I64 {
  const { e } = c;
  const correction = (x: Local<I64>, y: Local<I64>): I64 => e.i64.and(e.i64.shrS(e.get(x), e.i64.const(63)), e.get(y));
  return e.i64.sub(e.i64.sub(multiplyHighUnsigned(c, a, b), correction(a, b)), correction(b, a));
}

/** CF and OF from an i32 condition; the others, which are undefined, from the low result. */
function overflowFlags(c: Ctx, low: Local<I64>, overflow: Local<I32>): void {
  const { e } = c;
  const bit = (): I64 => e.i64.extendI32u(e.get(overflow));
  setCarryOverflow(c, bit, bit);
  e.set(c.res, signExtend(e, c.size, e.get(low)));
}

/** MUL and IMUL with the accumulator. */
const multiply = (signed: boolean) => (c: Ctx) => {
  const { e, size } = c;
  const b = c.let64(signed ? c.getS(0) : c.get(0));
  const a = c.let64(signed ? c.regS(RAX, size) : c.reg(RAX, size));
  const low = c.let64(e.i64.mul(e.get(a), e.get(b)));
  const overflow = c.i32();
  if (size === 8) {
    const high = c.let64(signed ? multiplyHighSigned(c, a, b) : multiplyHighUnsigned(c, a, b));
    e.set(overflow, e.i64.ne(e.get(high), signed ? e.i64.shrS(e.get(low), e.i64.const(63)) : e.i64.const(0)));
    c.setReg(RAX, low);
    c.setReg(RDX, high);
  } else {
    e.set(overflow, e.i64.ne(e.get(low), signed ? signExtend(e, size, e.get(low)) : zeroExtend(e, size, e.get(low))));
    if (size === 1) c.setReg(RAX, low, 2);
    else {
      c.setReg(RAX, low, size);
      c.setReg(RDX, c.let64(e.i64.shrU(e.get(low), e.i64.const(c.bits))), size);
    }
  }
  overflowFlags(c, low, overflow);
};

/** IMUL r, r/m[, imm]: operands `x` and `y` into operand 0. */
const multiplyInto = (x: number, y: number) => (c: Ctx) => {
  const { e, size } = c;
  const b = c.let64(c.getS(y));
  const a = c.let64(c.getS(x));
  const low = c.let64(e.i64.mul(e.get(a), e.get(b)));
  const overflow = c.i32();
  if (size === 8) e.set(overflow, e.i64.ne(multiplyHighSigned(c, a, b), e.i64.shrS(e.get(low), e.i64.const(63))));
  else e.set(overflow, e.i64.ne(e.get(low), signExtend(e, size, e.get(low))));
  c.put(0, low);
  overflowFlags(c, low, overflow);
};

const divideError = (c: Ctx, condition: I32): void => c.raiseIf(condition, Vector.divideError);

const divide = (signed: boolean) => (c: Ctx) => {
  const { e, size } = c;
  const d = c.let64(signed ? c.getS(0) : c.get(0));
  divideError(c, e.i64.eqz(e.get(d)));
  const q = c.i64();
  const r = c.i64();
  if (size === 8) {
    const high = c.let64(c.reg(RDX));
    const low = c.let64(c.reg(RAX));
    const divider = c.helpers.named.get(signed ? "divideSigned" : "divideUnsigned")!;
    divideError(c, e.i32.eqz(e.call<I32>(divider, e.get(c.s), e.get(high), e.get(low), e.get(d))));
    e.set(q, c.state64(State.hostArg));
    e.set(r, c.state64(State.hostArg + 8));
    c.setReg(RAX, q);
    c.setReg(RDX, r);
    return;
  }
  const n = c.i64();
  if (size === 1) e.set(n, signed ? c.regS(RAX, 2) : c.reg(RAX, 2));
  else {
    e.set(n, e.i64.or(e.i64.shl(c.reg(RDX), e.i64.const(c.bits)), c.reg(RAX, size)));
    if (size === 2) e.set(n, signed ? e.i64.extend32s(e.get(n)) : zeroExtend(e, 4, e.get(n)));
  }
  if (signed) {
    // The one quotient that 64 bits cannot hold.
    if (size === 4)
      divideError(c, e.i32.and(e.i64.eq(e.get(n), e.i64.const(-(1n << 63n))), e.i64.eq(e.get(d), e.i64.const(-1))));
    e.set(q, e.i64.divS(e.get(n), e.get(d)));
    divideError(c, e.i64.ne(e.get(q), signExtend(e, size, e.get(q))));
    e.set(r, e.i64.remS(e.get(n), e.get(d)));
  } else {
    e.set(q, e.i64.divU(e.get(n), e.get(d)));
    divideError(c, e.i64.ne(e.get(q), zeroExtend(e, size, e.get(q))));
    e.set(r, e.i64.remU(e.get(n), e.get(d)));
  }
  if (size === 1) {
    e.set(q, e.i64.or(e.i64.and(e.get(q), e.i64.const(0xff)), e.i64.shl(e.get(r), e.i64.const(8))));
    c.setReg(RAX, q, 2);
    return;
  }
  c.setReg(RAX, q, size);
  c.setReg(RDX, r, size);
};

/** (vcpu, high, low, divisor) -> 1 with quotient and remainder in hostArg, or 0 when the quotient does not fit. */
export function emitDivideUnsigned(
  e: Emitter,
  locals: { s: Local<I32>; high: Local<I64>; low: Local<I64>; d: Local<I64>; i: Local<I32>; top: Local<I64> },
): void {
  const { s, high, low, d, i, top } = locals;
  e.if(e.i64.eqz(e.get(high)), () => {
    e.i64.store(e.get(s), e.i64.divU(e.get(low), e.get(d)), State.hostArg);
    e.i64.store(e.get(s), e.i64.remU(e.get(low), e.get(d)), State.hostArg + 8);
    e.return(e.i32.const(1));
  });
  e.if(e.i64.geU(e.get(high), e.get(d)), () => e.return(e.i32.const(0)));
  // Bit by bit; high stays below d.
  e.set(i, e.i32.const(64));
  e.loop((again) => {
    e.set(top, e.i64.shrS(e.get(high), e.i64.const(63)));
    e.set(high, e.i64.or(e.i64.shl(e.get(high), e.i64.const(1)), e.i64.shrU(e.get(low), e.i64.const(63))));
    e.set(low, e.i64.shl(e.get(low), e.i64.const(1)));
    e.if(e.i32.or(e.i64.ne(e.get(top), e.i64.const(0)), e.i64.geU(e.get(high), e.get(d))), () => {
      e.set(high, e.i64.sub(e.get(high), e.get(d)));
      e.set(low, e.i64.or(e.get(low), e.i64.const(1)));
    });
    e.brIf(again, e.tee(i, e.i32.sub(e.get(i), e.i32.const(1))));
  });
  e.i64.store(e.get(s), e.get(low), State.hostArg);
  e.i64.store(e.get(s), e.get(high), State.hostArg + 8);
  e.i32.const(1);
}

const productFlags = Flag.SF | Flag.ZF | Flag.AF | Flag.PF;
const quotientFlags = Flag.CF | Flag.OF | Flag.SF | Flag.ZF | Flag.AF | Flag.PF;

export const multiplyRows: readonly RowSpec[] = [
  { name: "mul", opcode: 0xf6, digit: 4, operands: ["Eb"], undefinedFlags: productFlags, emit: multiply(false) },
  {
    name: "mul",
    opcode: 0xf7,
    digit: 4,
    operands: ["Ev"],
    undefinedFlags: productFlags,
    hot: ["r8", "m8"],
    emit: multiply(false),
  },
  { name: "imul", opcode: 0xf6, digit: 5, operands: ["Eb"], undefinedFlags: productFlags, emit: multiply(true) },
  { name: "imul", opcode: 0xf7, digit: 5, operands: ["Ev"], undefinedFlags: productFlags, emit: multiply(true) },
  { name: "div", opcode: 0xf6, digit: 6, operands: ["Eb"], undefinedFlags: quotientFlags, emit: divide(false) },
  { name: "div", opcode: 0xf7, digit: 6, operands: ["Ev"], undefinedFlags: quotientFlags, emit: divide(false) },
  { name: "idiv", opcode: 0xf6, digit: 7, operands: ["Eb"], undefinedFlags: quotientFlags, emit: divide(true) },
  { name: "idiv", opcode: 0xf7, digit: 7, operands: ["Ev"], undefinedFlags: quotientFlags, emit: divide(true) },
  {
    name: "imul",
    map: 1,
    opcode: 0xaf,
    operands: ["Gv", "Ev"],
    undefinedFlags: productFlags,
    hot: ["r4", "r8"],
    emit: multiplyInto(0, 1),
  },
  {
    name: "imul",
    opcode: 0x69,
    operands: ["Gv", "Ev", "Iz"],
    undefinedFlags: productFlags,
    hot: ["r4", "r8"],
    emit: multiplyInto(1, 2),
  },
  {
    name: "imul",
    opcode: 0x6b,
    operands: ["Gv", "Ev", "Ib"],
    undefinedFlags: productFlags,
    hot: ["r4", "r8"],
    emit: multiplyInto(1, 2),
  },
];
