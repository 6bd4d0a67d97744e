/** Shuffles by an immediate, and single words in and out of vectors. */
import type { Ctx } from "../ctx.ts";
import type { I32, I64, Local, V128 } from "../emitter.ts";
import { I8x16 } from "../wasm-simd.ts";
import type { RowSpec } from "./row.ts";
import { enterMmx, laneOf, low, setLane, setMmx, setVector, sse, vector, waiting } from "./vector-operand.ts";

/** The lane of `bits` bits that field k of the immediate selects: shift count in an i64, or lane number. */
function field(c: Ctx, k: number): I32 {
  const { e } = c;
  return e.i32.and(e.i32.shrU(e.i32.wrap(c.immediate()), e.i32.const(2 * k)), e.i32.const(3));
}
/** Four 16-bit lanes of a quadword by the immediate. */
function shuffleWords(c: Ctx, from: Local<I64>): Local<I64> {
  const { e } = c;
  const out = c.let64(e.i64.const(0));
  for (let k = 0; k < 4; k++)
    e.set(
      out,
      e.i64.or(
        e.get(out),
        e.i64.shl(
          e.i64.and(
            e.i64.shrU(e.get(from), e.i64.extendI32u(e.i32.shl(field(c, k), e.i32.const(4)))),
            e.i64.const(0xffff),
          ),
          e.i64.const(16 * k),
        ),
      ),
    );
  return out;
}
/** PSHUFLW, PSHUFHW: one half shuffled, the other copied. */
const shuffleHalf = (lane: 0 | 1) => (c: Ctx) => {
  const { e } = c;
  const from = c.letV(vector(c, 1));
  const words = shuffleWords(c, c.let64(e.v128.extractI64(e.get(from), lane)));
  setVector(c, 0, c.letV(e.v128.replaceI64(e.get(from), e.get(words), lane)));
};
/** Swizzle pattern of the 32-bit lane with this number (i32): its four byte places. */
function laneBytes(c: Ctx, _lane: I32): I32 {
  const { e } = c;
  return e.i32.add(e.i32.mul(_lane, e.i32.const(0x04040404)), e.i32.const(0x03020100));
}
function picked(c: Ctx, from: Local<V128>): V128 {
  const { e } = c;
  const pattern = c.letV(e.v128.splatI32(laneBytes(c, field(c, 0))));
  for (const k of [1, 2, 3] as const) e.set(pattern, e.v128.replaceI32(e.get(pattern), laneBytes(c, field(c, k)), k));
  return e.v128.binary(I8x16.swizzle, e.get(from), e.get(pattern));
}
const shuffleDwords = (c: Ctx) => {
  const from = c.letV(vector(c, 1));
  setVector(c, 0, c.letV(picked(c, from)));
};
/** SHUFPS: two lanes from the destination, two from the source. */
const shufps = (c: Ctx) => {
  const { e } = c;
  const b = c.letV(vector(c, 1));
  const a = c.letV(vector(c, 0));
  const fromA = c.letV(picked(c, a));
  const fromB = c.letV(picked(c, b));
  setVector(
    c,
    0,
    c.letV(e.v128.shuffle(e.get(fromA), e.get(fromB), [0, 1, 2, 3, 4, 5, 6, 7, 24, 25, 26, 27, 28, 29, 30, 31])),
  );
};
/** SHUFPD: bit 0 picks the destination's half, bit 1 the source's. */
const shufpd = (c: Ctx) => {
  const { e } = c;
  const b = c.letV(vector(c, 1));
  const a = c.letV(vector(c, 0));
  const pick = (v: Local<V128>, bit: number) =>
    c.let64(
      e.select(
        e.v128.extractI64(e.get(v), 1),
        e.v128.extractI64(e.get(v), 0),
        e.i32.and(e.i32.wrap(c.immediate()), e.i32.const(bit)),
      ),
    );
  const lowHalf = pick(a, 1);
  const highHalf = pick(b, 2);
  setVector(c, 0, c.letV(e.v128.replaceI64(e.v128.splatI64(e.get(lowHalf)), e.get(highHalf), 1)));
};

// Words in and out

