/** FXSAVE, FXRSTOR, LDMXCSR, STMXCSR (Intel SDM vol. 1, 10.5). */
import type { Ctx } from "../ctx.ts";
import type { I32, I64, Local } from "../emitter.ts";
import { Vector } from "../exits.ts";
import { Fx, State } from "../layout.ts";
import { RecFlag } from "../record.ts";
import { Flag, type RowSpec } from "./row.ts";
import { MXCSR, sse } from "./vector-operand.ts";

const IMAGE = 512;
/** Bytes of the image that the processor writes; the rest is left to software. */
const WRITTEN = 416;
const MXCSR_RESERVED = ~0xffff;

/** Times 16, from R0's slot to the one of ST(i). */
function physical(c: Ctx, i: number): I32 {
  const { e } = c;
  const top = e.i32.shrU(e.i32.load16u(e.get(c.s), State.fx + Fx.fsw), e.i32.const(11));
  return e.i32.shl(e.i32.and(e.i32.add(top, e.i32.const(i)), e.i32.const(7)), e.i32.const(4));
}
function registerSlot(c: Ctx, i: number): I32 {
  return c.e.i32.add(c.e.get(c.s), physical(c, i));
}

/** In the 32-bit form instruction and data pointers have 32 bits each and a selector, which is 0 here. */
const pointerMask = (c: Ctx): bigint => (c.size === 8 ? 0xffff_ffff_ffff_ffffn : 0xffff_ffffn);

/**
 * Address of the image. One that is not aligned to 16 bytes is #GP(0); but #SS(0) if rsp or rbp lead to a first word out of the canonical addresses,
 * and #AC where rflags.AC asks for that and not even this word is aligned.
 */
function imageAddress(c: Ctx): Local<I64> {
  const { e } = c;
  const va = c.let64(c.ea());
  const low = (mask: number): I32 => e.i32.and(e.i32.wrap(e.get(va)), e.i32.const(mask));
  e.if(low(15), () => {
    const last = c.let64(e.i64.add(e.get(va), e.i64.const(3)));
    const isOutside = c.let32(e.i32.or(c.isNotCanonical(va), c.isNotCanonical(last)));
    e.if(e.get(isOutside), () => {
      c.raiseIf(e.i32.and(c.recordFlags(), e.i32.const(RecFlag.stackSegment)), Vector.stackFault);
      c.raise(Vector.generalProtection);
    });
    e.if(low(3), () => c.raiseIf(e.i32.and(c.state32(State.flagsOther), e.i32.const(Flag.AC)), Vector.alignmentCheck));
    c.raise(Vector.generalProtection);
  });
  return va;
}

const fxsave = (c: Ctx) => {
  const { e } = c;
  const va = imageAddress(c);
  const at = c.let64(e.i64.add(e.get(va), e.i64.const(IMAGE - 1)));
  // Both pages before the first byte, the end first. An aligned piece never crosses.
  c.modifyAddress(at, 1);
  c.modifyAddress(va, 16);
  const piece = (offset: number, lo: () => I64, hi: () => I64): void => {
    e.set(at, e.i64.add(e.get(va), e.i64.const(offset)));
    const host = c.modifyAddress(at, 16);
    e.i64.store(e.get(host), lo());
    e.i64.store(e.get(host), hi(), 8);
    c.commitIfSplit(host);
  };
  const state = (offset: number) => (): I64 => c.state64(State.fx + offset);
  const pointer = (offset: number) => (): I64 => e.i64.and(state(offset)(), e.i64.const(pointerMask(c)));
  piece(0, state(0), pointer(Fx.fip));
  piece(16, pointer(Fx.fdp), state(Fx.mxcsr));
  const slot = c.i32();
  for (let i = 0; i < 8; i++) {
    e.set(slot, registerSlot(c, i));
    piece(
      Fx.st + i * 16,
      () => e.i64.load(e.get(slot), State.fx + Fx.st),
      () => e.i64.load16u(e.get(slot), State.fx + Fx.st + 8),
    );
  }
  for (let offset: number = Fx.xmm; offset < WRITTEN; offset += 16) piece(offset, state(offset), state(offset + 8));
};

