/** SSE and SSE2 moves between xmm registers, memory, general and mmx registers; masks and non-temporal stores. */
import type { Ctx } from "../ctx.ts";
import { I8x16, I32x4, I64x2 } from "../wasm-simd.ts";
import type { RowSpec } from "./row.ts";
import {
  type Alignment,
  alignedAddress,
  enterMmx,
  laneOf,
  low,
  setLane,
  setLow,
  setMmx,
  setVector,
  sse,
  storeVector,
  vector,
  waiting,
} from "./vector-operand.ts";

const spec = (
  opcode: number,
  prefix: RowSpec["prefix"],
  row: Partial<RowSpec> & Pick<RowSpec, "name" | "emit">,
): RowSpec => ({
  map: 1,
  opcode,
  prefix: prefix ?? "none",
  unit: "sse",
  ...row,
  emit: sse(row.emit),
});

/** Whole registers and 16 bytes of memory, either way. */
const whole = (alignment: Alignment) => (c: Ctx) => {
  if (c.isMemory(0)) {
    const va = alignment === "aligned" ? alignedAddress(c) : c.let64(c.ea());
    storeVector(c, va, c.letV(vector(c, 1)));
  } else setVector(c, 0, c.letV(vector(c, 1, alignment)));
};
/** MOVSS, MOVSD: from memory with zeros above, between registers the low part alone. */
const scalar = (size: 4 | 8) => (c: Ctx) => {
  if (c.isMemory(0)) c.storeAt(c.let64(c.ea()), size, c.let64(laneOf(c, 1, size)));
  else if (c.isMemory(1)) setLow(c, 0, c.let64(low(c, 1)));
  else setLane(c, 0, size, 0, c.let64(laneOf(c, 1, size)));
};
/** 8 bytes between memory and one half, or from the other register's half. */
const half = (to: 0 | 1, from: 0 | 1) => (c: Ctx) => {
  if (c.isMemory(0)) c.storeAt(c.let64(c.ea()), 8, c.let64(laneOf(c, 1, 8, from)));
  else if (c.isMemory(1)) setLane(c, 0, 8, to, c.let64(low(c, 1)));
  else setLane(c, 0, 8, to, c.let64(laneOf(c, 1, 8, from)));
};
const load = (alignment: Alignment): Pick<RowSpec, "operands" | "emit"> => ({
  operands: ["Vo", "Wo"],
  emit: whole(alignment),
});
const store = (alignment: Alignment): Pick<RowSpec, "operands" | "emit"> => ({
  operands: ["Wo", "Vo"],
  emit: whole(alignment),
});

/** To the general register or memory, by operand size. */
const toGeneral = (c: Ctx) => c.put(0, c.let64(laneOf(c, 1, c.size)));
const signMask = (opcode: number) => (c: Ctx) =>
  c.put(0, c.let64(c.e.i64.extendI32u(c.e.v128.toI32(opcode, vector(c, 1)))));

/** MASKMOVDQU, MASKMOVQ: the bytes of operand 0 whose byte in operand 1 has its top bit set go to [rdi]. */
const maskedStore = (bytes: 8 | 16) => (c: Ctx) => {
  const { e } = c;
  const mask = c.let32(e.v128.toI32(I8x16.bitmask, vector(c, 1)));
  const to = c.let64(c.reg(7));
  e.if(e.i32.and(c.recordFlags(), e.i32.const(1)), () => e.set(to, e.i64.extendI32u(e.i32.wrap(e.get(to)))));
  e.set(to, e.i64.add(e.get(to), c.segmentBase()));
  const va = c.i64();
  const selected = (i: number, then: () => void): void =>
    e.if(e.i32.and(e.get(mask), e.i32.const(1 << i)), () => {
      e.set(va, e.i64.add(e.get(to), e.i64.const(i)));
      then();
    });
  // Every fault comes before the first byte is stored.
  for (let i = 0; i < bytes; i++) selected(i, () => c.modifyAddress(va, 1));
  const byte = c.i64();
  for (let i = 0; i < bytes; i++)
    selected(i, () => {
      e.set(byte, laneOf(c, 0, 1, i));
      c.storeAt(va, 1, byte);
    });
  if (bytes === 8) enterMmx(c);
};

