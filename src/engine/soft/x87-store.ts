/** x87 stores to memory, in two steps because the memory may fault: what it shall get, and, once it has it, what becomes of the state. */
import { State } from "../layout.ts";
import {
  double,
  encodeDouble,
  encodeExtended,
  encodeSingle,
  FpFlag,
  indefinite,
  isNan,
  Kind,
  round,
  single,
  toInteger,
} from "./float.ts";
import { X87Memory } from "./x87-op.ts";
import { Fsw, type Raw, type X87State } from "./x87-state.ts";

const STORED = 1;
/** Greatest magnitude of a packed decimal: 18 digits. */
const DECIMAL_LIMIT = 10n ** 18n;

/**
 * What memory shall get, in floatA; the state stays until `commitStore`, because the memory may fault. When an unmasked exception forbids the
 * store, memory is not touched at all, and all is done here.
 */
export function storeMemory(x: X87State, memory: X87Memory): number {
  const { env } = x;
  const empty = x.isEmpty(0);
  if (empty) env.flags |= FpFlag.invalid | Fsw.stackFault;
  if (memory === X87Memory.extended) put(x, encodeExtended(indefinite), empty);
  else if (memory === X87Memory.single || memory === X87Memory.double) storeFloat(x, memory, empty);
  else if (memory === X87Memory.decimal) storeDecimal(x, empty);
  else storeInteger(x, memory, empty);
  const unmasked = env.flags & ~env.masked & (FpFlag.invalid | FpFlag.overflow | FpFlag.underflow);
  if (unmasked === 0) return STORED;
  x.setC1(false);
  x.record(true);
  return 0;
}
/** The store that was computed has been done. */
export function commitStore(x: X87State, flags: number, roundedUp: boolean, pop: boolean): number {
  x.env.flags = flags;
  x.env.roundedUp = roundedUp;
  x.setC1(false);
  x.record(true);
  if (pop) x.pop();
  return 0;
}
function put(x: X87State, { signExponent, significand }: Raw, really: boolean): void {
  const at = x.s + State.floatA;
  const raw = really ? { signExponent, significand } : x.raw(0);
  x.big[at >> 3] = raw.significand;
  x.u32[(at + 8) >> 2] = raw.signExponent;
}
function storeFloat(x: X87State, memory: X87Memory, empty: boolean): void {
  const at = x.s + State.floatA;
  const format = memory === X87Memory.single ? single : double;
  const f = empty ? indefinite : x.get(0);
  let value = isNan(f) ? x.nan(f) : f;
  // An unmasked overflow or underflow has no result.
  x.env.bias = 0;
  if (f.kind === Kind.finite) value = round(x.env, format, f.sign, f.significand, f.exponent);
  if (memory === X87Memory.single) x.u32[at >> 2] = encodeSingle(value);
  else x.big[at >> 3] = encodeDouble(value);
}
function storeInteger(x: X87State, memory: X87Memory, empty: boolean): void {
  const bits = memory === X87Memory.int16 ? 16 : memory === X87Memory.int32 ? 32 : 64;
  const least = -(1n << BigInt(bits - 1));
  let result = least;
  if (!empty) {
    const f = x.get(0);
    const whole = f.kind <= Kind.finite ? toInteger(x.env, f, x.env.mode) : undefined;
    if (whole === undefined || whole.value < least || whole.value >= -least) x.env.flags |= FpFlag.invalid;
    else {
      result = whole.value;
      if (whole.inexact) x.env.flags |= FpFlag.inexact;
    }
  }
  x.big[(x.s + State.floatA) >> 3] = BigInt.asUintN(64, result);
}
function storeDecimal(x: X87State, empty: boolean): void {
  let result: Raw = { significand: 0xc000_0000_0000_0000n, signExponent: 0xffff };
  if (!empty) {
    const f = x.get(0);
    const whole = f.kind <= Kind.finite ? toInteger(x.env, f, x.env.mode) : undefined;
    const magnitude = whole === undefined ? DECIMAL_LIMIT : whole.value < 0n ? -whole.value : whole.value;
    if (whole === undefined || magnitude >= DECIMAL_LIMIT) x.env.flags |= FpFlag.invalid;
    else {
      if (whole.inexact) x.env.flags |= FpFlag.inexact;
      const packed = BigInt(`0x${magnitude.toString()}`);
      result = { significand: BigInt.asUintN(64, packed), signExponent: Number(packed >> 64n) | (f.sign << 15) };
    }
  }
  put(x, result, true);
}
