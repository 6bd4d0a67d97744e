/**
 * Integer vectors: each operation is written once on 128 bits and gives the xmm row (66 prefix) and the mmx row (no prefix).
 *
 * In the mmx form operands are in the low halves with zeros above, and the low half of the result counts. Where that is not the operation on 64 bits
 * (packs and high unpacks), the mmx form has a version of its own.
 */
import type { Ctx } from "../ctx.ts";
import type { I32, Local, V128 } from "../emitter.ts";
import { I8x16, I16x8, I32x4, I64x2, V128Op } from "../wasm-simd.ts";
import type { OperandName, RowSpec } from "./row.ts";
import { setVector, sse, vector, waiting } from "./vector-operand.ts";

type Operation = (c: Ctx, a: Local<V128>, b: Local<V128>) => V128;

const plain =
  (opcode: number): Operation =>
  (c, a, b) =>
    c.e.v128.binary(opcode, c.e.get(a), c.e.get(b));

/** Bytes of the result, from a (0..15) and b (16..31). */
const shuffled =
  (lanes: readonly number[]): Operation =>
  (c, a, b) =>
    c.e.v128.shuffle(c.e.get(a), c.e.get(b), lanes);

/** Lanes of `size` bytes from a and b in turns, from lane `first` on. */
function interleave(size: number, first: number): readonly number[] {
  return Array.from({ length: 16 }, (_, i) => {
    const lane = Math.floor(i / size);
    return (lane & 1 ? 16 : 0) + (first + (lane >> 1)) * size + (i % size);
  });
}
const unpackLow = (size: number): Operation => shuffled(interleave(size, 0));
const unpackHigh = (size: number): Operation => shuffled(interleave(size, 8 / size));
/** On 64 bits the upper lanes of the low halves are interleaved. */
const unpackHighMmx = (size: number): Operation => shuffled(interleave(size, 4 / size));

/** Both operands in one vector first, so that the narrowed low half is the result. */
const packMmx =
  (opcode: number): Operation =>
  (c, a, b) => {
    const both = c.letV(
      c.e.v128.shuffle(c.e.get(a), c.e.get(b), [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23]),
    );
    return c.e.v128.binary(opcode, c.e.get(both), c.e.get(both));
  };

/** The upper 16 bits of each product. */
const multiplyHigh =
  (mulLow: number, mulHigh: number): Operation =>
  (c, a, b) => {
    const { e } = c;
    return e.v128.shuffle(
      e.v128.binary(mulLow, e.get(a), e.get(b)),
      e.v128.binary(mulHigh, e.get(a), e.get(b)),
      [2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31],
    );
  };

/** PMULUDQ: the even 32-bit lanes. */
const multiplyEven: Operation = (c, a, b) => {
  const { e } = c;
  const even = (v: Local<V128>): V128 =>
    e.v128.shuffle(e.get(v), e.get(v), [0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11]);
  return e.v128.binary(I64x2.mulLowU, even(a), even(b));
};

/** PSADBW: sums of eight absolute byte differences, one a half. */
const sumOfDifferences: Operation = (c, a, b) => {
  const { e } = c;
  const words = e.v128.unary(
    I16x8.sumPairsU,
    e.v128.binary(
      I8x16.sub,
      e.v128.binary(I8x16.maxU, e.get(a), e.get(b)),
      e.v128.binary(I8x16.minU, e.get(a), e.get(b)),
    ),
  );
  const pairs = c.letV(e.v128.unary(I32x4.sumPairsU, words));
  return e.v128.binary(
    V128Op.and,
    e.v128.binary(I64x2.add, e.get(pairs), e.v128.shift(I64x2.shrU, e.get(pairs), e.i32.const(32))),
    e.v128.const(0xffffffffn, 0xffffffffn),
  );
};

/** PANDN: not a, and b. */
const andNot: Operation = (c, a, b) => c.e.v128.binary(V128Op.andNot, c.e.get(b), c.e.get(a));

interface Entry {
  readonly opcode: number;
  readonly name: string;
  readonly operation: Operation;
  /** The mmx form: the same unless given; `none` where there is no such row. */
  readonly mmx?: Operation | "none";
  /** Bytes of the mmx form's memory operand. */
  readonly mmxSource?: OperandName;
}

