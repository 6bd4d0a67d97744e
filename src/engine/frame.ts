/** What surrounds a row's code: the shape it is emitted for, the function it goes to, and what that function offers. */
import type { Emitter, Fn, I32, I64, Label, Local, ValType, Value } from "./emitter.ts";
import type { FlagLocals } from "./flags.ts";
import { kindOf, type Row, type Size } from "./ops/row.ts";

/** Access size with the top bits that the slow paths understand. */
export const STACK_ACCESS = 0x10000;
/** The same: a block of up to a page, for which an alias frame gives `NO_BLOCK`. */
export const BLOCK_ACCESS = 0x20000;
/** Not a host address: the block is to be done element by element. */
export const NO_BLOCK = 1;

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
  /** (vcpu) -> 1: the bytes have changed meanwhile, and the locked update is to be done again on what the bounce buffer holds now. */
  commitLocked: Fn;
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
    if (pool === undefined) {
      pool = { locals: [], used: 0 };
      this.#pools.set(type, pool);
    }
    if (pool.used === pool.locals.length) pool.locals.push(this.#e.local(type));
    return pool.locals[pool.used++] as Local<T>;
  }
}

/** Does operand `i` stand in a register field of the record? */
export function isRegisterField(row: Row, i: number, memory: boolean): boolean {
  const kind = kindOf(row.operands[i]!);
  if ("EWQ".includes(kind)) return !memory;
  return "GRZAVUPNTS".includes(kind);
}
