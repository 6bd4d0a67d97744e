/**
 * A WebAssembly byte emitter, used as nested typed calls: `e.i64.add(e.get(a), e.i64.const(5))`.
 *
 * JavaScript evaluates arguments before the call, so the operands' bytes stand in the buffer before the opcode: no tree is built and nothing is
 * allocated. What a call returns is a phantom of the value's WebAssembly type, so tsc checks the generated code. The one rule to keep: write every
 * call in the place where its value is wanted; a phantom kept in a variable means nothing (use locals).
 */
declare const phantom: unique symbol;
export interface I32 {
  readonly [phantom]: "i32";
}
export interface I64 {
  readonly [phantom]: "i64";
}
export interface F32 {
  readonly [phantom]: "f32";
}
export interface F64 {
  readonly [phantom]: "f64";
}
export interface V128 {
  readonly [phantom]: "v128";
}
export type Value = I32 | I64 | F32 | F64 | V128;

export const ValType = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b } as const;
export type ValType = (typeof ValType)[keyof typeof ValType];

/** A local of a function under construction. */
export interface Local<T extends Value> {
  readonly index: number;
  /** Never there at run time. */
  readonly type?: T;
}
/** A place to branch to: the end of a block or the head of a loop. */
export interface Label {
  readonly level: number;
}
/** A function of the module. */
export interface Fn {
  readonly index: number;
}

const VOID = 0x40;
const P = undefined as unknown as Value;
const i32v = P as I32;
const i64v = P as I64;
const f32v = P as F32;
const f64v = P as F64;
const v128v = P as V128;

export class Emitter {
  bytes = new Uint8Array(1 << 16);
  length = 0;
  #level = 0;
  #localTypes: ValType[] = [];
  #params = 0;

  /** Starts a function body. */
  begin(params: readonly ValType[]): void {
    this.length = 0;
    this.#level = 0;
    this.#localTypes = [...params];
    this.#params = params.length;
  }
  /** Ends the body: its bytes with the local declarations in front, as the code section wants them. */
  finish(): Uint8Array {
    this.byte(0x0b);
    const code = this.bytes.slice(0, this.length);
    const head: number[] = [];
    const runs: [number, ValType][] = [];
    for (const type of this.#localTypes.slice(this.#params)) {
      const last = runs.at(-1);
      if (last !== undefined && last[1] === type) last[0]++;
      else runs.push([1, type]);
    }
    pushU32(head, runs.length);
    for (const [count, type] of runs) {
      pushU32(head, count);
      head.push(type);
    }
    const size: number[] = [];
    pushU32(size, head.length + code.length);
    const out = new Uint8Array(size.length + head.length + code.length);
    out.set(size);
    out.set(head, size.length);
    out.set(code, size.length + head.length);
    return out;
  }

