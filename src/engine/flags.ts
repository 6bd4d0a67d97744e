/**
 * Lazy flags in generated code: two i64 locals, no branches.
 *
 * `res` is the last result, sign-extended to 64 bits: ZF is res == 0, SF its sign, PF the parity of its low byte. `aux` has CF at bit 63, CF^OF at bit
 * 62, AF at bit 3; for flags that came from elsewhere (popf, sahf) a parity delta in bits 8..15 and a sign delta at bit 0.
 * A carry vector c of an addition or subtraction has the carry out of each bit: its top bit is CF, the one below CF^OF, so aux is two bits of c and AF.
 */
import type { Emitter, I32, I64, Local } from "./emitter.ts";
import type { Size } from "./ops/row.ts";

const CARRY_BITS = 0xc000000000000000n;
const CF = 1n << 63n;

export interface FlagLocals {
  readonly e: Emitter;
  readonly res: Local<I64>;
  readonly aux: Local<I64>;
}

/** Sign-extends the low `size` bytes. */
export function signExtend(e: Emitter, size: Size, v: I64): I64 {
  if (size === 1) return e.i64.extend8s(v);
  if (size === 2) return e.i64.extend16s(v);
  if (size === 4) return e.i64.extend32s(v);
  return v;
}
/** Cuts to the low `size` bytes. */
export function zeroExtend(e: Emitter, size: Size, v: I64): I64 {
  if (size === 8) return v;
  if (size === 4) return e.i64.extendI32u(e.i32.wrap(v));
  return e.i64.and(v, e.i64.const(size === 2 ? 0xffff : 0xff));
}

/** aux from a carry vector that is right in its low `size` bytes. */
function setAuxFromCarry(f: FlagLocals, size: Size, carry: Local<I64>): void {
  const { e } = f;
  if (size === 8) e.set(f.aux, e.i64.and(e.get(carry), e.i64.const(CARRY_BITS | 8n)));
  else
    e.set(
      f.aux,
      e.i64.or(
        e.i64.and(e.i64.shl(e.get(carry), e.i64.const(64 - size * 8)), e.i64.const(CARRY_BITS)),
        e.i64.and(e.get(carry), e.i64.const(8)),
      ),
    );
}

/** Flags of r = a + b (+ carry in). Bits of the three above `size` do not matter; `t` is scratch. */
export function setAddFlags(
  f: FlagLocals,
  size: Size,
  a: Local<I64>,
  b: Local<I64>,
  r: Local<I64>,
  t: Local<I64>,
): void {
  const { e } = f;
  e.set(t, e.i64.or(e.i64.and(e.get(a), e.get(b)), e.i64.and(e.i64.or(e.get(a), e.get(b)), not(e, e.get(r)))));
  setAuxFromCarry(f, size, t);
  e.set(f.res, signExtend(e, size, e.get(r)));
}

/** Flags of r = a - b (- borrow in). */
export function setSubFlags(
  f: FlagLocals,
  size: Size,
  a: Local<I64>,
  b: Local<I64>,
  r: Local<I64>,
  t: Local<I64>,
): void {
  const { e } = f;
  e.set(t, e.i64.or(e.i64.and(not(e, e.get(a)), e.get(b)), e.i64.and(not(e, e.i64.xor(e.get(a), e.get(b))), e.get(r))));
  setAuxFromCarry(f, size, t);
  e.set(f.res, signExtend(e, size, e.get(r)));
}

/** CF, OF and AF 0; the rest from r. */
export function setLogicFlags(f: FlagLocals, size: Size, r: Local<I64>): void {
  const { e } = f;
  e.set(f.res, signExtend(e, size, e.get(r)));
  e.set(f.aux, e.i64.const(0));
}