const entries: readonly Entry[] = [
  { opcode: 0x60, name: "punpcklbw", operation: unpackLow(1), mmxSource: "Qd" },
  { opcode: 0x61, name: "punpcklwd", operation: unpackLow(2), mmxSource: "Qd" },
  { opcode: 0x62, name: "punpckldq", operation: unpackLow(4), mmxSource: "Qd" },
  { opcode: 0x63, name: "packsswb", operation: plain(I8x16.narrowS), mmx: packMmx(I8x16.narrowS) },
  { opcode: 0x64, name: "pcmpgtb", operation: plain(I8x16.gtS) },
  { opcode: 0x65, name: "pcmpgtw", operation: plain(I16x8.gtS) },
  { opcode: 0x66, name: "pcmpgtd", operation: plain(I32x4.gtS) },
  { opcode: 0x67, name: "packuswb", operation: plain(I8x16.narrowU), mmx: packMmx(I8x16.narrowU) },
  { opcode: 0x68, name: "punpckhbw", operation: unpackHigh(1), mmx: unpackHighMmx(1) },
  { opcode: 0x69, name: "punpckhwd", operation: unpackHigh(2), mmx: unpackHighMmx(2) },
  { opcode: 0x6a, name: "punpckhdq", operation: unpackHigh(4), mmx: unpackHighMmx(4) },
  { opcode: 0x6b, name: "packssdw", operation: plain(I16x8.narrowS), mmx: packMmx(I16x8.narrowS) },
  { opcode: 0x6c, name: "punpcklqdq", operation: unpackLow(8), mmx: "none" },
  { opcode: 0x6d, name: "punpckhqdq", operation: unpackHigh(8), mmx: "none" },
  { opcode: 0x74, name: "pcmpeqb", operation: plain(I8x16.eq) },
  { opcode: 0x75, name: "pcmpeqw", operation: plain(I16x8.eq) },
  { opcode: 0x76, name: "pcmpeqd", operation: plain(I32x4.eq) },
  { opcode: 0xd4, name: "paddq", operation: plain(I64x2.add) },
  { opcode: 0xd5, name: "pmullw", operation: plain(I16x8.mul) },
  { opcode: 0xd8, name: "psubusb", operation: plain(I8x16.subSatU) },
  { opcode: 0xd9, name: "psubusw", operation: plain(I16x8.subSatU) },
  { opcode: 0xda, name: "pminub", operation: plain(I8x16.minU) },
  { opcode: 0xdb, name: "pand", operation: plain(V128Op.and) },
  { opcode: 0xdc, name: "paddusb", operation: plain(I8x16.addSatU) },
  { opcode: 0xdd, name: "paddusw", operation: plain(I16x8.addSatU) },
  { opcode: 0xde, name: "pmaxub", operation: plain(I8x16.maxU) },
  { opcode: 0xdf, name: "pandn", operation: andNot },
  { opcode: 0xe0, name: "pavgb", operation: plain(I8x16.avgU) },
  { opcode: 0xe3, name: "pavgw", operation: plain(I16x8.avgU) },
  { opcode: 0xe4, name: "pmulhuw", operation: multiplyHigh(I32x4.mulLowU, I32x4.mulHighU) },
  { opcode: 0xe5, name: "pmulhw", operation: multiplyHigh(I32x4.mulLowS, I32x4.mulHighS) },
  { opcode: 0xe8, name: "psubsb", operation: plain(I8x16.subSatS) },
  { opcode: 0xe9, name: "psubsw", operation: plain(I16x8.subSatS) },
  { opcode: 0xea, name: "pminsw", operation: plain(I16x8.minS) },
  { opcode: 0xeb, name: "por", operation: plain(V128Op.or) },
  { opcode: 0xec, name: "paddsb", operation: plain(I8x16.addSatS) },
  { opcode: 0xed, name: "paddsw", operation: plain(I16x8.addSatS) },
  { opcode: 0xee, name: "pmaxsw", operation: plain(I16x8.maxS) },
  { opcode: 0xef, name: "pxor", operation: plain(V128Op.xor) },
  { opcode: 0xf4, name: "pmuludq", operation: multiplyEven },
  { opcode: 0xf5, name: "pmaddwd", operation: plain(I32x4.dot) },
  { opcode: 0xf6, name: "psadbw", operation: sumOfDifferences },
  { opcode: 0xf8, name: "psubb", operation: plain(I8x16.sub) },
  { opcode: 0xf9, name: "psubw", operation: plain(I16x8.sub) },
  { opcode: 0xfa, name: "psubd", operation: plain(I32x4.sub) },
  { opcode: 0xfb, name: "psubq", operation: plain(I64x2.sub) },
  { opcode: 0xfc, name: "paddb", operation: plain(I8x16.add) },
  { opcode: 0xfd, name: "paddw", operation: plain(I16x8.add) },
  { opcode: 0xfe, name: "paddd", operation: plain(I32x4.add) },
];

