/**
 * The x87 unit in software: every instruction but the environment ones and the transcendental ones, which have files of their own.
 *
 * A row passes its memory operand in floatA and gets results there; registers and status are changed in the vCPU's block. An unmasked exception leaves
 * its mark in FSW and is raised by the next waiting instruction; what else it leaves out is in each instruction.
 */
import { State } from "../layout.ts";
import { add, compare, divide, fromInteger, multiply, squareRoot, subtract } from "./arithmetic.ts";
import {
  decodeDouble,
  decodeExtended,
  decodeSingle,
  type Float,
  FpFlag,
  finite,
  indefinite,
  isInfinite,
  isNan,
  isZero,
  Kind,
  toInteger,
  withSign,
  zero,
} from "./float.ts";
import { Cost, surcharge } from "./surcharge.ts";
import {
  initialize,
  loadControl,
  loadEnvironment,
  restoreState,
  saveState,
  storeEnvironment,
} from "./x87-environment.ts";
import { FLAGS_RESULT, X87Memory, X87Op } from "./x87-op.ts";
import { Fsw, X87State } from "./x87-state.ts";
import { extract, remainder, scale } from "./x87-steps.ts";
import { commitStore, storeMemory } from "./x87-store.ts";
import { constantOf, transcendental } from "./x87-transcendental.ts";

const UNORDERED = Fsw.c0 | Fsw.c2 | Fsw.c3;

export class X87Unit {
  readonly #x: X87State;
  /** The store that is computed but not committed pops. */
  #pops = false;

  /** @param bytes of linear memory that hold all vCPU blocks */
  constructor(memory: WebAssembly.Memory, bytes: number) {
    this.#x = new X87State(memory, bytes);
  }

  /** The `x87` service: see x87-op.ts for argument and result. */
  run(s: number, argument: number): number {
    const x = this.#x;
    const { flags, roundedUp } = x.env;
    x.begin(s);
    const op = (argument & 0xff) as X87Op;
    surcharge(x.u32, s, costOf(op));
    const i = (argument >> 8) & 7;
    const memory = ((argument >> 12) & 15) as X87Memory;
    switch (op) {
      case X87Op.add:
      case X87Op.mul:
      case X87Op.sub:
      case X87Op.subReverse:
      case X87Op.div:
      case X87Op.divReverse:
        return this.#arithmetic(op, i, memory, 0, false);
      case X87Op.addTo:
      case X87Op.mulTo:
      case X87Op.subTo:
      case X87Op.subReverseTo:
      case X87Op.divTo:
      case X87Op.divReverseTo:
        return this.#arithmetic(TO_BASE[op - X87Op.addTo], i, X87Memory.none, i, false);
      case X87Op.addToPop:
      case X87Op.mulToPop:
      case X87Op.subToPop:
      case X87Op.subReverseToPop:
      case X87Op.divToPop:
      case X87Op.divReverseToPop:
        return this.#arithmetic(TO_BASE[op - X87Op.addToPop], i, X87Memory.none, i, true);
      case X87Op.com:
        return this.#compare(i, memory, true, 0);
      case X87Op.comPop:
        return this.#compare(i, memory, true, 1);
      case X87Op.comPopPop:
        return this.#compare(1, memory, true, 2);
      case X87Op.ucom:
        return this.#compare(i, memory, false, 0);
      case X87Op.ucomPop:
        return this.#compare(i, memory, false, 1);
      case X87Op.ucomPopPop:
        return this.#compare(1, memory, false, 2);
      case X87Op.comi:
      case X87Op.comiPop:
        return this.#compareFlags(i, true, op === X87Op.comiPop);
      case X87Op.ucomi:
      case X87Op.ucomiPop:
        return this.#compareFlags(i, false, op === X87Op.ucomiPop);
      case X87Op.load:
        return this.#load(i, memory);
      case X87Op.store:
      case X87Op.storePop:
        return memory === X87Memory.none
          ? this.#storeRegister(i, op === X87Op.storePop)
          : this.#storeMemory(memory, op === X87Op.storePop);
      case X87Op.commitStore:
        return commitStore(x, flags, roundedUp, this.#pops);
      case X87Op.storeUnchecked:
        return this.#storeUnchecked(i);
      case X87Op.exchange:
        return this.#exchange(i);
      case X87Op.moveIf:
        return this.#moveIf(i, argument >> 16 !== 0);
      case X87Op.changeSign:
      case X87Op.absolute:
        return this.#sign(op === X87Op.changeSign);
      case X87Op.test:
        return this.#compareWith(zero(0), true, 0);
      case X87Op.examine:
        return this.#examine();
      case X87Op.constant:
        return this.#constant(i);
      case X87Op.squareRoot:
        return this.#unary(
          (f) => squareRoot(x.env, x.format, f),
          (f) => f.sign === 0,
        );
      case X87Op.roundToInteger:
        return this.#unary((f) => this.#integral(f));
      case X87Op.scale:
        return scale(x);
      case X87Op.extract:
        return extract(x);
      case X87Op.remainder:
      case X87Op.remainderNearest:
        return remainder(x, op === X87Op.remainderNearest);
      case X87Op.incrementTop:
      case X87Op.decrementTop:
        x.top = x.top + (op === X87Op.incrementTop ? 1 : -1);
        x.setC1(false);
        return 0;
      case X87Op.free:
      case X87Op.freePop:
        x.setC1(false);
        x.setEmpty(i);
        if (op === X87Op.freePop) x.pop();
        return 0;
      case X87Op.noOperation:
        return 0;
      case X87Op.initialize:
        initialize(x);
        return 0;
      case X87Op.clearExceptions:
        x.fsw = x.fsw & ~0x80ff;
        return 0;
      case X87Op.loadControl:
        loadControl(x);
        return 0;
      case X87Op.storeEnvironment:
        storeEnvironment(x, memory === X87Memory.words ? 2 : 4);
        return 0;
      case X87Op.loadEnvironment:
        loadEnvironment(x, memory === X87Memory.words ? 2 : 4);
        return 0;
      case X87Op.saveState:
        saveState(x, memory === X87Memory.words ? 2 : 4);
        return 0;
      case X87Op.restoreState:
        restoreState(x, memory === X87Memory.words ? 2 : 4);
        return 0;
      case X87Op.emptyMmx:
        x.tags = 0;
        x.top = 0;
        return 0;
      default:
        return transcendental(x, op);
    }
  }

