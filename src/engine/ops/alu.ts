/** Addition, subtraction, logic and comparison: the eight classic operations in all their forms, TEST, and the one-operand ones. */
import type { Ctx } from "../ctx.ts";
import type { I64, Local } from "../emitter.ts";
import { carry, setAddFlags, setIncDecFlags, setLogicFlags, setSubFlags } from "../flags.ts";
import { Flag, type HotForm, type RowSpec } from "./row.ts";

type Operation = (c: Ctx, a: Local<I64>, b: Local<I64>) => Local<I64>;

const add: Operation = (c, a, b) => {
  const r = c.let64(c.e.i64.add(c.e.get(a), c.e.get(b)));
  setAddFlags(c, c.size, a, b, r, c.i64());
  return r;
};
const adc: Operation = (c, a, b) => {
  const r = c.let64(c.e.i64.add(c.e.i64.add(c.e.get(a), c.e.get(b)), carry(c)));
  setAddFlags(c, c.size, a, b, r, c.i64());
  return r;
};
const sub: Operation = (c, a, b) => {
  const r = c.let64(c.e.i64.sub(c.e.get(a), c.e.get(b)));
  setSubFlags(c, c.size, a, b, r, c.i64());
  return r;
};
const sbb: Operation = (c, a, b) => {
  const r = c.let64(c.e.i64.sub(c.e.i64.sub(c.e.get(a), c.e.get(b)), carry(c)));
  setSubFlags(c, c.size, a, b, r, c.i64());
  return r;
};
const logic =
  (op: "and" | "or" | "xor"): Operation =>
  (c, a, b) => {
    const r = c.let64(c.e.i64[op](c.e.get(a), c.e.get(b)));
    setLogicFlags(c, c.size, r);
    return r;
  };

const binary = (op: Operation) => (c: Ctx) => {
  if (c.isMemory(1)) {
    // The source first: its fault must come before anything else.
    const b = c.let64(c.get(1));
    c.modify(0, (a) => op(c, a, b));
  } else c.modify(0, (a) => op(c, a, c.let64(c.get(1))));
};
const compare = (op: Operation) => (c: Ctx) => {
  const a = c.let64(c.get(0));
  const b = c.let64(c.get(1));
  op(c, a, b);
};

const hotAll: readonly HotForm[] = ["r1", "r4", "r8", "m1", "m4", "m8"];
const hotWords: readonly HotForm[] = ["r4", "r8", "m4", "m8"];

interface Family {
  name: string;
  emit: (c: Ctx) => void;
  undefinedFlags?: number;
  lockable: boolean;
  hot: readonly HotForm[];
}
const families: readonly Family[] = [
  { name: "add", emit: binary(add), lockable: true, hot: hotAll },
  { name: "or", emit: binary(logic("or")), undefinedFlags: Flag.AF, lockable: true, hot: hotAll },
  { name: "adc", emit: binary(adc), lockable: true, hot: hotWords },
  { name: "sbb", emit: binary(sbb), lockable: true, hot: hotWords },
  { name: "and", emit: binary(logic("and")), undefinedFlags: Flag.AF, lockable: true, hot: hotAll },
  { name: "sub", emit: binary(sub), lockable: true, hot: hotAll },
  { name: "xor", emit: binary(logic("xor")), undefinedFlags: Flag.AF, lockable: true, hot: hotAll },
  { name: "cmp", emit: compare(sub), lockable: false, hot: ["r1", "r2", "r4", "r8", "m1", "m2", "m4", "m8"] },
];

const classic: RowSpec[] = families.flatMap((f, n): RowSpec[] => {
  const common = { name: f.name, emit: f.emit, hot: f.hot, undefinedFlags: f.undefinedFlags ?? 0 };
  const opcode = n * 8;
  const { lockable } = f;
  return [
    { ...common, opcode, operands: ["Eb", "Gb"], lockable },
    { ...common, opcode: opcode + 1, operands: ["Ev", "Gv"], lockable },
    { ...common, opcode: opcode + 2, operands: ["Gb", "Eb"] },
    { ...common, opcode: opcode + 3, operands: ["Gv", "Ev"] },
    { ...common, opcode: opcode + 4, operands: ["Ab", "Ib"] },
    { ...common, opcode: opcode + 5, operands: ["Av", "Iz"] },
    { ...common, opcode: 0x80, digit: n, operands: ["Eb", "Ib"], lockable },
    { ...common, opcode: 0x81, digit: n, operands: ["Ev", "Iz"], lockable },
    { ...common, opcode: 0x83, digit: n, operands: ["Ev", "Ib"], lockable },
  ];
});

const testCommon = { name: "test", emit: compare(logic("and")), undefinedFlags: Flag.AF, hot: hotAll };

const step = (decrement: boolean) => (c: Ctx) =>
  c.modify(0, (a) => {
    const { e } = c;
    const r = c.let64(e.i64.add(e.get(a), e.i64.const(decrement ? -1 : 1)));
    setIncDecFlags(c, c.size, a, r, decrement);
    return r;
  });
const not = (c: Ctx) => c.modify(0, (a) => c.let64(c.e.i64.xor(c.e.get(a), c.e.i64.const(-1))));
const neg = (c: Ctx) =>
  c.modify(0, (a) => {
    const zero = c.let64(c.e.i64.const(0));
    return sub(c, zero, a);
  });

export const aluRows: readonly RowSpec[] = [
  ...classic,
  { ...testCommon, opcode: 0x84, operands: ["Eb", "Gb"] },
  { ...testCommon, opcode: 0x85, operands: ["Ev", "Gv"] },
  { ...testCommon, opcode: 0xa8, operands: ["Ab", "Ib"] },
  { ...testCommon, opcode: 0xa9, operands: ["Av", "Iz"] },
  { ...testCommon, opcode: 0xf6, digit: 0, operands: ["Eb", "Ib"] },
  { ...testCommon, opcode: 0xf6, digit: 1, operands: ["Eb", "Ib"] },
  { ...testCommon, opcode: 0xf7, digit: 0, operands: ["Ev", "Iz"] },
  { ...testCommon, opcode: 0xf7, digit: 1, operands: ["Ev", "Iz"] },
  { name: "inc", opcode: 0xfe, digit: 0, operands: ["Eb"], lockable: true, emit: step(false) },
  { name: "inc", opcode: 0xff, digit: 0, operands: ["Ev"], lockable: true, hot: hotWords, emit: step(false) },
  { name: "dec", opcode: 0xfe, digit: 1, operands: ["Eb"], lockable: true, emit: step(true) },
  { name: "dec", opcode: 0xff, digit: 1, operands: ["Ev"], lockable: true, hot: hotWords, emit: step(true) },
  { name: "not", opcode: 0xf6, digit: 2, operands: ["Eb"], lockable: true, emit: not },
  { name: "not", opcode: 0xf7, digit: 2, operands: ["Ev"], lockable: true, hot: ["r4", "r8"], emit: not },
  { name: "neg", opcode: 0xf6, digit: 3, operands: ["Eb"], lockable: true, emit: neg },
  { name: "neg", opcode: 0xf7, digit: 3, operands: ["Ev"], lockable: true, hot: ["r4", "r8"], emit: neg },
];
