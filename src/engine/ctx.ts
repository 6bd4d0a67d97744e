/**
 * What a row's `emit` works with: operands, addresses, flags, faults and control flow, for one shape of the row.
 *
 * A shape is emitted in one of two places. Hot shapes are inline in the interpreter loop, with the TLB look-up inline too. Cold ones are functions
 * `(vcpu, record) -> next record` that the loop calls with the flags spilled around; small results mean something else than "next" (`Leave`).
 *
 * Rules for a row: read operands, raise every fault, and only then change state; `put` and `modify` to memory may fault, so they come before any
 * change of a register or flag (`modify`'s callback runs after the fault check, so it may set flags).
 */

import {
  type Emitter,
  type F64,
  type Fn,
  type I32,
  type I64,
  type Label,
  type Local,
  type V128,
  ValType,
  type Value,
} from "./emitter.ts";
import { ExitKind, Vector } from "./exits.ts";
import { condition, type FlagLocals, signExtend, zeroExtend } from "./flags.ts";
import { State } from "./layout.ts";
import { kindOf, operandBytes, type Row, type Size } from "./ops/row.ts";
import { RECORD_BYTES, Rec, RecFlag } from "./record.ts";

/** Access size with the top bits that the slow paths understand. */
export const STACK_ACCESS = 0x10000;

/** One form of a row. */
export interface Shape {
  readonly row: Row;
  readonly size: Size;
  /** Memory form; for relative branches: the target is in another page. */
  readonly memory: boolean;
  readonly locked: boolean;
  /** How an effective address is made: `base` + displacement, or everything. Cold shapes are always `full`. */
  readonly address: "base" | "full";
}

/** What a cold function returns when it is not the next record. */
export const Leave = {
  /** A fault or exit is recorded; rip stays at the instruction, which does not count. */
  at: 0,
  /** Go to `State.jumpTarget`. */
  jump: 1,
  /** An exit is recorded; rip is behind the instruction, which counts. */
  after: 2,
  /** The budget ran out within the instruction; rip and flags stay. */
  again: 3,
  /** As `jump`, then come back to TypeScript at once (a flag like TF wants it). */
  jumpOut: 4,
} as const;

/** Functions of the module that rows call. */
export interface Helpers {
  /** (vcpu, va i64, bytes | STACK_ACCESS) -> host address to read from, 0 on a fault. */
  readHost: Fn;
  /** As readHost, with the TLB tried first. */
  readFast: Fn;
  /** (vcpu, va, bytes) -> host address to read and write; then `commit` when it is the bounce buffer. */
  modifyHost: Fn;
  modifyFast: Fn;
  /** (vcpu, va, bytes, value i64) -> 1, or 0 on a fault. */
  store: Fn;
  storeFast: Fn;
  /** (vcpu): the bounce buffer goes to where it belongs. */
  commit: Fn;
  /** (vcpu, va, access, bytes) -> TLB entry, 0 on a fault. */
  walk: Fn;
  /** (codePage, offset, bytes) */
  invalidate: Fn;
  /** (vcpu) -> record for `State.jumpTarget`, in TypeScript. */
  decode: Fn;
  /** (vcpu) -> f64 */
  readTsc: Fn;
  /** (vcpu, what, argument) -> i32: rare things in TypeScript. */
  service: Fn;
  /** (vcpu, record, row number): the x87 and others that live in functions of their own register here by name. */
  named: ReadonlyMap<string, Fn>;
}

/** The function that code goes to: the loop, or a cold function. */
export interface Frame extends FlagLocals {
  readonly e: Emitter;
  /** vCPU block. */
  readonly s: Local<I32>;
  /** The record. */
  readonly pc: Local<I32>;
  readonly helpers: Helpers;
  readonly temps: Temps;
  /** Only in the loop. */
  readonly loop?: {
    readonly tlb: Local<I32>;
    readonly jumpTarget: Local<I64>;
    readonly fault: Label;
    /** Take the record's direct jump. */
    readonly taken: Label;
    /** Go to `jumpTarget`, which is canonical. */
    readonly jump: Label;
  };
}