  /** The memory operand, or ST(i). */
  #operand(i: number, memory: X87Memory): Float {
    const { s, u32, big } = this.#x;
    const at = s + State.floatA;
    switch (memory) {
      case X87Memory.none:
        return this.#x.get(i);
      case X87Memory.single:
        return decodeSingle(u32[at >> 2]);
      case X87Memory.double:
        return decodeDouble(big[at >> 3]);
      case X87Memory.extended:
        return decodeExtended(u32[(at + 8) >> 2] & 0xffff, big[at >> 3]);
      case X87Memory.int16:
        return fromInteger(BigInt((u32[at >> 2] << 16) >> 16));
      case X87Memory.int32:
        return fromInteger(BigInt(u32[at >> 2] | 0));
      case X87Memory.int64:
        return fromInteger(BigInt.asIntN(64, big[at >> 3]));
      default:
        return this.#decimal();
    }
  }

  /** Packed decimal: digits beyond 9 count as they stand. */
  #decimal(): Float {
    const { s, u32, big } = this.#x;
    const at = s + State.floatA;
    const top = u32[(at + 8) >> 2] & 0xffff;
    const digits = BigInt.asUintN(8, BigInt(top)) * (1n << 64n) + big[at >> 3];
    let value = 0n;
    for (let n = 17n; n >= 0n; n--) value = value * 10n + ((digits >> (n * 4n)) & 15n);
    return withSign(finite(0, value, 0), top & 0x8000 ? 1 : 0);
  }

  #arithmetic(op: X87Op, i: number, memory: X87Memory, target: number, pop: boolean): number {
    const x = this.#x;
    const fromRegister = memory === X87Memory.none;
    x.setC1(false);
    let result: Float;
    if (x.isEmpty(0) || (fromRegister && x.isEmpty(i))) {
      x.stackUnderflow();
      result = indefinite;
    } else {
      const a = x.get(0);
      const b = this.#operand(i, memory);
      result = isNan(a) || isNan(b) ? x.nan(a, b) : this.#compute(op, a, b);
      if ((x.env.flags & (FpFlag.invalid | FpFlag.divideByZero)) === 0 && !isNan(a) && !isNan(b)) x.noteDenormal(a, b);
    }
    if (x.record()) return 0;
    x.set(target, result);
    if (pop) x.pop();
    return 0;
  }
  #compute(op: X87Op, a: Float, b: Float): Float {
    const { env, format } = this.#x;
    switch (op) {
      case X87Op.add:
        return add(env, format, a, b);
      case X87Op.mul:
        return multiply(env, format, a, b);
      case X87Op.sub:
        return subtract(env, format, a, b);
      case X87Op.subReverse:
        return subtract(env, format, b, a);
      case X87Op.div:
        return divide(env, format, a, b);
      default:
        return divide(env, format, b, a);
    }
  }

  #compare(i: number, memory: X87Memory, ordered: boolean, pops: number): number {
    const x = this.#x;
    if (memory === X87Memory.none && !x.isEmpty(0) && x.isEmpty(i)) return this.#compareEmpty(pops);
    return this.#compareWith(this.#operand(i, memory), ordered, pops);
  }
  #compareEmpty(pops: number): number {
    const x = this.#x;
    x.stackUnderflow();
    x.setCodes(UNORDERED);
    if (!x.record()) for (let n = 0; n < pops; n++) x.pop();
    return 0;
  }
  #compareWith(b: Float, ordered: boolean, pops: number): number {
    const x = this.#x;
    if (x.isEmpty(0)) return this.#compareEmpty(pops);
    const order = this.#order(x.get(0), b, ordered);
    x.setCodes(order === undefined ? UNORDERED : order < 0 ? Fsw.c0 : order === 0 ? Fsw.c3 : 0);
    if (!x.record()) for (let n = 0; n < pops; n++) x.pop();
    return 0;
  }
  /** undefined: unordered. */
  #order(a: Float, b: Float, ordered: boolean): -1 | 0 | 1 | undefined {
    const x = this.#x;
    if (isNan(a) || isNan(b)) {
      const quiet = [a, b].every((f) => !isNan(f) || f.kind === Kind.quiet);
      if (ordered || !quiet) x.env.flags |= FpFlag.invalid;
      return undefined;
    }
    x.noteDenormal(a, b);
    return compare(a, b);
  }
  #compareFlags(i: number, ordered: boolean, pop: boolean): number {
    const x = this.#x;
    let image = 0x45;
    if (x.isEmpty(0) || x.isEmpty(i)) x.stackUnderflow();
    else {
      const order = this.#order(x.get(0), x.get(i), ordered);
      if (order !== undefined) image = order < 0 ? 1 : order === 0 ? 0x40 : 0;
    }
    // The flags are set even when an unmasked exception keeps the operand from being popped.
    if (!x.record() && pop) x.pop();
    return image | FLAGS_RESULT;
  }

  #load(i: number, memory: X87Memory): number {
    const x = this.#x;
    x.setC1(false);
    // An empty source counts before a full place.
    const noSource = memory === X87Memory.none && x.isEmpty(i);
    if (noSource || !x.isEmpty(-1)) {
      if (noSource) x.stackUnderflow();
      else x.stackOverflow();
      if (x.record()) return 0;
      x.push();
      x.set(0, indefinite);
      return 0;
    }
    if (memory === X87Memory.none || memory === X87Memory.extended) {
      // A copy, whatever the bits.
      const at = x.s + State.floatA;
      const raw =
        memory === X87Memory.none
          ? x.raw(i)
          : { signExponent: x.u32[(at + 8) >> 2] & 0xffff, significand: x.big[at >> 3] };
      x.push();
      x.setRaw(0, raw);
      return 0;
    }
    let value = this.#operand(i, memory);
    if (isNan(value)) value = x.nan(value);
    else if (value.denormal) x.env.flags |= FpFlag.denormal;
    x.record();
    // Of the two that can be, only an invalid operand keeps the number out.
    if ((x.env.flags & FpFlag.invalid & ~x.env.masked) !== 0) return 0;
    x.push();
    x.set(0, value);
    return 0;
  }

  #constant(which: number): number {
    const x = this.#x;
    x.setC1(false);
    if (!x.isEmpty(-1)) {
      x.stackOverflow();
      if (x.record()) return 0;
      x.push();
      x.set(0, indefinite);
      return 0;
    }
    x.push();
    x.set(0, constantOf(which, x.env.mode));
    return 0;
  }

  #storeRegister(i: number, pop: boolean): number {
    const x = this.#x;
    x.setC1(false);
    if (x.isEmpty(0)) {
      x.stackUnderflow();
      if (x.record()) return 0;
      x.set(i, indefinite);
    } else x.setRaw(i, x.raw(0));
    if (pop) x.pop();
    return 0;
  }

  #storeMemory(memory: X87Memory, pop: boolean): number {
    this.#pops = pop;
    return storeMemory(this.#x, memory);
  }
  #storeUnchecked(i: number): number {
    const x = this.#x;
    x.setC1(false);
    if (!x.isEmpty(0)) x.setRaw(i, x.raw(0));
    x.pop();
    return 0;
  }
  #exchange(i: number): number {
    const x = this.#x;
    x.setC1(false);
    const emptyTop = x.isEmpty(0);
    const emptyOther = x.isEmpty(i);
    if (emptyTop || emptyOther) {
      x.stackUnderflow();
      if (x.record()) return 0;
      if (emptyTop) x.set(0, indefinite);
      if (emptyOther) x.set(i, indefinite);
    }
    const [a, b] = [x.raw(0), x.raw(i)];
    x.setRaw(0, b);
    x.setRaw(i, a);
    return 0;
  }
  #moveIf(i: number, condition: boolean): number {
    const x = this.#x;
    if (x.isEmpty(0) || x.isEmpty(i)) {
      x.stackUnderflow();
      if (!x.record()) x.set(0, indefinite);
    } else if (condition) x.setRaw(0, x.raw(i));
    return 0;
  }
  #sign(change: boolean): number {
    const x = this.#x;
    x.setC1(false);
    if (x.isEmpty(0)) {
      x.stackUnderflow();
      if (!x.record()) x.set(0, indefinite);
      return 0;
    }
    const { signExponent, significand } = x.raw(0);
    x.setRaw(0, { signExponent: change ? signExponent ^ 0x8000 : signExponent & 0x7fff, significand });
    return 0;
  }
  #examine(): number {
    const x = this.#x;
    const f = x.get(0);
    const { signExponent } = x.raw(0);
    let codes: number = signExponent & 0x8000 ? Fsw.c1 : 0;
    if (x.isEmpty(0)) codes |= Fsw.c3 | Fsw.c0;
    else if (f.kind === Kind.quiet || f.kind === Kind.signaling) codes |= Fsw.c0;
    else if (isInfinite(f)) codes |= Fsw.c2 | Fsw.c0;
    else if (isZero(f)) codes |= Fsw.c3;
    else if (f.kind === Kind.finite) codes |= f.denormal ? Fsw.c3 | Fsw.c2 : Fsw.c2;
    x.setCodes(codes);
    return 0;
  }

  /** ST(0) = f(ST(0)). `denormals`: where a denormal operand is noted. */
  #unary(f: (value: Float) => Float, denormals: (value: Float) => boolean = () => true): number {
    const x = this.#x;
    x.setC1(false);
    let result = indefinite;
    if (x.isEmpty(0)) x.stackUnderflow();
    else {
      const value = x.get(0);
      if (isNan(value)) result = x.nan(value);
      else {
        result = f(value);
        if (denormals(value)) x.noteDenormal(value);
      }
    }
    if (!x.record()) x.set(0, result);
    return 0;
  }
  #integral(f: Float): Float {
    const { env } = this.#x;
    if (f.kind !== Kind.finite || f.exponent >= 0) return f;
    const { value, inexact } = toInteger(env, f, env.mode);
    if (inexact) env.flags |= FpFlag.inexact;
    return withSign(fromInteger(value), f.sign);
  }
}

const TO_BASE: readonly X87Op[] = [X87Op.add, X87Op.mul, X87Op.sub, X87Op.subReverse, X87Op.div, X87Op.divReverse];

function costOf(op: X87Op): number {
  if (op >= X87Op.twoToXMinus1 && op <= X87Op.sineCosine) return Cost.series;
  if (op === X87Op.remainder || op === X87Op.remainderNearest || op === X87Op.scale) return Cost.series;
  return op >= X87Op.incrementTop ? Cost.control : Cost.simple;
}