const apply = (operation: Operation) => (c: Ctx) => {
  const b = c.letV(vector(c, 1));
  const a = c.letV(vector(c, 0));
  setVector(c, 0, c.letV(operation(c, a, b)));
};
/** What string code and zeroing live on. */
const HOT = ["pxor", "pcmpeqb", "por", "pand", "pminub"];
const xmmRow = (opcode: number, name: string, operation: Operation): RowSpec => ({
  name,
  hot: HOT.includes(name) ? ["r8"] : [],
  map: 1,
  opcode,
  prefix: 0x66,
  unit: "sse",
  operands: ["Vo", "Wo"],
  emit: sse(apply(operation)),
});
const mmxRow = (opcode: number, name: string, operation: Operation, source: OperandName = "Qq"): RowSpec => ({
  name,
  map: 1,
  opcode,
  prefix: "none",
  unit: "mmx",
  operands: ["Pq", source],
  emit: waiting(apply(operation)),
});

// Shifts by a count

interface ShiftKind {
  readonly name: string;
  readonly wasm: number;
  readonly bits: 16 | 32 | 64;
  /** Opcode with the count in a register or memory; opcode and digit with an immediate. */
  readonly byRegister: number;
  readonly byImmediate: number;
  readonly digit: number;
  readonly arithmetic: boolean;
}
const shiftKind = (
  name: string,
  wasm: number,
  bits: 16 | 32 | 64,
  byRegister: number,
  digit: number,
  arithmetic = false,
): ShiftKind => ({
  name,
  wasm,
  bits,
  byRegister,
  byImmediate: bits === 16 ? 0x71 : bits === 32 ? 0x72 : 0x73,
  digit,
  arithmetic,
});

const shiftKinds: readonly ShiftKind[] = [
  shiftKind("psrlw", I16x8.shrU, 16, 0xd1, 2),
  shiftKind("psrld", I32x4.shrU, 32, 0xd2, 2),
  shiftKind("psrlq", I64x2.shrU, 64, 0xd3, 2),
  shiftKind("psraw", I16x8.shrS, 16, 0xe1, 4, true),
  shiftKind("psrad", I32x4.shrS, 32, 0xe2, 4, true),
  shiftKind("psllw", I16x8.shl, 16, 0xf1, 6),
  shiftKind("pslld", I32x4.shl, 32, 0xf2, 6),
  shiftKind("psllq", I64x2.shl, 64, 0xf3, 6),
];

/** Counts from the lane's width on give zeros, or the sign everywhere. */
function shifted(c: Ctx, kind: ShiftKind, value: () => V128, tooFar: () => I32, count: () => I32): V128 {
  const { e } = c;
  if (kind.arithmetic) return e.v128.shift(kind.wasm, value(), e.select(e.i32.const(kind.bits - 1), count(), tooFar()));
  return e.select(e.v128.const(0n, 0n), e.v128.shift(kind.wasm, value(), count()), tooFar());
}

const shiftByOperand = (kind: ShiftKind) => (c: Ctx) => {
  const { e } = c;
  // The count is the low 64 bits of the operand, of which memory is read whole.
  const count = c.let64(e.v128.extractI64(vector(c, 1), 0));
  const value = c.letV(vector(c, 0));
  setVector(
    c,
    0,
    c.letV(
      shifted(
        c,
        kind,
        () => e.get(value),
        () => e.i64.geU(e.get(count), e.i64.const(kind.bits)),
        () => e.i32.wrap(e.get(count)),
      ),
    ),
  );
};
const shiftByImmediate = (kind: ShiftKind) => (c: Ctx) => {
  const { e } = c;
  const count = c.let32(e.i32.and(e.i32.wrap(c.immediate()), e.i32.const(0xff)));
  const value = c.letV(vector(c, 0));
  setVector(
    c,
    0,
    c.letV(
      shifted(
        c,
        kind,
        () => e.get(value),
        () => e.i32.geU(e.get(count), e.i32.const(kind.bits)),
        () => e.get(count),
      ),
    ),
  );
};