const fxrstor = (c: Ctx) => {
  const { e } = c;
  const va = imageAddress(c);
  const at = c.let64(e.i64.add(e.get(va), e.i64.const(IMAGE - 1)));
  const hostAt = (offset: number): Local<I32> => {
    e.set(at, e.i64.add(e.get(va), e.i64.const(offset)));
    return c.readAddress(at, 16);
  };
  c.readAddress(at, 1);
  c.readAddress(va, 16);
  const second = hostAt(16);
  c.raiseIf(e.i32.and(e.i32.load(e.get(second), Fx.mxcsr - 16), e.i32.const(MXCSR_RESERVED)), Vector.generalProtection);
  const first = hostAt(0);
  const control = c.let64(e.i64.load(e.get(first)));
  const fip = c.let64(e.i64.and(e.i64.load(e.get(first), 8), e.i64.const(pointerMask(c))));
  const again = hostAt(16);
  c.setState64(State.fx + Fx.fdp, () => e.i64.and(e.i64.load(e.get(again)), e.i64.const(pointerMask(c))));
  c.setState32(State.fx + Fx.mxcsr, () => e.i32.load(e.get(again), 8));
  // FCW bit 6 reads as one, its other reserved bits and byte 5 as zero; FOP has 11 bits.
  c.setState64(State.fx, () =>
    e.i64.or(e.i64.and(e.get(control), e.i64.const(0x07ff_00ff_ffff_1f3fn)), e.i64.const(0x40)),
  );
  c.setState64(State.fx + Fx.fip, () => e.get(fip));
  // FSW's summary and busy bits are what its flags and FCW's masks make them.
  const pending = c.let32(
    e.i32.and(
      e.i32.and(
        e.i32.load16u(e.get(c.s), State.fx + Fx.fsw),
        e.i32.xor(e.i32.load16u(e.get(c.s), State.fx + Fx.fcw), e.i32.const(-1)),
      ),
      e.i32.const(0x3f),
    ),
  );
  e.i32.store16(
    e.get(c.s),
    e.i32.or(
      e.i32.and(e.i32.load16u(e.get(c.s), State.fx + Fx.fsw), e.i32.const(0x7f7f)),
      e.select(e.i32.const(0x8080), e.i32.const(0), e.get(pending)),
    ),
    State.fx + Fx.fsw,
  );
  for (let i = 0; i < 8; i++) {
    const host = hostAt(Fx.st + i * 16);
    const slot = c.let32(registerSlot(c, i));
    e.i64.store(e.get(slot), e.i64.load(e.get(host)), State.fx + Fx.st);
    e.i64.store(e.get(slot), e.i64.load16u(e.get(host), 8), State.fx + Fx.st + 8);
  }
  for (let offset: number = Fx.xmm; offset < WRITTEN; offset += 16) {
    const host = hostAt(offset);
    c.setState64(State.fx + offset, () => e.i64.load(e.get(host)));
    c.setState64(State.fx + offset + 8, () => e.i64.load(e.get(host), 8));
  }
};

const ldmxcsr = (c: Ctx) => {
  const { e } = c;
  const value = c.let32(e.i32.wrap(c.get(0)));
  c.raiseIf(e.i32.and(e.get(value), e.i32.const(MXCSR_RESERVED)), Vector.generalProtection);
  c.setState32(MXCSR, () => e.get(value));
};
const stmxcsr = (c: Ctx) => c.put(0, c.let64(c.e.i64.load32u(c.e.get(c.s), MXCSR)));

export const fxsrRows: readonly RowSpec[] = [
  {
    name: "fxsave",
    map: 1,
    opcode: 0xae,
    digit: 0,
    prefix: "none",
    operands: ["M"],
    sizes: [4, 8],
    unit: "fxsr",
    emit: sse(fxsave),
  },
  {
    name: "fxrstor",
    map: 1,
    opcode: 0xae,
    digit: 1,
    prefix: "none",
    operands: ["M"],
    sizes: [4, 8],
    unit: "fxsr",
    emit: sse(fxrstor),
  },
  {
    name: "ldmxcsr",
    map: 1,
    opcode: 0xae,
    digit: 2,
    prefix: "none",
    operands: ["Md"],
    unit: "sse",
    emit: sse(ldmxcsr),
  },
  {
    name: "stmxcsr",
    map: 1,
    opcode: 0xae,
    digit: 3,
    prefix: "none",
    operands: ["Md"],
    unit: "sse",
    emit: sse(stmxcsr),
  },
];
