/** XADD, CMPXCHG, CMPXCHG8B and CMPXCHG16B. LOCK forms come from the shape (ctx.ts, `modify`). */
import type { Ctx } from "../ctx.ts";
import type { I32, I64, Local } from "../emitter.ts";
import { Vector } from "../exits.ts";
import { setAddFlags, setSubFlags, setZeroOnly } from "../flags.ts";
import type { RowSpec } from "./row.ts";

const xadd = (c: Ctx) => {
  const { e } = c;
  const b = c.let64(c.get(1));
  const seen = c.i64();
  const sum = (a: Local<I64>): Local<I64> => {
    e.set(seen, e.get(a));
    const r = c.let64(e.i64.add(e.get(a), e.get(b)));
    setAddFlags(c, c.size, a, b, r, c.i64());
    return r;
  };
  if (c.isMemory(0)) {
    c.modify(0, sum);
    c.put(1, seen);
    return;
  }
  // Both registers may be one: the sum wins.
  const r = sum(c.let64(c.get(0)));
  c.put(1, seen);
  c.put(0, r);
};

const cmpxchg = (c: Ctx) => {
  const { e } = c;
  const wanted = c.let64(c.reg(0, c.size));
  const b = c.let64(c.get(1));
  const seen = c.i64();
  const compare = (a: Local<I64>): Local<I64> => {
    e.set(seen, e.get(a));
    const difference = c.let64(e.i64.sub(e.get(wanted), e.get(a)));
    setSubFlags(c, c.size, wanted, a, difference, c.i64());
    return c.let64(e.select(e.get(b), e.get(a), e.i64.eq(e.get(wanted), e.get(a))));
  };
  // Memory is always written, with the old value when they differ; so is a register.
  if (c.isMemory(0)) c.modify(0, compare);
  else {
    const a = c.let64(c.get(0));
    const r = compare(a);
    e.if(e.i64.eq(e.get(wanted), e.get(a)), () => c.put(0, r));
  }
  e.if(e.i64.ne(e.get(wanted), e.get(seen)), () => c.setReg(0, seen, c.size));
};

const cmpxchg8b = (c: Ctx) => {
  const { e } = c;
  const pair = (high: number, low: number): I64 => e.i64.or(e.i64.shl(c.reg(high), e.i64.const(32)), c.reg(low, 4));
  const wanted = c.let64(pair(2, 0));
  const replacement = c.let64(pair(1, 3));
  const host = c.modifyAddress(c.let64(c.ea()), 8);
  const seen = c.i64();
  c.modifyAt(host, 8, c.shape.locked, (old) => {
    e.set(seen, e.get(old));
    return c.let64(e.select(e.get(replacement), e.get(old), e.i64.eq(e.get(wanted), e.get(old))));
  });
  const equal = c.let32(e.i64.eq(e.get(wanted), e.get(seen)));
  e.if(e.i32.eqz(e.get(equal)), () => {
    c.setReg(0, seen, 4);
    c.setReg(2, c.let64(e.i64.shrU(e.get(seen), e.i64.const(32))), 4);
  });
  setZeroOnly(c, equal, c.i64());
};

/** 16 bytes have no atomics in WebAssembly: fences order them against other threads. #GP unless aligned. */
const cmpxchg16b = (c: Ctx) => {
  const { e } = c;
  const va = c.let64(c.ea());
  c.raiseIf(e.i32.and(e.i32.wrap(e.get(va)), e.i32.const(15)), Vector.generalProtection);
  const host = c.modifyAddress(va, 16);
  e.fence();
  const low = c.let64(e.i64.load(e.get(host), 0));
  const high = c.let64(e.i64.load(e.get(host), 8));
  const equal: Local<I32> = c.let32(e.i32.and(e.i64.eq(e.get(low), c.reg(0)), e.i64.eq(e.get(high), c.reg(2))));
  e.if(
    e.get(equal),
    () => {
      e.i64.store(e.get(host), c.reg(3), 0);
      e.i64.store(e.get(host), c.reg(1), 8);
      c.commitIfSplit(host);
    },
    () => {
      c.setReg(0, low);
      c.setReg(2, high);
    },
  );
  e.fence();
  setZeroOnly(c, equal, c.i64());
};

export const atomicRows: readonly RowSpec[] = [
  { name: "xadd", map: 1, opcode: 0xc0, operands: ["Eb", "Gb"], lockable: true, emit: xadd },
  { name: "xadd", map: 1, opcode: 0xc1, operands: ["Ev", "Gv"], lockable: true, emit: xadd },
  { name: "cmpxchg", map: 1, opcode: 0xb0, operands: ["Eb", "Gb"], lockable: true, emit: cmpxchg },
  { name: "cmpxchg", map: 1, opcode: 0xb1, operands: ["Ev", "Gv"], lockable: true, emit: cmpxchg },
  {
    name: "cmpxchg8b",
    map: 1,
    opcode: 0xc7,
    digit: 1,
    operands: ["M"],
    sizes: [4, 8],
    lockable: true,
    emit: (c) => (c.size === 8 ? cmpxchg16b(c) : cmpxchg8b(c)),
  },
];
