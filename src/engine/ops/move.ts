/** Moves: MOV, LEA, MOVZX/MOVSX, XCHG, the stack, SETcc and CMOVcc. */
import type { Ctx } from "../ctx.ts";
import type { I64, Local } from "../emitter.ts";
import { signExtend, zeroExtend } from "../flags.ts";
import type { HotForm, RowSpec } from "./row.ts";

const words: readonly HotForm[] = ["r4", "r8", "m4", "m8"];
const all: readonly HotForm[] = ["r1", "r4", "r8", "m1", "m2", "m4", "m8"];

const mov = (c: Ctx) => c.put(0, c.let64(c.get(1)));
const movSigned = (c: Ctx) => c.put(0, c.let64(c.getS(1)));

const xchg = (c: Ctx) => {
  const { e } = c;
  const b = c.let64(c.get(1));
  if (!c.isMemory(0)) {
    const a = c.let64(c.get(0));
    c.put(0, b);
    c.put(1, a);
    return;
  }
  const host = c.modifyAddress(c.let64(c.ea()), c.size);
  const seen = c.i64();
  c.modifyAt(host, c.size, true, (old) => {
    e.set(seen, e.get(old));
    return b;
  });
  c.put(1, seen);
};

const push = (c: Ctx) => {
  // Immediates are kept zero-extended to the operand size, which is the one pushed.
  c.push(c.let64(c.get(0)), c.size);
};
const pop = (c: Ctx) => {
  const { e } = c;
  const sp = c.let64(c.reg(4));
  const value = c.let64(c.loadAt(sp, c.size, false, true));
  const after = c.let64(e.i64.add(e.get(sp), e.i64.const(c.size)));
  if (!c.isMemory(0)) {
    c.setReg(4, after);
    c.put(0, value);
    return;
  }
  // An address by way of rsp sees it after the pop, but a fault must not.
  c.setReg(4, after);
  const va = c.let64(c.ea());
  c.setReg(4, sp);
  c.storeAt(va, c.size, value);
  c.setReg(4, after);
};

const leave = (c: Ctx) => {
  const { e } = c;
  const sp = c.let64(c.reg(5));
  const value = c.let64(c.loadAt(sp, c.size, false, true));
  c.setReg(4, c.let64(e.i64.add(e.get(sp), e.i64.const(c.size))));
  c.setReg(5, value, c.size);
};

const enter = (c: Ctx) => {
  // imm: frame bytes in the low 16 bits, nesting level above.
  const { e } = c;
  const level = c.let32(e.i32.and(e.i32.wrap(e.i64.shrU(c.immediate(), e.i64.const(16))), e.i32.const(31)));
  const sp = c.let64(e.i64.sub(c.reg(4), e.i64.const(c.size)));
  const frame = c.let64(e.get(sp));
  const bp = c.let64(c.reg(5));
  c.storeAt(sp, c.size, bp, true);
  const value = c.i64();
  e.if(e.get(level), () => {
    e.block((done) => {
      e.loop((again) => {
        e.brIf(done, e.i32.eqz(e.tee(level, e.i32.sub(e.get(level), e.i32.const(1)))));
        e.set(bp, e.i64.sub(e.get(bp), e.i64.const(c.size)));
        e.set(value, c.loadAt(bp, c.size, false, true));
        e.set(sp, e.i64.sub(e.get(sp), e.i64.const(c.size)));
        c.storeAt(sp, c.size, value, true);
        e.br(again);
      });
    });
    e.set(sp, e.i64.sub(e.get(sp), e.i64.const(c.size)));
    c.storeAt(sp, c.size, frame, true);
  });
  e.set(sp, e.i64.sub(e.get(sp), e.i64.and(c.immediate(), e.i64.const(0xffff))));
  // The processor checks that the new stack top can be written.
  c.modifyAddress(sp, c.size, true);
  c.setReg(4, sp);
  c.setReg(5, frame, c.size);
};

const conditions = ["o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g"];

const conditional: RowSpec[] = conditions.flatMap((name, n): RowSpec[] => [
  {
    name: `set${name}`,
    map: 1,
    opcode: 0x90 + n,
    operands: ["Eb"],
    hot: ["r1"],
    emit: (c) => c.put(0, c.let64(c.e.i64.extendI32u(c.condition(n)))),
  },
  {
    name: `cmov${name}`,
    map: 1,
    opcode: 0x40 + n,
    operands: ["Gv", "Ev"],
    hot: ["r4", "r8"],
    emit: (c) => {
      const { e } = c;
      const value = c.let64(c.get(1));
      c.put(0, c.let64(e.select(e.get(value), c.get(0), c.condition(n))));
    },
  },
]);

/** CBW, CWDE, CDQE: the accumulator from its half; CWD, CDQ, CQO: its sign into rdx. */
const widen = (c: Ctx) => {
  const { e } = c;
  const value: Local<I64> = c.let64(signExtend(e, (c.size / 2) as 1 | 2 | 4, c.reg(0)));
  c.setReg(0, value, c.size);
};
const signIntoDx = (c: Ctx) => {
  const { e } = c;
  c.setReg(2, c.let64(e.i64.shrS(c.regS(0, c.size), e.i64.const(63))), c.size);
};