const insertWord = (lanes: 4 | 8) => (c: Ctx) => {
  const { e } = c;
  const word = c.let64(e.i64.and(c.get(1), e.i64.const(0xffff)));
  const place = c.let64(e.i64.and(c.immediate(), e.i64.const(lanes - 1)));
  const shift = (): I64 => e.i64.shl(e.i64.and(e.get(place), e.i64.const(3)), e.i64.const(4));
  const into = (old: () => I64) =>
    c.let64(
      e.i64.or(
        e.i64.and(old(), e.i64.xor(e.i64.shl(e.i64.const(0xffff), shift()), e.i64.const(-1))),
        e.i64.shl(e.get(word), shift()),
      ),
    );
  if (lanes === 4)
    return setMmx(
      c,
      0,
      into(() => laneOf(c, 0, 8)),
    );
  e.if(
    e.i64.geU(e.get(place), e.i64.const(4)),
    () =>
      setLane(
        c,
        0,
        8,
        1,
        into(() => laneOf(c, 0, 8, 1)),
      ),
    () =>
      setLane(
        c,
        0,
        8,
        0,
        into(() => laneOf(c, 0, 8, 0)),
      ),
  );
};
const extractWord = (lanes: 4 | 8) => (c: Ctx) => {
  const { e } = c;
  const place = c.let64(e.i64.and(c.immediate(), e.i64.const(lanes - 1)));
  const half =
    lanes === 4
      ? c.let64(laneOf(c, 1, 8))
      : c.let64(e.select(laneOf(c, 1, 8, 1), laneOf(c, 1, 8, 0), e.i64.geU(e.get(place), e.i64.const(4))));
  const word = c.let64(
    e.i64.and(
      e.i64.shrU(e.get(half), e.i64.shl(e.i64.and(e.get(place), e.i64.const(3)), e.i64.const(4))),
      e.i64.const(0xffff),
    ),
  );
  c.put(0, word);
  if (lanes === 4) enterMmx(c);
};

export const vectorShuffleRows: readonly RowSpec[] = [
  {
    name: "pshufd",
    map: 1,
    opcode: 0x70,
    prefix: 0x66,
    unit: "sse",
    operands: ["Vo", "Wo", "Ib"],
    emit: sse(shuffleDwords),
  },
  {
    name: "pshuflw",
    map: 1,
    opcode: 0x70,
    prefix: 0xf2,
    unit: "sse",
    operands: ["Vo", "Wo", "Ib"],
    emit: sse(shuffleHalf(0)),
  },
  {
    name: "pshufhw",
    map: 1,
    opcode: 0x70,
    prefix: 0xf3,
    unit: "sse",
    operands: ["Vo", "Wo", "Ib"],
    emit: sse(shuffleHalf(1)),
  },
  {
    name: "pshufw",
    map: 1,
    opcode: 0x70,
    prefix: "none",
    unit: "mmx",
    operands: ["Pq", "Qq", "Ib"],
    emit: waiting((c) => setMmx(c, 0, shuffleWords(c, c.let64(low(c, 1))))),
  },
  {
    name: "pinsrw",
    map: 1,
    opcode: 0xc4,
    prefix: 0x66,
    unit: "sse",
    operands: ["Vo", "Ew", "Ib"],
    emit: sse(insertWord(8)),
  },
  {
    name: "pinsrw",
    map: 1,
    opcode: 0xc4,
    prefix: "none",
    unit: "mmx",
    operands: ["Pq", "Ew", "Ib"],
    emit: waiting(insertWord(4)),
  },
  {
    name: "pextrw",
    map: 1,
    opcode: 0xc5,
    prefix: 0x66,
    unit: "sse",
    operands: ["Gd", "Uo", "Ib"],
    emit: sse(extractWord(8)),
  },
  {
    name: "pextrw",
    map: 1,
    opcode: 0xc5,
    prefix: "none",
    unit: "mmx",
    operands: ["Gd", "Nq", "Ib"],
    emit: waiting(extractWord(4)),
  },
  {
    name: "shufps",
    map: 1,
    opcode: 0xc6,
    prefix: "none",
    unit: "sse",
    operands: ["Vo", "Wo", "Ib"],
    emit: sse(shufps),
  },
  { name: "shufpd", map: 1, opcode: 0xc6, prefix: 0x66, unit: "sse", operands: ["Vo", "Wo", "Ib"], emit: sse(shufpd) },
];
