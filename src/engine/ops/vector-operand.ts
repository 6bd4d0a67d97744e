/**
 * Operands of the vector and floating-point rows, and what all of them check first.
 *
 * MMX registers are the low 64 bits of the physical x87 registers: any MMX instruction sets TOP to 0 and all tags to valid, and one that writes a register
 * sets its upper 16 bits to ones (Intel SDM vol. 1, 9.5). A vector instruction with CR0.TS set is #NM before anything else; MMX and waiting x87 instructions
 * raise the pending x87 exception (#MF) next.
 */
import type { Ctx } from "../ctx.ts";
import type { I32, I64, Local, V128 } from "../emitter.ts";
import { Vector } from "../exits.ts";
import { Fx, State } from "../layout.ts";
import { loadSized } from "../sized.ts";
import { kindOf, type Size } from "./row.ts";

const XMM = State.fx + Fx.xmm;
const ST = State.fx + Fx.st;
export const MXCSR = State.fx + Fx.mxcsr;
const FSW = State.fx + Fx.fsw;
const FTW = State.fx + Fx.ftw;
/** FSW: exception summary. */
const SUMMARY = 0x80;

export function guardSse(c: Ctx): void {
  c.raiseIf(c.state32(State.tsFlag), Vector.deviceNotAvailable);
}
/** For waiting x87 instructions and MMX. */
export function guardX87(c: Ctx): void {
  guardSse(c);
  c.raiseIf(c.e.i32.and(c.e.i32.load8u(c.e.get(c.s), FSW), c.e.i32.const(SUMMARY)), Vector.x87);
}

/** What any MMX instruction but EMMS does to the x87 state. */
export function enterMmx(c: Ctx): void {
  const { e } = c;
  e.i32.store16(e.get(c.s), e.i32.and(e.i32.load16u(e.get(c.s), FSW), e.i32.const(~0x3800)), FSW);
  e.i32.store8(e.get(c.s), e.i32.const(0xff), FTW);
}

/** Address base of an xmm register operand; fields are at offset XMM. */
function xmm(c: Ctx, operand: number): I32 {
  return c.e.i32.add(c.e.get(c.s), c.fieldValue(operand));
}
/** REX does not reach MMX registers. */
function mmx(c: Ctx, operand: number): I32 {
  return c.e.i32.add(c.e.get(c.s), c.e.i32.and(c.fieldValue(operand), c.e.i32.const(0x70)));
}
const isMmx = (c: Ctx, operand: number): boolean => "PQN".includes(kindOf(c.row.operands[operand]));

/** Address of the memory operand, which must be aligned to 16 bytes: else #GP(0). */
export function alignedAddress(c: Ctx): Local<I64> {
  const { e } = c;
  const va = c.let64(c.ea());
  c.raiseIf(e.i32.and(e.i32.wrap(e.get(va)), e.i32.const(15)), Vector.generalProtection);
  return va;
}

export type Alignment = "aligned" | "any";

/** The operand as a vector: memory by its size (4 and 8 bytes with zeros above), an xmm register whole, an mmx register with zeros above. */
export function vector(c: Ctx, operand: number, alignment: Alignment = "aligned"): V128 {
  const { e } = c;
  if (c.isMemory(operand)) {
    const bytes = c.operandSize(operand) as number;
    const va = alignment === "aligned" && bytes === 16 ? alignedAddress(c) : c.let64(c.ea());
    const host = c.readAddress(va, bytes);
    if (bytes === 16) return e.v128.load(e.get(host));
    return bytes === 8 ? e.v128.load64Zero(e.get(host)) : e.v128.load32Zero(e.get(host));
  }
  return isMmx(c, operand) ? e.v128.load64Zero(mmx(c, operand), ST) : e.v128.load(xmm(c, operand), XMM);
}

/** A part of an xmm register, or an mmx register (part 0). */
export function laneOf(c: Ctx, operand: number, size: Size, lane = 0): I64 {
  if (isMmx(c, operand)) return loadSized(c.e, size, false, mmx(c, operand), ST + lane * size);
  return loadSized(c.e, size, false, xmm(c, operand), XMM + lane * size);
}
/** Writes 4 or 8 bytes of an xmm register; the rest stays. */
export function setLane(c: Ctx, operand: number, size: 4 | 8, lane: number, value: Local<I64>): void {
  const { e } = c;
  if (size === 8) e.i64.store(xmm(c, operand), e.get(value), XMM + lane * 8);
  else e.i64.store32(xmm(c, operand), e.get(value), XMM + lane * 4);
}
/** The low 4 or 8 bytes, or a 64-bit mmx register, or memory of that size, zero-extended. */
export function low(c: Ctx, operand: number): I64 {
  if (c.isMemory(operand)) return c.loadAt(c.let64(c.ea()), c.operandSize(operand));
  return laneOf(c, operand, c.operandSize(operand));
}

/** Writes a whole xmm register, or an mmx register from the low half. */
export function setVector(c: Ctx, operand: number, value: Local<V128>): void {
  const { e } = c;
  if (isMmx(c, operand)) setMmx(c, operand, c.let64(e.v128.extractI64(e.get(value), 0)));
  else e.v128.store(xmm(c, operand), e.get(value), XMM);
}
/** Writes an mmx register. */
export function setMmx(c: Ctx, operand: number, value: Local<I64>): void {
  const { e } = c;
  enterMmx(c);
  e.i64.store(mmx(c, operand), e.get(value), ST);
  e.i32.store16(mmx(c, operand), e.i32.const(0xffff), ST + 8);
}
/** Writes the low 8 or 4 bytes of an xmm register and zeros above. */
export function setLow(c: Ctx, operand: number, value: Local<I64>): void {
  const { e } = c;
  e.i64.store(xmm(c, operand), e.get(value), XMM);
  e.i64.store(xmm(c, operand), e.i64.const(0), XMM + 8);
}
/** Stores 16 bytes at the memory operand. */
export function storeVector(c: Ctx, va: Local<I64>, value: Local<V128>): void {
  const { e } = c;
  const host = c.modifyAddress(va, 16);
  e.v128.store(e.get(host), e.get(value));
  c.commitIfSplit(host);
}

/** The row's emit behind the checks of its unit. */
export function sse(emit: (c: Ctx) => void): (c: Ctx) => void {
  return (c) => {
    guardSse(c);
    emit(c);
  };
}
export function waiting(emit: (c: Ctx) => void): (c: Ctx) => void {
  return (c) => {
    guardX87(c);
    emit(c);
  };
}