/** Flags of r = a ± 1: like the addition or subtraction, but CF stays. */
export function setIncDecFlags(f: FlagLocals, size: Size, a: Local<I64>, r: Local<I64>, decrement: boolean): void {
  const { e } = f;
  // OF: the sign goes from 0 to 1 counting up, from 1 to 0 counting down.
  const overflow = (): I64 =>
    e.i64.shrU(
      e.i64.and(
        e.i64.shl(
          decrement ? e.i64.and(e.get(a), not(e, e.get(r))) : e.i64.and(not(e, e.get(a)), e.get(r)),
          e.i64.const(64 - size * 8),
        ),
        e.i64.const(CF),
      ),
      e.i64.const(1),
    );
  const keptCarry = (): I64 =>
    e.i64.and(e.i64.shrS(e.i64.and(e.get(f.aux), e.i64.const(CF)), e.i64.const(1)), e.i64.const(CARRY_BITS));
  e.set(
    f.aux,
    e.i64.or(
      e.i64.xor(keptCarry(), overflow()),
      e.i64.shrU(e.i64.and(e.i64.xor(e.get(a), e.get(r)), e.i64.const(0x10)), e.i64.const(1)),
    ),
  );
  e.set(f.res, signExtend(e, size, e.get(r)));
}

/** aux with CF and OF as given (i64 0 or 1 each) and AF 0, no deltas. The value is pushed in that order. */
export function setCarryOverflow(f: FlagLocals, cf: () => I64, of: () => I64): void {
  const { e } = f;
  e.set(
    f.aux,
    e.i64.xor(
      // CF in both bits, then OF turns the lower one.
      e.i64.and(e.i64.shrS(e.i64.shl(cf(), e.i64.const(63)), e.i64.const(1)), e.i64.const(CARRY_BITS)),
      e.i64.shl(of(), e.i64.const(62)),
    ),
  );
}

/** CF and OF as given, every other flag as it was (rotates). */
export function setCarryOverflowOnly(f: FlagLocals, cf: () => I64, of: () => I64): void {
  const { e } = f;
  e.set(
    f.aux,
    e.i64.or(
      e.i64.and(e.get(f.aux), e.i64.const(0x3fffffffffffffffn)),
      e.i64.xor(
        e.i64.and(e.i64.shrS(e.i64.shl(cf(), e.i64.const(63)), e.i64.const(1)), e.i64.const(CARRY_BITS)),
        e.i64.shl(of(), e.i64.const(62)),
      ),
    ),
  );
}

/** CF as given (i64 0 or 1), everything else as it was. */
export function setCarryOnly(f: FlagLocals, cf: () => I64): void {
  const { e } = f;
  // OF = bit63 ^ bit62 stays when both bits turn together.
  e.set(
    f.aux,
    e.i64.xor(
      e.get(f.aux),
      e.i64.and(
        e.i64.shrS(
          e.i64.shl(e.i64.xor(cf(), e.i64.shrU(e.get(f.aux), e.i64.const(63))), e.i64.const(63)),
          e.i64.const(1),
        ),
        e.i64.const(CARRY_BITS),
      ),
    ),
  );
}

/** ZF as given (i32 0 or 1), everything else as it was. */
export function setZeroOnly(f: FlagLocals, zf: Local<I32>, t: Local<I64>): void {
  const { e } = f;
  // The new result is 0 or 1; sign and parity are carried over in the deltas.
  e.set(t, e.i64.xor(e.i64.shrU(e.get(f.res), e.i64.const(63)), e.i64.and(e.get(f.aux), e.i64.const(1))));
  const parityDelta = (): I64 => e.i64.xor(e.i64.extendI32u(parityOdd(f)), e.i64.extendI32u(e.i32.eqz(e.get(zf))));
  e.set(t, e.i64.or(e.get(t), e.i64.shl(parityDelta(), e.i64.const(8))));
  e.set(f.aux, e.i64.or(e.i64.and(e.get(f.aux), e.i64.const(CARRY_BITS | 8n)), e.get(t)));
  e.set(f.res, e.i64.extendI32u(e.i32.eqz(e.get(zf))));
}

/** i64 0 or 1. */
export function carry(f: FlagLocals): I64 {
  return f.e.i64.shrU(f.e.get(f.aux), f.e.i64.const(63));
}