export const sseMoveRows: readonly RowSpec[] = [
  spec(0x10, "none", { name: "movups", ...load("any") }),
  spec(0x11, "none", { name: "movups", ...store("any") }),
  spec(0x10, 0x66, { name: "movupd", ...load("any") }),
  spec(0x11, 0x66, { name: "movupd", ...store("any") }),
  spec(0x10, 0xf3, { name: "movss", operands: ["Vo", "Wd"], emit: scalar(4) }),
  spec(0x11, 0xf3, { name: "movss", operands: ["Wd", "Vo"], emit: scalar(4) }),
  spec(0x10, 0xf2, { name: "movsd", operands: ["Vo", "Wq"], emit: scalar(8) }),
  spec(0x11, 0xf2, { name: "movsd", operands: ["Wq", "Vo"], emit: scalar(8) }),
  spec(0x12, "none", { name: "movlps", operands: ["Vo", "Mq"], emit: half(0, 0) }),
  spec(0x12, "none", { name: "movhlps", operands: ["Vo", "Uo"], emit: half(0, 1) }),
  spec(0x13, "none", { name: "movlps", operands: ["Mq", "Vo"], emit: half(0, 0) }),
  spec(0x12, 0x66, { name: "movlpd", operands: ["Vo", "Mq"], emit: half(0, 0) }),
  spec(0x13, 0x66, { name: "movlpd", operands: ["Mq", "Vo"], emit: half(0, 0) }),
  spec(0x16, "none", { name: "movhps", operands: ["Vo", "Mq"], emit: half(1, 1) }),
  spec(0x16, "none", { name: "movlhps", operands: ["Vo", "Uo"], emit: half(1, 0) }),
  spec(0x17, "none", { name: "movhps", operands: ["Mq", "Vo"], emit: half(1, 1) }),
  spec(0x16, 0x66, { name: "movhpd", operands: ["Vo", "Mq"], emit: half(1, 1) }),
  spec(0x17, 0x66, { name: "movhpd", operands: ["Mq", "Vo"], emit: half(1, 1) }),
  spec(0x28, "none", { name: "movaps", ...load("aligned") }),
  spec(0x29, "none", { name: "movaps", ...store("aligned") }),
  spec(0x28, 0x66, { name: "movapd", ...load("aligned") }),
  spec(0x29, 0x66, { name: "movapd", ...store("aligned") }),
  spec(0x6f, 0x66, { name: "movdqa", ...load("aligned") }),
  spec(0x7f, 0x66, { name: "movdqa", ...store("aligned") }),
  spec(0x6f, 0xf3, { name: "movdqu", ...load("any") }),
  spec(0x7f, 0xf3, { name: "movdqu", ...store("any") }),
  spec(0x2b, "none", { name: "movntps", operands: ["Mo", "Vo"], emit: whole("aligned") }),
  spec(0x2b, 0x66, { name: "movntpd", operands: ["Mo", "Vo"], emit: whole("aligned") }),
  spec(0xe7, 0x66, { name: "movntdq", operands: ["Mo", "Vo"], emit: whole("aligned") }),
  spec(0x50, "none", { name: "movmskps", operands: ["Gd", "Uo"], emit: signMask(I32x4.bitmask) }),
  spec(0x50, 0x66, { name: "movmskpd", operands: ["Gd", "Uo"], emit: signMask(I64x2.bitmask) }),
  spec(0xd7, 0x66, { name: "pmovmskb", operands: ["Gd", "Uo"], emit: signMask(I8x16.bitmask) }),
  spec(0x6e, 0x66, { name: "movd", operands: ["Vo", "Ey"], emit: (c) => setLow(c, 0, c.let64(c.get(1))) }),
  spec(0x7e, 0x66, { name: "movd", operands: ["Ey", "Vo"], emit: toGeneral }),
  spec(0x7e, 0xf3, { name: "movq", operands: ["Vo", "Wq"], emit: (c) => setLow(c, 0, c.let64(low(c, 1))) }),
  spec(0xd6, 0x66, {
    name: "movq",
    operands: ["Wq", "Vo"],
    emit: (c) => {
      const value = c.let64(laneOf(c, 1, 8));
      if (c.isMemory(0)) c.storeAt(c.let64(c.ea()), 8, value);
      else setLow(c, 0, value);
    },
  }),
  spec(0xf7, 0x66, { name: "maskmovdqu", operands: ["Vo", "Uo"], emit: maskedStore(16) }),
];

const mmxSpec = (
  opcode: number,
  prefix: RowSpec["prefix"],
  row: Partial<RowSpec> & Pick<RowSpec, "name" | "emit">,
): RowSpec => ({
  map: 1,
  opcode,
  prefix: prefix ?? "none",
  unit: "mmx",
  ...row,
  emit: waiting(row.emit),
});

export const mmxMoveRows: readonly RowSpec[] = [
  mmxSpec(0x6e, "none", { name: "movd", operands: ["Pq", "Ey"], emit: (c) => setMmx(c, 0, c.let64(c.get(1))) }),
  mmxSpec(0x7e, "none", {
    name: "movd",
    operands: ["Ey", "Pq"],
    emit: (c) => {
      toGeneral(c);
      enterMmx(c);
    },
  }),
  mmxSpec(0x6f, "none", { name: "movq", operands: ["Pq", "Qq"], emit: (c) => setMmx(c, 0, c.let64(low(c, 1))) }),
  mmxSpec(0x7f, "none", {
    name: "movq",
    operands: ["Qq", "Pq"],
    emit: (c) => {
      const value = c.let64(low(c, 1));
      if (!c.isMemory(0)) return setMmx(c, 0, value);
      c.storeAt(c.let64(c.ea()), 8, value);
      enterMmx(c);
    },
  }),
  mmxSpec(0xe7, "none", {
    name: "movntq",
    operands: ["Mq", "Pq"],
    emit: (c) => {
      c.storeAt(c.let64(c.ea()), 8, c.let64(laneOf(c, 1, 8)));
      enterMmx(c);
    },
  }),
  mmxSpec(0xd6, 0xf3, {
    name: "movq2dq",
    operands: ["Vo", "Nq"],
    emit: (c) => {
      setLow(c, 0, c.let64(laneOf(c, 1, 8)));
      enterMmx(c);
    },
  }),
  mmxSpec(0xd6, 0xf2, { name: "movdq2q", operands: ["Pq", "Uo"], emit: (c) => setMmx(c, 0, c.let64(laneOf(c, 1, 8))) }),
  mmxSpec(0xd7, "none", {
    name: "pmovmskb",
    operands: ["Gd", "Nq"],
    emit: (c) => {
      c.put(
        0,
        c.let64(c.e.i64.extendI32u(c.e.i32.and(c.e.v128.toI32(I8x16.bitmask, vector(c, 1)), c.e.i32.const(0xff)))),
      );
      enterMmx(c);
    },
  }),
  mmxSpec(0xf7, "none", { name: "maskmovq", operands: ["Pq", "Nq"], emit: maskedStore(8) }),
];