/** PSLLDQ and PSRLDQ: bytes of the whole register; a swizzle gives 0 for places outside it. */
const shiftBytes = (left: boolean) => (c: Ctx) => {
  const { e } = c;
  const count = c.let32(e.i32.and(e.i32.wrap(c.immediate()), e.i32.const(0xff)));
  e.set(count, e.select(e.i32.const(16), e.get(count), e.i32.gtU(e.get(count), e.i32.const(16))));
  setVector(
    c,
    0,
    c.letV(
      e.v128.binary(
        I8x16.swizzle,
        vector(c, 0),
        e.v128.binary(
          left ? I8x16.sub : I8x16.add,
          e.v128.const(0x0706050403020100n, 0x0f0e0d0c0b0a0908n),
          e.v128.splatI8(e.get(count)),
        ),
      ),
    ),
  );
};

const shiftRows: readonly RowSpec[] = shiftKinds.flatMap((kind): RowSpec[] => {
  const { name } = kind;
  return [
    {
      name,
      map: 1,
      opcode: kind.byRegister,
      prefix: 0x66,
      unit: "sse",
      operands: ["Vo", "Wo"],
      emit: sse(shiftByOperand(kind)),
    },
    {
      name,
      map: 1,
      opcode: kind.byRegister,
      prefix: "none",
      unit: "mmx",
      operands: ["Pq", "Qq"],
      emit: waiting(shiftByOperand(kind)),
    },
    {
      name,
      map: 1,
      opcode: kind.byImmediate,
      digit: kind.digit,
      prefix: 0x66,
      unit: "sse",
      operands: ["Uo", "Ib"],
      emit: sse(shiftByImmediate(kind)),
    },
    {
      name,
      map: 1,
      opcode: kind.byImmediate,
      digit: kind.digit,
      prefix: "none",
      unit: "mmx",
      operands: ["Nq", "Ib"],
      emit: waiting(shiftByImmediate(kind)),
    },
  ];
});

const floatRow = (opcode: number, prefix: "none" | 0x66, name: string, operation: Operation): RowSpec => ({
  ...xmmRow(opcode, name, operation),
  prefix,
});

export const vectorIntegerRows: readonly RowSpec[] = [
  ...entries.flatMap((entry): RowSpec[] => {
    const { opcode, name, operation, mmx, mmxSource } = entry;
    const rows = [xmmRow(opcode, name, operation)];
    if (mmx !== "none") rows.push(mmxRow(opcode, name, mmx ?? operation, mmxSource));
    return rows;
  }),
  ...shiftRows,
  {
    name: "pslldq",
    map: 1,
    opcode: 0x73,
    digit: 7,
    prefix: 0x66,
    unit: "sse",
    operands: ["Uo", "Ib"],
    emit: sse(shiftBytes(true)),
  },
  {
    name: "psrldq",
    map: 1,
    opcode: 0x73,
    digit: 3,
    prefix: 0x66,
    unit: "sse",
    operands: ["Uo", "Ib"],
    emit: sse(shiftBytes(false)),
  },
  // The logical and shuffling rows of the floating-point sets, which do not look at what the bits mean
  floatRow(0x54, "none", "andps", plain(V128Op.and)),
  floatRow(0x54, 0x66, "andpd", plain(V128Op.and)),
  floatRow(0x55, "none", "andnps", andNot),
  floatRow(0x55, 0x66, "andnpd", andNot),
  floatRow(0x56, "none", "orps", plain(V128Op.or)),
  floatRow(0x56, 0x66, "orpd", plain(V128Op.or)),
  floatRow(0x57, "none", "xorps", plain(V128Op.xor)),
  floatRow(0x57, 0x66, "xorpd", plain(V128Op.xor)),
  floatRow(0x14, "none", "unpcklps", unpackLow(4)),
  floatRow(0x14, 0x66, "unpcklpd", unpackLow(8)),
  floatRow(0x15, "none", "unpckhps", unpackHigh(4)),
  floatRow(0x15, 0x66, "unpckhpd", unpackHigh(8)),
];