function parityOdd(f: FlagLocals): I32 {
  const { e } = f;
  return e.i32.and(
    e.i32.popcnt(
      e.i32.and(
        e.i32.xor(e.i32.wrap(e.get(f.res)), e.i32.shrU(e.i32.wrap(e.get(f.aux)), e.i32.const(8))),
        e.i32.const(0xff),
      ),
    ),
    e.i32.const(1),
  );
}

/** The condition of Jcc, SETcc, CMOVcc by its number 0..15, as i32 0 or 1. */
export function condition(f: FlagLocals, number: number): I32 {
  const { e } = f;
  const aux = (): I64 => e.get(f.aux);
  const res = (): I64 => e.get(f.res);
  const signVector = (): I64 => e.i64.xor(res(), e.i64.shl(aux(), e.i64.const(63)));
  const overflowVector = (): I64 => e.i64.xor(aux(), e.i64.shl(aux(), e.i64.const(1)));
  switch (number) {
    case 0:
      return e.i64.ltS(overflowVector(), e.i64.const(0));
    case 1:
      return e.i64.geS(overflowVector(), e.i64.const(0));
    case 2:
      return e.i64.ltS(aux(), e.i64.const(0));
    case 3:
      return e.i64.geS(aux(), e.i64.const(0));
    case 4:
      return e.i64.eqz(res());
    case 5:
      return e.i64.ne(res(), e.i64.const(0));
    case 6:
      return e.i32.or(e.i64.ltS(aux(), e.i64.const(0)), e.i64.eqz(res()));
    case 7:
      return e.i32.and(e.i64.geS(aux(), e.i64.const(0)), e.i64.ne(res(), e.i64.const(0)));
    case 8:
      return e.i64.ltS(signVector(), e.i64.const(0));
    case 9:
      return e.i64.geS(signVector(), e.i64.const(0));
    case 10:
      return e.i32.eqz(parityOdd(f));
    case 11:
      return parityOdd(f);
    case 12:
      return e.i64.ltS(e.i64.xor(signVector(), overflowVector()), e.i64.const(0));
    case 13:
      return e.i64.geS(e.i64.xor(signVector(), overflowVector()), e.i64.const(0));
    case 14:
      return e.i32.or(e.i64.ltS(e.i64.xor(signVector(), overflowVector()), e.i64.const(0)), e.i64.eqz(res()));
    default:
      return e.i32.and(
        e.i64.geS(e.i64.xor(signVector(), overflowVector()), e.i64.const(0)),
        e.i64.ne(res(), e.i64.const(0)),
      );
  }
}

/** The arithmetic flags as an rflags image (i32). */
export function arithmeticImage(f: FlagLocals): I32 {
  const { e } = f;
  const bit = (v: I32, at: number): I32 => e.i32.shl(v, e.i32.const(at));
  return e.i32.or(
    e.i32.or(
      e.i32.or(e.i32.wrap(carry(f)), bit(e.i32.eqz(parityOdd(f)), 2)),
      e.i32.or(
        e.i32.shl(e.i32.and(e.i32.wrap(e.get(f.aux)), e.i32.const(8)), e.i32.const(1)),
        bit(e.i64.eqz(e.get(f.res)), 6),
      ),
    ),
    e.i32.or(bit(condition(f, 8), 7), bit(condition(f, 0), 11)),
  );
}

/** Sets the arithmetic flags from an rflags image. */
export function setFromImage(f: FlagLocals, image: Local<I32>): void {
  const { e } = f;
  const bit = (at: number): I64 =>
    e.i64.extendI32u(e.i32.and(e.i32.shrU(e.get(image), e.i32.const(at)), e.i32.const(1)));
  setCarryOverflow(
    f,
    () => bit(0),
    () => bit(11),
  );
  e.set(
    f.aux,
    e.i64.or(
      e.i64.or(e.get(f.aux), e.i64.shl(bit(4), e.i64.const(3))),
      e.i64.or(bit(7), e.i64.shl(e.i64.xor(bit(2), bit(6)), e.i64.const(8))),
    ),
  );
  e.set(f.res, e.i64.xor(bit(6), e.i64.const(1)));
}

function not(e: Emitter, v: I64): I64 {
  return e.i64.xor(v, e.i64.const(-1));
}
