/**
 * The x87 registers of one vCPU as the software unit works on them: control, status and tag words, the stack, and how exceptions are recorded.
 *
 * Registers are in physical slots R0-R7; ST(i) is R(TOP + i). Tags are kept as FXSAVE has them: one bit each, set when the register is not empty.
 * Invariant: FSW.ES and FSW.B are set exactly when a flag is set whose exception FCW does not mask.
 */
import { Fx, State } from "../layout.ts";
import {
  decodeExtended,
  type Environment,
  encodeExtended,
  extended,
  type Float,
  type Format,
  FpFlag,
  indefinite,
  isNan,
  Kind,
  quieted,
  type RoundingMode,
} from "./float.ts";

/** Status word bits. */
export const Fsw = {
  stackFault: 0x40,
  summary: 0x80,
  c0: 0x100,
  c1: 0x200,
  c2: 0x400,
  c3: 0x4000,
  busy: 0x8000,
} as const;
export const CONDITION_CODES = Fsw.c0 | Fsw.c1 | Fsw.c2 | Fsw.c3;
const TOP_SHIFT = 11;
const TOP_MASK = 7 << TOP_SHIFT;
const EXCEPTIONS = 0x3f;
/** Exponent adjustment of unmasked overflow and underflow (Intel SDM vol. 1, 4.9.1.4). */
const WRAP = 24576;

const FCW = State.fx + Fx.fcw;
const FSW = State.fx + Fx.fsw;
const FTW = State.fx + Fx.ftw;
const ST = State.fx + Fx.st;

/** A register as it stands: 16 bits of sign and exponent, 64 of significand. */
export interface Raw {
  readonly signExponent: number;
  readonly significand: bigint;
}

export class X87State {
  readonly #u8: Uint8Array;
  readonly #u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly big: BigUint64Array;
  /** Address of the vCPU block at work. */
  s = 0;
  readonly env: Environment = { mode: 0, masked: 0, flushToZero: false, bias: 0, flags: 0, roundedUp: false };
  /** Where arithmetic rounds to, by precision control: extended range, 24, 53 or 64 bits. */
  format: Format = extended;

  /** @param bytes of linear memory that hold all vCPU blocks */
  constructor(memory: WebAssembly.Memory, bytes: number) {
    this.#u8 = new Uint8Array(memory.buffer, 0, bytes);
    this.#u16 = new Uint16Array(memory.buffer, 0, bytes / 2);
    this.u32 = new Uint32Array(memory.buffer, 0, bytes / 4);
    this.big = new BigUint64Array(memory.buffer, 0, bytes / 8);
  }

  /** Starts an instruction of the vCPU at `s`. */
  begin(s: number): void {
    this.s = s;
    const fcw = this.fcw;
    const { env } = this;
    env.flags = 0;
    env.roundedUp = false;
    env.mode = ((fcw >> 10) & 3) as RoundingMode;
    env.masked = fcw & EXCEPTIONS;
    env.bias = WRAP;
    this.format = FORMATS[(fcw >> 8) & 3];
  }

  get fcw(): number {
    return this.#u16[(this.s + FCW) >> 1];
  }
  set fcw(value: number) {
    // Bit 6 reads as one, the other reserved bits as zero.
    this.#u16[(this.s + FCW) >> 1] = (value & 0x1f3f) | 0x40;
  }
  get fsw(): number {
    return this.#u16[(this.s + FSW) >> 1];
  }
  set fsw(value: number) {
    this.#u16[(this.s + FSW) >> 1] = value;
  }
  /** A bit a physical register: not empty. */
  get tags(): number {
    return this.#u8[this.s + FTW];
  }
  set tags(value: number) {
    this.#u8[this.s + FTW] = value;
  }
  get top(): number {
    return (this.fsw & TOP_MASK) >> TOP_SHIFT;
  }
  set top(value: number) {
    this.fsw = (this.fsw & ~TOP_MASK) | ((value & 7) << TOP_SHIFT);
  }
  /** Makes ES and B what flags and masks say. */
  updateSummary(): void {
    const pending = this.fsw & ~this.fcw & EXCEPTIONS;
    this.fsw = (this.fsw & ~(Fsw.summary | Fsw.busy)) | (pending !== 0 ? Fsw.summary | Fsw.busy : 0);
  }