const bswap = (c: Ctx) => {
  const { e } = c;
  const v = c.let64(c.get(0));
  const swapPairs = (mask: bigint, by: number): void =>
    e.set(
      v,
      e.i64.or(
        e.i64.shl(e.i64.and(e.get(v), e.i64.const(mask)), e.i64.const(by)),
        e.i64.and(e.i64.shrU(e.get(v), e.i64.const(by)), e.i64.const(mask)),
      ),
    );
  // The 16-bit form is undefined; processors give 0.
  if (c.size === 2) e.set(v, e.i64.const(0));
  else {
    swapPairs(0x00ff00ff00ff00ffn, 8);
    swapPairs(0x0000ffff0000ffffn, 16);
    if (c.size === 8) e.set(v, e.i64.rotl(e.get(v), e.i64.const(32)));
  }
  c.put(0, v);
};

export const moveRows: readonly RowSpec[] = [
  { name: "mov", opcode: 0x88, operands: ["Eb", "Gb"], hot: all, emit: mov },
  { name: "mov", opcode: 0x89, operands: ["Ev", "Gv"], hot: all, emit: mov },
  { name: "mov", opcode: 0x8a, operands: ["Gb", "Eb"], hot: all, emit: mov },
  { name: "mov", opcode: 0x8b, operands: ["Gv", "Ev"], hot: all, emit: mov },
  { name: "mov", opcode: 0xa0, operands: ["Ab", "Ob"], emit: mov },
  { name: "mov", opcode: 0xa1, operands: ["Av", "Ov"], emit: mov },
  { name: "mov", opcode: 0xa2, operands: ["Ob", "Ab"], emit: mov },
  { name: "mov", opcode: 0xa3, operands: ["Ov", "Av"], emit: mov },
  { name: "mov", opcode: 0xb0, operands: ["Zb", "Ib"], hot: ["r1"], emit: mov },
  { name: "mov", opcode: 0xb8, operands: ["Zv", "Iv"], hot: ["r4", "r8"], emit: mov },
  { name: "mov", opcode: 0xc6, digit: 0, operands: ["Eb", "Ib"], hot: all, emit: mov },
  { name: "mov", opcode: 0xc7, digit: 0, operands: ["Ev", "Iz"], hot: all, emit: mov },
  { name: "movnti", map: 1, opcode: 0xc3, prefix: "none", operands: ["My", "Gy"], emit: mov },
  // Its rare 16-bit form reads 32 bits all the same.
  { name: "movsxd", opcode: 0x63, operands: ["Gv", "Ed"], sizes: [2, 4, 8], hot: ["r8", "m8"], emit: movSigned },
  // With a 16-bit operand size it moves 16 bits.
  { name: "movzx", map: 1, opcode: 0xb6, operands: ["Gv", "Eb"], hot: words, emit: mov },
  { name: "movzx", map: 1, opcode: 0xb7, operands: ["Gv", "Ew"], hot: words, emit: mov },
  { name: "movsx", map: 1, opcode: 0xbe, operands: ["Gv", "Eb"], hot: words, emit: movSigned },
  { name: "movsx", map: 1, opcode: 0xbf, operands: ["Gv", "Ew"], hot: words, emit: movSigned },
  {
    name: "lea",
    opcode: 0x8d,
    operands: ["Gv", "M"],
    hot: ["m4", "m8"],
    emit: (c) => c.put(0, c.let64(zeroExtend(c.e, c.size, c.ea(false)))),
  },
  { name: "xchg", opcode: 0x86, operands: ["Eb", "Gb"], lockable: true, emit: xchg },
  { name: "xchg", opcode: 0x87, operands: ["Ev", "Gv"], lockable: true, hot: ["r8"], emit: xchg },
  { name: "xchg", opcode: 0x90, operands: ["Zv", "Av"], emit: xchg },
  { name: "push", opcode: 0x50, operands: ["Zv"], default64: true, stack: true, hot: ["r8"], emit: push },
  { name: "pop", opcode: 0x58, operands: ["Zv"], default64: true, stack: true, hot: ["r8"], emit: pop },
  {
    name: "push",
    opcode: 0x68,
    operands: ["Iz"],
    sizes: [2, 8],
    default64: true,
    stack: true,
    hot: ["r8"],
    emit: push,
  },
  {
    name: "push",
    opcode: 0x6a,
    operands: ["Ib"],
    sizes: [2, 8],
    default64: true,
    stack: true,
    hot: ["r8"],
    emit: push,
  },
  { name: "push", opcode: 0xff, digit: 6, operands: ["Ev"], default64: true, stack: true, hot: ["m8"], emit: push },
  { name: "pop", opcode: 0x8f, digit: 0, operands: ["Ev"], default64: true, stack: true, emit: pop },
  { name: "leave", opcode: 0xc9, sizes: [2, 8], default64: true, stack: true, hot: ["r8"], emit: leave },
  { name: "enter", opcode: 0xc8, operands: ["Iw", "Ib"], sizes: [2, 8], default64: true, stack: true, emit: enter },
  { name: "cbw", opcode: 0x98, sizes: [2, 4, 8], hot: ["r4", "r8"], emit: widen },
  { name: "cwd", opcode: 0x99, sizes: [2, 4, 8], hot: ["r4", "r8"], emit: signIntoDx },
  { name: "bswap", map: 1, opcode: 0xc8, operands: ["Zv"], hot: ["r4", "r8"], emit: bswap },
  {
    name: "xlat",
    opcode: 0xd7,
    sizes: [1],
    emit: (c) => {
      const { e } = c;
      const va = c.let64(e.i64.add(c.reg(3), c.reg(0, 1)));
      e.if(e.i32.and(c.recordFlags(), e.i32.const(1)), () => e.set(va, zeroExtend(e, 4, e.get(va))));
      e.set(va, e.i64.add(e.get(va), c.segmentBase()));
      c.setReg(0, c.let64(c.loadAt(va, 1)), 1);
    },
  },
  ...conditional,
];
