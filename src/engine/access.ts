/**
 * Memory, registers by number, scratch locals and faults in generated code: what a row's context (ctx.ts) stands on.
 *
 * In the loop the TLB look-up is inline and a fault branches out; in a cold function both are calls and a fault returns.
 */
import { type Emitter, type F64, type I32, type I64, type Local, type V128, ValType } from "./emitter.ts";
import { ExitKind } from "./exits.ts";
import { type FlagLocals, zeroExtend } from "./flags.ts";
import { type Frame, type Helpers, Leave, STACK_ACCESS } from "./frame.ts";
import { State } from "./layout.ts";
import type { Size } from "./ops/row.ts";
import { loadSized, storeSized } from "./sized.ts";

export class Access implements FlagLocals {
  readonly e: Emitter;
  readonly res: Local<I64>;
  readonly aux: Local<I64>;
  readonly s: Local<I32>;
  readonly pc: Local<I32>;
  readonly helpers: Helpers;
  readonly frame: Frame;

  constructor(frame: Frame) {
    this.frame = frame;
    this.e = frame.e;
    this.s = frame.s;
    this.pc = frame.pc;
    this.res = frame.res;
    this.aux = frame.aux;
    this.helpers = frame.helpers;
  }

  get hot(): boolean {
    return this.frame.loop !== undefined;
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

  // Memory
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
    const bounce = (): I32 => e.i32.add(e.get(this.s), e.i32.const(State.bounce));
    e.if(
      // The bounce buffer is never aligned, but for a byte.
      size === 1 ? e.i32.eq(e.get(host), bounce()) : e.i32.and(e.get(host), e.i32.const(size - 1)),
      () => {
        // Unaligned: no atomics there; the fence orders it against other threads. What is in an alias frame is exchanged by the commit.
        e.loop((again) => {
          e.set(this.res, e.get(res));
          e.set(this.aux, e.get(aux));
          e.fence();
          e.set(old, loadSized(e, size, false, e.get(host), 0));
          const value = change(old);
          storeSized(e, size, e.get(host), e.get(value), 0);
          e.if(e.i32.eq(e.get(host), bounce()), () =>
            e.brIf(again, e.call<I32>(this.helpers.commitLocked, e.get(this.s))),
          );
          e.fence();
        });
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

  // Leaving
  /** A fault is recorded: leave. */
  fault(): void {
    if (this.frame.loop !== undefined) this.e.br(this.frame.loop.fault);
    else this.leave(Leave.at);
  }
  /** Cold shapes only. */
  leave(how: number): void {
    if (how !== Leave.at && how !== Leave.again) this.spillFlags();
    this.e.return(this.e.i32.const(how));
  }
  protected spillFlags(): void {
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
}