  #physical(i: number): number {
    return (this.top + i) & 7;
  }
  isEmpty(i: number): boolean {
    return ((this.tags >> this.#physical(i)) & 1) === 0;
  }
  setEmpty(i: number): void {
    this.tags = this.tags & ~(1 << this.#physical(i));
  }
  raw(i: number): Raw {
    const at = this.s + ST + this.#physical(i) * 16;
    return { signExponent: this.#u16[(at + 8) >> 1], significand: this.big[at >> 3] };
  }
  setRaw(i: number, { signExponent, significand }: Raw): void {
    const physical = this.#physical(i);
    const at = this.s + ST + physical * 16;
    this.big[at >> 3] = significand;
    this.#u16[(at + 8) >> 1] = signExponent;
    this.tags = this.tags | (1 << physical);
  }
  /** Physical register, whatever TOP and tags. */
  slot(n: number): Raw {
    const at = this.s + ST + n * 16;
    return { signExponent: this.#u16[(at + 8) >> 1], significand: this.big[at >> 3] };
  }
  get(i: number): Float {
    const { signExponent, significand } = this.raw(i);
    return decodeExtended(signExponent, significand);
  }
  set(i: number, value: Float): void {
    this.setRaw(i, encodeExtended(value));
  }
  pop(): void {
    this.setEmpty(0);
    this.top = this.top + 1;
  }
  /** Makes room; the new ST(0) has to be set. */
  push(): void {
    this.top = this.top - 1;
  }

  /** C0-C3 as given, the other status bits as they are. */
  setCodes(codes: number): void {
    this.fsw = (this.fsw & ~CONDITION_CODES) | codes;
  }
  setC1(on: boolean): void {
    this.fsw = on ? this.fsw | Fsw.c1 : this.fsw & ~Fsw.c1;
  }

  /**
   * Records the exceptions of this instruction: flags, summary, C1.
   * @returns whether an unmasked one forbids the result to be written. Inexact never does; overflow and underflow do it for memory operands only.
   */
  record(toMemory = false): boolean {
    const { env } = this;
    let flags = env.flags;
    if ((flags & FpFlag.invalid) !== 0) flags &= FpFlag.invalid | Fsw.stackFault;
    else if ((flags & FpFlag.divideByZero) !== 0) flags &= FpFlag.divideByZero;
    else if ((flags & FpFlag.denormal & ~env.masked) !== 0) flags = FpFlag.denormal;
    const unmasked = flags & ~env.masked & EXCEPTIONS;
    const ranged = unmasked & (FpFlag.overflow | FpFlag.underflow);
    // What was not stored was not rounded either.
    if (toMemory && ranged !== 0) flags &= ~FpFlag.inexact;
    this.fsw = this.fsw | flags;
    if (unmasked !== 0) this.fsw = this.fsw | Fsw.summary | Fsw.busy;
    if ((flags & FpFlag.inexact) !== 0) this.setC1(env.roundedUp);
    const before = unmasked & (FpFlag.invalid | FpFlag.divideByZero | FpFlag.denormal);
    return before !== 0 || (toMemory && ranged !== 0);
  }

  /** An empty register was wanted full. C1 is 0. */
  stackUnderflow(): void {
    this.env.flags |= FpFlag.invalid | Fsw.stackFault;
    this.setC1(false);
  }
  /** A full register was wanted empty. C1 is 1. */
  stackOverflow(): void {
    this.env.flags |= FpFlag.invalid | Fsw.stackFault;
    this.setC1(true);
  }
  noteDenormal(...operands: readonly Float[]): void {
    if (operands.some((f) => f.denormal)) this.env.flags |= FpFlag.denormal;
  }

  /** A NaN or unsupported operand made the result: which NaN it is (Intel SDM vol. 1, 4.8.3.5). */
  nan(a: Float, b: Float = a): Float {
    if (a.kind === Kind.unsupported || b.kind === Kind.unsupported) {
      this.env.flags |= FpFlag.invalid;
      return indefinite;
    }
    if (a.kind === Kind.signaling || b.kind === Kind.signaling) this.env.flags |= FpFlag.invalid;
    if (!isNan(a)) return quieted(b);
    if (!isNan(b)) return quieted(a);
    if (a.kind !== b.kind) return a.kind === Kind.quiet ? a : b;
    const [x, y] = [quieted(a), quieted(b)];
    if (x.significand !== y.significand) return x.significand > y.significand ? x : y;
    return x.sign === 0 ? x : y;
  }
}

const FORMATS: readonly Format[] = [
  { ...extended, precision: 24 },
  // Reserved; processors take it as extended.
  extended,
  { ...extended, precision: 53 },
  extended,
];