  param<T extends Value>(index: number): Local<T> {
    return { index };
  }
  local<T extends Value>(type: ValType): Local<T> {
    this.#localTypes.push(type);
    return { index: this.#localTypes.length - 1 };
  }

  byte(b: number): void {
    if (this.length === this.bytes.length) {
      const bigger = new Uint8Array(this.bytes.length * 2);
      bigger.set(this.bytes);
      this.bytes = bigger;
    }
    this.bytes[this.length++] = b;
  }
  u32(n: number): void {
    let v = n >>> 0;
    while (v > 0x7f) {
      this.byte((v & 0x7f) | 0x80);
      v >>>= 7;
    }
    this.byte(v);
  }
  s32(n: number): void {
    let v = n | 0;
    for (;;) {
      const low = v & 0x7f;
      v >>= 7;
      if ((v === 0 && (low & 0x40) === 0) || (v === -1 && (low & 0x40) !== 0)) {
        this.byte(low);
        return;
      }
      this.byte(low | 0x80);
    }
  }
  s64(n: bigint): void {
    let v = BigInt.asIntN(64, n);
    for (;;) {
      const low = Number(v & 0x7fn);
      v >>= 7n;
      if ((v === 0n && (low & 0x40) === 0) || (v === -1n && (low & 0x40) !== 0)) {
        this.byte(low);
        return;
      }
      this.byte(low | 0x80);
    }
  }

  // Locals
  get<T extends Value>(l: Local<T>): T {
    this.byte(0x20);
    this.u32(l.index);
    return P as T;
  }
  set<T extends Value>(l: Local<T>, _v: T): void {
    this.byte(0x21);
    this.u32(l.index);
  }
  tee<T extends Value>(l: Local<T>, _v: T): T {
    this.byte(0x22);
    this.u32(l.index);
    return P as T;
  }

  // Control
  block(body: (end: Label) => void): void {
    this.byte(0x02);
    this.byte(VOID);
    body({ level: ++this.#level });
    this.#level--;
    this.byte(0x0b);
  }
  loop(body: (head: Label) => void): void {
    this.byte(0x03);
    this.byte(VOID);
    body({ level: ++this.#level });
    this.#level--;
    this.byte(0x0b);
  }
  if(_condition: I32, then: (end: Label) => void, otherwise?: (end: Label) => void): void {
    this.byte(0x04);
    this.byte(VOID);
    this.#level++;
    then({ level: this.#level });
    if (otherwise) {
      this.byte(0x05);
      otherwise({ level: this.#level });
    }
    this.#level--;
    this.byte(0x0b);
  }
  /** `if` with a value. Either arm may instead leave by a branch, which it types as it likes. */
  choose<T extends Value>(type: ValType, _condition: I32, then: () => T, otherwise: () => T): T {
    this.byte(0x04);
    this.byte(type);
    this.#level++;
    then();
    this.byte(0x05);
    otherwise();
    this.#level--;
    this.byte(0x0b);
    return P as T;
  }
  br(label: Label): void {
    this.byte(0x0c);
    this.u32(this.#level - label.level);
  }
  brIf(label: Label, _condition: I32): void {
    this.byte(0x0d);
    this.u32(this.#level - label.level);
  }
  /** `br_table`: `labels[selector]`, else `fallback`. */
  brTable(_selector: I32, labels: readonly Label[], fallback: Label): void {
    this.byte(0x0e);
    this.u32(labels.length);
    for (const label of labels) this.u32(this.#level - label.level);
    this.u32(this.#level - fallback.level);
  }
  /** Opens `count` nested blocks; the innermost is closed by the first `closeBlock()`. Returns their labels, innermost first. */
  openBlocks(count: number): Label[] {
    const labels: Label[] = [];
    for (let i = 0; i < count; i++) {
      this.byte(0x02);
      this.byte(VOID);
      labels.unshift({ level: ++this.#level });
    }
    return labels;
  }
  closeBlock(): void {
    this.#level--;
    this.byte(0x0b);
  }
  return(_value?: Value): void {
    this.byte(0x0f);
  }
  unreachable(): void {
    this.byte(0x00);
  }
  drop(_v: Value): void {
    this.byte(0x1a);
  }
  /** Calls a function whose result is wanted as T; the argument phantoms are for their bytes only. */
  call<T extends Value>(fn: Fn, ..._args: readonly Value[]): T {
    this.byte(0x10);
    this.u32(fn.index);
    return P as T;
  }
  callVoid(fn: Fn, ..._args: readonly Value[]): void {
    this.byte(0x10);
    this.u32(fn.index);
  }
  /** `call_indirect` through table 0: arguments, then the index. */
  callIndirect<T extends Value>(typeIndex: number, _args: readonly Value[], _index: I32): T {
    this.byte(0x11);
    this.u32(typeIndex);
    this.u32(0);
    return P as T;
  }
  select<T extends Value>(_a: T, _b: T, _condition: I32): T {
    this.byte(0x1b);
    return P as T;
  }

  memarg(align: number, offset: number, memory: number): void {
    if (memory === 0) this.byte(align);
    else {
      this.byte(align | 0x40);
      this.u32(memory);
    }
    this.u32(offset);
  }
  memoryCopy(_to: I32, _from: I32, _bytes: I32, memory = 0): void {
    this.byte(0xfc);
    this.u32(10);
    this.u32(memory);
    this.u32(memory);
  }
  memoryFill(_to: I32, _byte: I32, _bytes: I32, memory = 0): void {
    this.byte(0xfc);
    this.u32(11);
    this.u32(memory);
  }
  fence(): void {
    this.byte(0xfe);
    this.byte(0x03);
    this.byte(0x00);
  }

  #op<T extends Value>(opcode: number): T {
    this.byte(opcode);
    return P as T;
  }
  #mem<T extends Value>(opcode: number, align: number, offset: number, memory: number): T {
    this.byte(opcode);
    this.memarg(align, offset, memory);
    return P as T;
  }
  #fc<T extends Value>(opcode: number): T {
    this.byte(0xfc);
    this.u32(opcode);
    return P as T;
  }
  #atomic<T extends Value>(opcode: number, align: number, offset: number, memory: number): T {
    this.byte(0xfe);
    this.u32(opcode);
    this.memarg(align, offset, memory);
    return P as T;
  }

  readonly i32 = {
    const: (n: number): I32 => {
      this.byte(0x41);
      this.s32(n);
      return i32v;
    },
    load: (_a: I32, offset = 0, memory = 0): I32 => this.#mem(0x28, 2, offset, memory),
    load8s: (_a: I32, offset = 0, memory = 0): I32 => this.#mem(0x2c, 0, offset, memory),
    load8u: (_a: I32, offset = 0, memory = 0): I32 => this.#mem(0x2d, 0, offset, memory),
    load16u: (_a: I32, offset = 0, memory = 0): I32 => this.#mem(0x2f, 1, offset, memory),
    store: (_a: I32, _v: I32, offset = 0, memory = 0): void => void this.#mem(0x36, 2, offset, memory),
    store8: (_a: I32, _v: I32, offset = 0, memory = 0): void => void this.#mem(0x3a, 0, offset, memory),
    store16: (_a: I32, _v: I32, offset = 0, memory = 0): void => void this.#mem(0x3b, 1, offset, memory),
    eqz: (_a: I32): I32 => this.#op(0x45),
    eq: (_a: I32, _b: I32): I32 => this.#op(0x46),
    ne: (_a: I32, _b: I32): I32 => this.#op(0x47),
    ltS: (_a: I32, _b: I32): I32 => this.#op(0x48),
    ltU: (_a: I32, _b: I32): I32 => this.#op(0x49),
    gtS: (_a: I32, _b: I32): I32 => this.#op(0x4a),
    gtU: (_a: I32, _b: I32): I32 => this.#op(0x4b),
    leS: (_a: I32, _b: I32): I32 => this.#op(0x4c),
    leU: (_a: I32, _b: I32): I32 => this.#op(0x4d),
    geS: (_a: I32, _b: I32): I32 => this.#op(0x4e),
    geU: (_a: I32, _b: I32): I32 => this.#op(0x4f),
    clz: (_a: I32): I32 => this.#op(0x67),
    ctz: (_a: I32): I32 => this.#op(0x68),
    popcnt: (_a: I32): I32 => this.#op(0x69),
    add: (_a: I32, _b: I32): I32 => this.#op(0x6a),
    sub: (_a: I32, _b: I32): I32 => this.#op(0x6b),
    mul: (_a: I32, _b: I32): I32 => this.#op(0x6c),
    divU: (_a: I32, _b: I32): I32 => this.#op(0x6e),
    remU: (_a: I32, _b: I32): I32 => this.#op(0x70),
    and: (_a: I32, _b: I32): I32 => this.#op(0x71),
    or: (_a: I32, _b: I32): I32 => this.#op(0x72),
    xor: (_a: I32, _b: I32): I32 => this.#op(0x73),
    shl: (_a: I32, _b: I32): I32 => this.#op(0x74),
    shrS: (_a: I32, _b: I32): I32 => this.#op(0x75),
    shrU: (_a: I32, _b: I32): I32 => this.#op(0x76),
    rotl: (_a: I32, _b: I32): I32 => this.#op(0x77),
    rotr: (_a: I32, _b: I32): I32 => this.#op(0x78),
    wrap: (_a: I64): I32 => this.#op(0xa7),
    extend8s: (_a: I32): I32 => this.#op(0xc0),
    extend16s: (_a: I32): I32 => this.#op(0xc1),
    reinterpretF32: (_a: F32): I32 => this.#op(0xbc),
    truncSatF32s: (_a: F32): I32 => this.#fc(0),
    truncSatF64s: (_a: F64): I32 => this.#fc(2),
  };

  readonly i64 = {
    const: (n: number | bigint): I64 => {
      this.byte(0x42);
      this.s64(BigInt(n));
      return i64v;
    },
    load: (_a: I32, offset = 0, memory = 0): I64 => this.#mem(0x29, 3, offset, memory),
    load8s: (_a: I32, offset = 0, memory = 0): I64 => this.#mem(0x30, 0, offset, memory),
    load8u: (_a: I32, offset = 0, memory = 0): I64 => this.#mem(0x31, 0, offset, memory),
    load16s: (_a: I32, offset = 0, memory = 0): I64 => this.#mem(0x32, 1, offset, memory),
    load16u: (_a: I32, offset = 0, memory = 0): I64 => this.#mem(0x33, 1, offset, memory),
    load32s: (_a: I32, offset = 0, memory = 0): I64 => this.#mem(0x34, 2, offset, memory),
    load32u: (_a: I32, offset = 0, memory = 0): I64 => this.#mem(0x35, 2, offset, memory),
    store: (_a: I32, _v: I64, offset = 0, memory = 0): void => void this.#mem(0x37, 3, offset, memory),
    store8: (_a: I32, _v: I64, offset = 0, memory = 0): void => void this.#mem(0x3c, 0, offset, memory),
    store16: (_a: I32, _v: I64, offset = 0, memory = 0): void => void this.#mem(0x3d, 1, offset, memory),
    store32: (_a: I32, _v: I64, offset = 0, memory = 0): void => void this.#mem(0x3e, 2, offset, memory),
    eqz: (_a: I64): I32 => this.#op(0x50),
    eq: (_a: I64, _b: I64): I32 => this.#op(0x51),
    ne: (_a: I64, _b: I64): I32 => this.#op(0x52),
    ltS: (_a: I64, _b: I64): I32 => this.#op(0x53),
    ltU: (_a: I64, _b: I64): I32 => this.#op(0x54),
    gtS: (_a: I64, _b: I64): I32 => this.#op(0x55),
    gtU: (_a: I64, _b: I64): I32 => this.#op(0x56),
    leS: (_a: I64, _b: I64): I32 => this.#op(0x57),
    leU: (_a: I64, _b: I64): I32 => this.#op(0x58),
    geS: (_a: I64, _b: I64): I32 => this.#op(0x59),
    geU: (_a: I64, _b: I64): I32 => this.#op(0x5a),
    clz: (_a: I64): I64 => this.#op(0x79),
    ctz: (_a: I64): I64 => this.#op(0x7a),
    popcnt: (_a: I64): I64 => this.#op(0x7b),
    add: (_a: I64, _b: I64): I64 => this.#op(0x7c),
    sub: (_a: I64, _b: I64): I64 => this.#op(0x7d),
    mul: (_a: I64, _b: I64): I64 => this.#op(0x7e),
    divS: (_a: I64, _b: I64): I64 => this.#op(0x7f),
    divU: (_a: I64, _b: I64): I64 => this.#op(0x80),
    remS: (_a: I64, _b: I64): I64 => this.#op(0x81),
    remU: (_a: I64, _b: I64): I64 => this.#op(0x82),
    and: (_a: I64, _b: I64): I64 => this.#op(0x83),
    or: (_a: I64, _b: I64): I64 => this.#op(0x84),
    xor: (_a: I64, _b: I64): I64 => this.#op(0x85),
    shl: (_a: I64, _b: I64): I64 => this.#op(0x86),
    shrS: (_a: I64, _b: I64): I64 => this.#op(0x87),
    shrU: (_a: I64, _b: I64): I64 => this.#op(0x88),
    rotl: (_a: I64, _b: I64): I64 => this.#op(0x89),
    rotr: (_a: I64, _b: I64): I64 => this.#op(0x8a),
    extendI32s: (_a: I32): I64 => this.#op(0xac),
    extendI32u: (_a: I32): I64 => this.#op(0xad),
    extend8s: (_a: I64): I64 => this.#op(0xc2),
    extend16s: (_a: I64): I64 => this.#op(0xc3),
    extend32s: (_a: I64): I64 => this.#op(0xc4),
    reinterpretF64: (_a: F64): I64 => this.#op(0xbd),
    truncSatF32s: (_a: F32): I64 => this.#fc(4),
    truncSatF64s: (_a: F64): I64 => this.#fc(6),
    truncSatF64u: (_a: F64): I64 => this.#fc(7),
  };

  /** Sequentially consistent atomics; the address must be aligned to the size. `cmpxchg` gives the old value. */
  readonly atomic = {
    load8: (_a: I32, offset = 0, memory = 0): I64 => this.#atomic(0x14, 0, offset, memory),
    load16: (_a: I32, offset = 0, memory = 0): I64 => this.#atomic(0x15, 1, offset, memory),
    load32: (_a: I32, offset = 0, memory = 0): I64 => this.#atomic(0x16, 2, offset, memory),
    load64: (_a: I32, offset = 0, memory = 0): I64 => this.#atomic(0x11, 3, offset, memory),
    cmpxchg8: (_a: I32, _old: I64, _new: I64, offset = 0, memory = 0): I64 => this.#atomic(0x4c, 0, offset, memory),
    cmpxchg16: (_a: I32, _old: I64, _new: I64, offset = 0, memory = 0): I64 => this.#atomic(0x4d, 1, offset, memory),
    cmpxchg32: (_a: I32, _old: I64, _new: I64, offset = 0, memory = 0): I64 => this.#atomic(0x4e, 2, offset, memory),
    cmpxchg64: (_a: I32, _old: I64, _new: I64, offset = 0, memory = 0): I64 => this.#atomic(0x49, 3, offset, memory),
  };

  readonly f32 = {
    add: (_a: F32, _b: F32): F32 => this.#op(0x92),
    sub: (_a: F32, _b: F32): F32 => this.#op(0x93),
    mul: (_a: F32, _b: F32): F32 => this.#op(0x94),
    div: (_a: F32, _b: F32): F32 => this.#op(0x95),
    sqrt: (_a: F32): F32 => this.#op(0x91),
    nearest: (_a: F32): F32 => this.#op(0x90),
    lt: (_a: F32, _b: F32): I32 => this.#op(0x5d),
    eq: (_a: F32, _b: F32): I32 => this.#op(0x5b),
    ne: (_a: F32, _b: F32): I32 => this.#op(0x5c),
    demote: (_a: F64): F32 => this.#op(0xb6),
    le: (_a: F32, _b: F32): I32 => this.#op(0x5f),
    ge: (_a: F32, _b: F32): I32 => this.#op(0x60),
    abs: (_a: F32): F32 => this.#op(0x8b),
    convertI32s: (_a: I32): F32 => this.#op(0xb2),
    convertI64s: (_a: I64): F32 => this.#op(0xb4),
    reinterpretI32: (_a: I32): F32 => this.#op(0xbe),
    load: (_a: I32, offset = 0, memory = 0): F32 => this.#mem(0x2a, 2, offset, memory),
    store: (_a: I32, _v: F32, offset = 0, memory = 0): void => void this.#mem(0x38, 2, offset, memory),
    const: (n: number): F32 => {
      this.byte(0x43);
      const bits = new Uint8Array(new Float32Array([n]).buffer);
      for (const b of bits) this.byte(b);
      return f32v;
    },
  };

  readonly f64 = {
    add: (_a: F64, _b: F64): F64 => this.#op(0xa0),
    sub: (_a: F64, _b: F64): F64 => this.#op(0xa1),
    mul: (_a: F64, _b: F64): F64 => this.#op(0xa2),
    div: (_a: F64, _b: F64): F64 => this.#op(0xa3),
    sqrt: (_a: F64): F64 => this.#op(0x9f),
    nearest: (_a: F64): F64 => this.#op(0x9e),
    eq: (_a: F64, _b: F64): I32 => this.#op(0x61),
    ne: (_a: F64, _b: F64): I32 => this.#op(0x62),
    lt: (_a: F64, _b: F64): I32 => this.#op(0x63),
    gt: (_a: F64, _b: F64): I32 => this.#op(0x64),
    le: (_a: F64, _b: F64): I32 => this.#op(0x65),
    ge: (_a: F64, _b: F64): I32 => this.#op(0x66),
    abs: (_a: F64): F64 => this.#op(0x99),
    trunc: (_a: F64): F64 => this.#op(0x9d),
    promote: (_a: F32): F64 => this.#op(0xbb),
    convertI32s: (_a: I32): F64 => this.#op(0xb7),
    convertI64s: (_a: I64): F64 => this.#op(0xb9),
    reinterpretI64: (_a: I64): F64 => this.#op(0xbf),
    load: (_a: I32, offset = 0, memory = 0): F64 => this.#mem(0x2b, 3, offset, memory),
    store: (_a: I32, _v: F64, offset = 0, memory = 0): void => void this.#mem(0x39, 3, offset, memory),
    const: (n: number): F64 => {
      this.byte(0x44);
      const bits = new Uint8Array(new Float64Array([n]).buffer);
      for (const b of bits) this.byte(b);
      return f64v;
    },
  };

  /** SIMD. `op` is for the many plain operators: its number is WebAssembly's SIMD opcode. */
  readonly v128 = {
    load: (_a: I32, offset = 0, memory = 0): V128 => {
      this.byte(0xfd);
      this.u32(0);
      this.memarg(4, offset, memory);
      return v128v;
    },
    store: (_a: I32, _v: V128, offset = 0, memory = 0): void => {
      this.byte(0xfd);
      this.u32(11);
      this.memarg(4, offset, memory);
    },
    const: (lo: bigint, hi: bigint): V128 => {
      this.byte(0xfd);
      this.u32(12);
      for (const half of [lo, hi]) for (let i = 0n; i < 8n; i++) this.byte(Number((half >> (8n * i)) & 0xffn));
      return v128v;
    },
    shuffle: (_a: V128, _b: V128, lanes: readonly number[]): V128 => {
      this.byte(0xfd);
      this.u32(13);
      for (const lane of lanes) this.byte(lane);
      return v128v;
    },
    unary: (opcode: number, _a: V128): V128 => {
      this.byte(0xfd);
      this.u32(opcode);
      return v128v;
    },
    binary: (opcode: number, _a: V128, _b: V128): V128 => {
      this.byte(0xfd);
      this.u32(opcode);
      return v128v;
    },
    /** Shifts, with the count as i32 (taken modulo the lane's width). */
    shift: (opcode: number, _a: V128, _count: I32): V128 => {
      this.byte(0xfd);
      this.u32(opcode);
      return v128v;
    },
    /** The low 64 or 32 bits from memory, the rest 0. */
    load64Zero: (_a: I32, offset = 0, memory = 0): V128 => {
      this.byte(0xfd);
      this.u32(0x5d);
      this.memarg(3, offset, memory);
      return v128v;
    },
    load32Zero: (_a: I32, offset = 0, memory = 0): V128 => {
      this.byte(0xfd);
      this.u32(0x5c);
      this.memarg(2, offset, memory);
      return v128v;
    },
    bitselect: (_ones: V128, _zeros: V128, _mask: V128): V128 => {
      this.byte(0xfd);
      this.u32(0x52);
      return v128v;
    },
    splatI8: (_a: I32): V128 => {
      this.byte(0xfd);
      this.u32(0x0f);
      return v128v;
    },
    splatF64: (_a: F64): V128 => {
      this.byte(0xfd);
      this.u32(0x14);
      return v128v;
    },
    splatF32: (_a: F32): V128 => {
      this.byte(0xfd);
      this.u32(0x13);
      return v128v;
    },
    extractI32: (_a: V128, lane: 0 | 1 | 2 | 3): I32 => {
      this.byte(0xfd);
      this.u32(0x1b);
      this.byte(lane);
      return i32v;
    },
    replaceI32: (_a: V128, _v: I32, lane: 0 | 1 | 2 | 3): V128 => {
      this.byte(0xfd);
      this.u32(0x1c);
      this.byte(lane);
      return v128v;
    },
    extractF32: (_a: V128, lane: 0 | 1 | 2 | 3): F32 => {
      this.byte(0xfd);
      this.u32(0x1f);
      this.byte(lane);
      return f32v;
    },
    extractF64: (_a: V128, lane: 0 | 1): F64 => {
      this.byte(0xfd);
      this.u32(0x21);
      this.byte(lane);
      return f64v;
    },
    /** Bitmask and any/all-true operators. */
    toI32: (opcode: number, _a: V128): I32 => {
      this.byte(0xfd);
      this.u32(opcode);
      return i32v;
    },
    splatI64: (_a: I64): V128 => {
      this.byte(0xfd);
      this.u32(0x12);
      return v128v;
    },
    splatI32: (_a: I32): V128 => {
      this.byte(0xfd);
      this.u32(0x11);
      return v128v;
    },
    extractI64: (_a: V128, lane: 0 | 1): I64 => {
      this.byte(0xfd);
      this.u32(0x1d);
      this.byte(lane);
      return i64v;
    },
    replaceI64: (_a: V128, _v: I64, lane: 0 | 1): V128 => {
      this.byte(0xfd);
      this.u32(0x1e);
      this.byte(lane);
      return v128v;
    },
  };
}

function pushU32(into: number[], n: number): void {
  let v = n >>> 0;
  while (v > 0x7f) {
    into.push((v & 0x7f) | 0x80);
    v >>>= 7;
  }
  into.push(v);
}

export { pushU32 };