/** Scratch locals, reused from shape to shape. */
export class Temps {
  readonly #e: Emitter;
  readonly #pools = new Map<ValType, { locals: Local<Value>[]; used: number }>();
  constructor(e: Emitter) {
    this.#e = e;
  }
  reset(): void {
    for (const pool of this.#pools.values()) pool.used = 0;
  }
  take<T extends Value>(type: ValType): Local<T> {
    let pool = this.#pools.get(type);
    if (pool === undefined) this.#pools.set(type, (pool = { locals: [], used: 0 }));
    if (pool.used === pool.locals.length) pool.locals.push(this.#e.local(type));
    return pool.locals[pool.used++] as Local<T>;
  }
}

export class Ctx implements FlagLocals {
  readonly e: Emitter;
  readonly size: Size;
  readonly row: Row;
  readonly shape: Shape;
  readonly res: Local<I64>;
  readonly aux: Local<I64>;
  readonly s: Local<I32>;
  readonly pc: Local<I32>;
  readonly helpers: Helpers;
  readonly frame: Frame;

  constructor(frame: Frame, shape: Shape) {
    this.frame = frame;
    this.e = frame.e;
    this.s = frame.s;
    this.pc = frame.pc;
    this.res = frame.res;
    this.aux = frame.aux;
    this.helpers = frame.helpers;
    this.shape = shape;
    this.row = shape.row;
    this.size = shape.size;
  }

  get hot(): boolean {
    return this.frame.loop !== undefined;
  }
  get bits(): number {
    return this.size * 8;
  }

  // Locals
  i64(): Local<I64> {
    return this.frame.temps.take(ValType.i64);
  }
  i32(): Local<I32> {
    return this.frame.temps.take(ValType.i32);
  }
  v128(): Local<V128> {
    return this.frame.temps.take(ValType.v128);
  }
  f64(): Local<F64> {
    return this.frame.temps.take(ValType.f64);
  }
  /** The value, in a new local. */
  let64(_v: I64): Local<I64> {
    const l = this.i64();
    this.e.set(l, _v);
    return l;
  }
  let32(_v: I32): Local<I32> {
    const l = this.i32();
    this.e.set(l, _v);
    return l;
  }
  letV(_v: V128): Local<V128> {
    const l = this.v128();
    this.e.set(l, _v);
    return l;
  }

  // The record
  #u8(field: number): I32 {
    return this.e.i32.load8u(this.e.get(this.pc), field);
  }
  recordFlags(): I32 {
    return this.#u8(Rec.flags);
  }
  /** Offset of the instruction behind this one, from `vpage`. */
  #nextOffset(): I64 {
    const { e } = this;
    return e.i64.extendI32u(e.i32.add(e.i32.load16u(e.get(this.pc), Rec.offset), this.#u8(Rec.length)));
  }
  /** rip of the next instruction. */
  nextRip(): I64 {
    const { e } = this;
    return e.i64.add(e.i64.load(e.get(this.s), State.vpage), this.#nextOffset());
  }
  /** rip of this instruction. */
  thisRip(): I64 {
    const { e } = this;
    return e.i64.add(e.i64.load(e.get(this.s), State.vpage), e.i64.load16u(e.get(this.pc), Rec.offset));
  }

  // Operands
  isMemory(operand: number): boolean {
    const kind = kindOf(this.row.operands[operand]!);
    return kind === "M" || kind === "O" || ("EWQ".includes(kind) && this.shape.memory);
  }
  operandSize(operand: number): Size {
    return operandBytes(this.row.operands[operand]!, this.size) as Size;
  }
  /** The record field that names register operand `operand`: the first such is A, the second B. */
  #field(operand: number): number {
    let rank = 0;
    for (let i = 0; i < operand; i++) if (isRegisterField(this.row, i, this.shape.memory)) rank++;
    return rank === 0 ? Rec.regA : Rec.regB;
  }
  /** Address of a general register operand. */
  #register(operand: number): I32 {
    const { e } = this;
    if (kindOf(this.row.operands[operand]!) === "C") return e.i32.add(e.get(this.s), e.i32.const(8));
    return e.i32.add(e.get(this.s), this.#u8(this.#field(operand)));
  }
  /** The operand's raw field: 16 times the number, for xmm and mmx registers; the number for x87 and segment registers. */
  fieldValue(operand: number): I32 {
    return this.#u8(this.#field(operand));
  }

  immediate(): I64 {
    return this.e.i64.load(this.e.get(this.pc), Rec.imm);
  }
  /** Operand value, zero-extended. */
  get(operand: number): I64 {
    return this.#read(operand, false);
  }
  /** Operand value, sign-extended. */
  getS(operand: number): I64 {
    return this.#read(operand, true);
  }
  #read(operand: number, signed: boolean): I64 {
    const { e } = this;
    const size = this.operandSize(operand);
    const spec = this.row.operands[operand]!;
    if (spec === "1" || kindOf(spec) === "I") {
      // Kept zero-extended to the row's operand size.
      return signed ? signExtend(e, this.size, this.immediate()) : this.immediate();
    }
    if (this.isMemory(operand)) return this.loadAt(this.let64(this.ea()), size, signed);
    return loadSized(e, size, signed, this.#register(operand), 0);
  }

  /** Writes the operand. Bits above its size are ignored; a 32-bit register write clears the upper half. */
  put(operand: number, value: Local<I64>): void {
    const size = this.operandSize(operand);
    if (this.isMemory(operand)) {
      this.storeAt(this.let64(this.ea()), size, value);
      return;
    }
    this.#putRegister(this.#register(operand), size, value);
  }
  #putRegister(_address: I32, size: Size, value: Local<I64>): void {
    const { e } = this;
    if (size === 4) e.i64.store(_address, zeroExtend(e, 4, e.get(value)));
    else storeSized(e, size, _address, e.get(value), 0);
  }

  /**
   * Read, change, write. The callback gets the old value (zero-extended) and returns the local with the new one (extra bits are ignored); it must
   * not fault, and runs again when a locked update met another writer, with the flags as before the instruction.
   */
  modify(operand: number, change: (old: Local<I64>) => Local<I64>): void {
    const { e } = this;
    const size = this.operandSize(operand);
    if (!this.isMemory(operand)) {
      const old = this.let64(this.get(operand));
      const value = change(old);
      this.#putRegister(this.#register(operand), size, value);
      return;
    }
    const host = this.modifyAddress(this.let64(this.ea()), size);
    this.modifyAt(host, size, this.shape.locked, change);
  }

  /** The same on a host address from `modifyAddress`. */
  modifyAt(host: Local<I32>, size: Size, atomic: boolean, change: (old: Local<I64>) => Local<I64>): void {
    const { e } = this;
    const old = this.i64();
    if (!atomic) {
      e.set(old, loadSized(e, size, false, e.get(host), 0));
      const value = change(old);
      storeSized(e, size, e.get(host), e.get(value), 0);
      this.commitIfSplit(host);
      return;
    }
    const res = this.let64(e.get(this.res));
    const aux = this.let64(e.get(this.aux));
    e.if(
      e.i32.and(e.get(host), e.i32.const(size - 1)),
      () => {
        // Unaligned: no atomics there; the fence orders it against other threads.
        e.fence();
        e.set(old, loadSized(e, size, false, e.get(host), 0));
        const value = change(old);
        storeSized(e, size, e.get(host), e.get(value), 0);
        this.commitIfSplit(host);
        e.fence();
      },
      () => {
        e.loop((again) => {
          e.set(this.res, e.get(res));
          e.set(this.aux, e.get(aux));
          e.set(old, loadSized(e, size, false, e.get(host), 0));
          const value = change(old);
          const seen =
            size === 8
              ? e.atomic.cmpxchg64(e.get(host), e.get(old), e.get(value))
              : size === 4
                ? e.atomic.cmpxchg32(e.get(host), e.get(old), zeroExtend(e, 4, e.get(value)))
                : size === 2
                  ? e.atomic.cmpxchg16(e.get(host), e.get(old), zeroExtend(e, 2, e.get(value)))
                  : e.atomic.cmpxchg8(e.get(host), e.get(old), zeroExtend(e, 1, e.get(value)));
          e.brIf(again, e.i64.ne(seen, e.get(old)));
        });
      },
    );
  }
  commitIfSplit(host: Local<I32>): void {
    const { e } = this;
    e.if(e.i32.eq(e.get(host), e.i32.add(e.get(this.s), e.i32.const(State.bounce))), () =>
      e.callVoid(this.helpers.commit, e.get(this.s)),
    );
  }

  // Memory
  /**
   * Effective address of the memory operand. `withSegment` false: as LEA gives it. An addend (of bit strings) counts before the address-size prefix
   * cuts.
   */
  ea(withSegment = true, addend?: Local<I64>): I64 {
    const { e } = this;
    const part = (field: number): I64 => e.i64.load(e.i32.add(e.get(this.s), this.#u8(field)));
    const plain = (): I64 => e.i64.add(part(Rec.base), e.i64.load(e.get(this.pc), Rec.disp));
    const simple = (): I64 => (addend === undefined ? plain() : e.i64.add(plain(), e.get(addend)));
    if (this.shape.address === "base") return simple();
    const sum = e.i64.add(simple(), e.i64.shl(part(Rec.index), e.i64.load8u(e.get(this.pc), Rec.scale)));
    if (this.hot) return withSegment ? e.i64.add(sum, part(Rec.segment)) : sum;
    const va = this.i64();
    e.set(va, sum);
    e.if(e.i32.and(this.recordFlags(), e.i32.const(RecFlag.addr32)), () =>
      e.set(va, e.i64.extendI32u(e.i32.wrap(e.get(va)))),
    );
    return withSegment ? e.i64.add(e.get(va), part(Rec.segment)) : e.get(va);
  }

  /** Base of the memory operand's segment: 0 but for FS and GS. */
  segmentBase(): I64 {
    const { e } = this;
    return e.i64.load(e.i32.add(e.get(this.s), this.#u8(Rec.segment)));
  }

  /** Value at an address; leaves by the fault if there is one. */
  loadAt(va: Local<I64>, size: Size, signed = false, stack = false): I64 {
    const { e } = this;
    const host = this.readAddress(va, size, stack);
    return loadSized(e, size, signed, e.get(host), 0);
  }
  /** Host address of `bytes` readable bytes (at most 16) at va. Page-crossing ones are a copy. */
  readAddress(va: Local<I64>, bytes: number, stack = false): Local<I32> {
    const { e } = this;
    const host = this.i32();
    const loop = this.frame.loop;
    const args = bytes | (stack ? STACK_ACCESS : 0);
    if (loop === undefined) {
      e.if(
        e.i32.eqz(e.tee(host, e.call<I32>(this.helpers.readFast, e.get(this.s), e.get(va), e.i32.const(args)))),
        () => this.fault(),
      );
      return host;
    }
    this.#tlbEntry(host, va);
    e.if(
      e.i64.eq(e.i64.load(e.get(host), 0), this.#pageOfLast(va, bytes)),
      () => e.set(host, e.i32.add(e.i32.wrap(e.get(va)), e.i32.load(e.get(host), 24))),
      () =>
        e.brIf(
          loop.fault,
          e.i32.eqz(e.tee(host, e.call<I32>(this.helpers.readHost, e.get(this.s), e.get(va), e.i32.const(args)))),
        ),
    );
    return host;
  }
  /** Host address of `bytes` bytes that may be written; call `commitIfSplit` after writing. Code in them is invalidated already. */
  modifyAddress(va: Local<I64>, bytes: number, stack = false): Local<I32> {
    const { e } = this;
    const host = this.i32();
    const loop = this.frame.loop;
    const args = bytes | (stack ? STACK_ACCESS : 0);
    if (loop === undefined) {
      e.if(
        e.i32.eqz(e.tee(host, e.call<I32>(this.helpers.modifyFast, e.get(this.s), e.get(va), e.i32.const(args)))),
        () => this.fault(),
      );
      return host;
    }
    this.#tlbEntry(host, va);
    e.if(
      e.i64.eq(e.i64.load(e.get(host), 8), this.#pageOfLast(va, bytes)),
      () => e.set(host, e.i32.add(e.i32.wrap(e.get(va)), e.i32.load(e.get(host), 24))),
      () =>
        e.brIf(
          loop.fault,
          e.i32.eqz(e.tee(host, e.call<I32>(this.helpers.modifyHost, e.get(this.s), e.get(va), e.i32.const(args)))),
        ),
    );
    return host;
  }
  /** Stores the low `size` bytes; leaves by the fault if there is one. */
  storeAt(va: Local<I64>, size: Size, value: Local<I64>, stack = false): void {
    const { e } = this;
    const loop = this.frame.loop;
    const args = size | (stack ? STACK_ACCESS : 0);
    if (loop === undefined) {
      e.if(
        e.i32.eqz(e.call<I32>(this.helpers.storeFast, e.get(this.s), e.get(va), e.i32.const(args), e.get(value))),
        () => this.fault(),
      );
      return;
    }
    const entry = this.i32();
    this.#tlbEntry(entry, va);
    e.if(
      e.i64.eq(e.i64.load(e.get(entry), 8), this.#pageOfLast(va, size)),
      () => storeSized(e, size, e.i32.add(e.i32.wrap(e.get(va)), e.i32.load(e.get(entry), 24)), e.get(value), 0),
      () =>
        e.brIf(
          loop.fault,
          e.i32.eqz(e.call<I32>(this.helpers.store, e.get(this.s), e.get(va), e.i32.const(args), e.get(value))),
        ),
    );
  }
  #tlbEntry(into: Local<I32>, va: Local<I64>): void {
    const { e } = this;
    e.set(
      into,
      e.i32.add(
        e.get(this.frame.loop!.tlb),
        e.i32.and(e.i32.shrU(e.i32.wrap(e.get(va)), e.i32.const(7)), e.i32.const(0x3fe0)),
      ),
    );
  }
  /** The page of the last byte: equal to the tag only when all bytes are in one page. */
  #pageOfLast(va: Local<I64>, bytes: number): I64 {
    const { e } = this;
    const last = bytes === 1 ? e.get(va) : e.i64.add(e.get(va), e.i64.const(bytes - 1));
    return e.i64.and(last, e.i64.const(-4096));
  }

  // Registers by number
  reg(n: number, size: Size = 8): I64 {
    return loadSized(this.e, size, false, this.e.get(this.s), n * 8);
  }
  regS(n: number, size: Size): I64 {
    return loadSized(this.e, size, true, this.e.get(this.s), n * 8);
  }
  setReg(n: number, value: Local<I64>, size: Size = 8): void {
    const { e } = this;
    if (size === 4) e.i64.store(e.get(this.s), zeroExtend(e, 4, e.get(value)), n * 8);
    else storeSized(e, size, e.get(this.s), e.get(value), n * 8);
  }
  /** Word, dword and qword of the vCPU block. */
  state32(offset: number): I32 {
    return this.e.i32.load(this.e.get(this.s), offset);
  }
  state64(offset: number): I64 {
    return this.e.i64.load(this.e.get(this.s), offset);
  }
  setState32(offset: number, value: () => I32): void {
    const { e } = this;
    e.i32.store(e.get(this.s), value(), offset);
  }
  setState64(offset: number, value: () => I64): void {
    const { e } = this;
    e.i64.store(e.get(this.s), value(), offset);
  }

  // Stack
  /** Pushes `size` bytes. */
  push(value: Local<I64>, size: Size): void {
    const { e } = this;
    const sp = this.let64(e.i64.sub(this.reg(4), e.i64.const(size)));
    this.storeAt(sp, size, value, true);
    this.setReg(4, sp);
  }

  condition(number: number): I32 {
    return condition(this, number);
  }

  // Leaving
  /** A fault is recorded: leave. */
  fault(): void {
    if (this.frame.loop !== undefined) this.e.br(this.frame.loop.fault);
    else this.leave(Leave.at);
  }
  /** Cold shapes only. */
  leave(how: number): void {
    if (how !== Leave.at && how !== Leave.again) this.#spillFlags();
    this.e.return(this.e.i32.const(how));
  }
  #spillFlags(): void {
    const { e } = this;
    e.i64.store(e.get(this.s), e.get(this.res), State.flagRes);
    e.i64.store(e.get(this.s), e.get(this.aux), State.flagAux);
  }
  /** Raises an exception with an error code; the instruction has no effect. */
  raise(vector: number, errorCode: () => I32 = () => this.e.i32.const(0)): void {
    this.setState32(State.exitKind, () => this.e.i32.const(ExitKind.exception));
    this.setState32(State.exitVector, () => this.e.i32.const(vector));
    this.setState32(State.exitErrorCode, errorCode);
    this.setState32(State.exitLength, () => this.e.i32.const(0));
    this.fault();
  }
  raiseIf(_condition: I32, vector: number): void {
    this.e.if(_condition, () => this.raise(vector));
  }
  /** Leaves the engine for the hypervisor; rip behind the instruction. */
  exitAfter(kind: number): void {
    this.setState32(State.exitKind, () => this.e.i32.const(kind));
    this.leave(Leave.after);
  }
  /** Leaves the engine for the hypervisor; rip at the instruction. */
  exitAt(kind: number): void {
    this.setState32(State.exitKind, () => this.e.i32.const(kind));
    this.setState32(State.exitLength, () => this.#u8(Rec.length));
    this.leave(Leave.at);
  }

  /** #GP(0) unless the address is canonical. */
  checkCanonical(va: Local<I64>): void {
    const { e } = this;
    e.if(e.i64.ne(e.i64.shrS(e.i64.shl(e.get(va), e.i64.const(16)), e.i64.const(16)), e.get(va)), () =>
      this.raise(Vector.generalProtection),
    );
  }
  /** Goes to an address that was checked to be canonical. */
  jumpTo(va: Local<I64>): void {
    const { e } = this;
    const loop = this.frame.loop;
    if (loop !== undefined) {
      e.set(loop.jumpTarget, e.get(va));
      e.br(loop.jump);
      return;
    }
    this.setState64(State.jumpTarget, () => e.get(va));
    this.leave(Leave.jump);
  }
  /** Target of the relative branch. */
  branchTarget(): I64 {
    const { e } = this;
    return e.i64.add(this.state64(State.vpage), e.i64.load(e.get(this.pc), Rec.disp));
  }
  /** Takes the relative branch. Within the page its target is canonical; elsewhere it is checked here. */
  branch(): void {
    const { e } = this;
    const loop = this.frame.loop;
    if (loop !== undefined && !this.shape.memory) {
      e.br(loop.taken);
      return;
    }
    const target = this.let64(this.branchTarget());
    if (this.shape.memory) this.checkCanonical(target);
    this.jumpTo(target);
  }
  /** Ends a cold function that goes on with the next instruction. */
  next(): void {
    const { e } = this;
    this.#spillFlags();
    e.return(e.i32.add(e.get(this.pc), e.i32.const(RECORD_BYTES)));
  }
}

/** Does operand `i` stand in a register field of the record? */
export function isRegisterField(row: Row, i: number, memory: boolean): boolean {
  const kind = kindOf(row.operands[i]!);
  if ("EWQ".includes(kind)) return !memory;
  return "GRZAVUPNTS".includes(kind);
}

export function loadSized(e: Emitter, size: Size, signed: boolean, _address: I32, offset: number): I64 {
  switch (size) {
    case 1:
      return signed ? e.i64.load8s(_address, offset) : e.i64.load8u(_address, offset);
    case 2:
      return signed ? e.i64.load16s(_address, offset) : e.i64.load16u(_address, offset);
    case 4:
      return signed ? e.i64.load32s(_address, offset) : e.i64.load32u(_address, offset);
    default:
      return e.i64.load(_address, offset);
  }
}
export function storeSized(e: Emitter, size: Size, _address: I32, _value: I64, offset: number): void {
  switch (size) {
    case 1:
      return e.i64.store8(_address, _value, offset);
    case 2:
      return e.i64.store16(_address, _value, offset);
    case 4:
      return e.i64.store32(_address, _value, offset);
    default:
      return e.i64.store(_address, _value, offset);
  }
}
