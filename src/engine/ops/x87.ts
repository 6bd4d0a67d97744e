/**
 * x87 rows: they check, move memory operands to and from floatA, and leave the rest to soft/x87.ts.
 *
 * Names of register forms say where the result goes where one mnemonic has two such forms, because rows of one name and shape share their code.
 */
import type { Ctx } from "../ctx.ts";
import type { I32, I64, Local } from "../emitter.ts";
import { setFromImage } from "../flags.ts";
import { Fx, State } from "../layout.ts";
import { RecFlag } from "../record.ts";
import { Service } from "../service-numbers.ts";
import { loadSized, storeSized } from "../sized.ts";
import { X87Memory, X87Op, x87Argument } from "../soft/x87-op.ts";
import type { OperandName, RowSpec, Size } from "./row.ts";
import { guardSse, waiting } from "./vector-operand.ts";
import { vendorSpecific } from "./vendor-specific.ts";

/** Calls the unit; the local has its result. */
function callUnit(c: Ctx, argument: () => I32): Local<I32> {
  const { e } = c;
  return c.let32(e.call<I32>(c.helpers.service, e.get(c.s), e.i32.const(Service.x87), argument()));
}
/** FIP: this instruction. FDP: its memory operand, without the segment's base. */
function notePointers(c: Ctx): void {
  c.setState64(State.fx + Fx.fip, () => c.thisRip());
  if (c.shape.memory) c.setState64(State.fx + Fx.fdp, () => c.ea(false));
}
/** The argument with ST(i) by the operand, or as it stands. */
function argumentOf(c: Ctx, op: X87Op): I32 {
  const { e } = c;
  if (c.row.operands[0] !== "T") return e.i32.const(x87Argument(op));
  return e.i32.or(e.i32.const(x87Argument(op)), e.i32.shl(e.i32.and(c.fieldValue(0), e.i32.const(7)), e.i32.const(8)));
}

/** Address of the operand's part at an offset: 32-bit addresses wrap between the parts of an operand, as processors access it in several. */
function partAddress(c: Ctx, offset: number): Local<I64> {
  const { e } = c;
  const at = c.let64(e.i64.add(c.ea(false), e.i64.const(offset)));
  if (offset !== 0)
    e.if(e.i32.and(c.recordFlags(), e.i32.const(RecFlag.addr32)), () =>
      e.set(at, e.i64.extendI32u(e.i32.wrap(e.get(at)))),
    );
  e.set(at, e.i64.add(e.get(at), c.segmentBase()));
  return at;
}
/** The parts of an operand of 2, 4, 8 or 10 bytes. */
function parts(bytes: number): readonly { readonly offset: number; readonly size: Size }[] {
  if (bytes === 10)
    return [
      { offset: 0, size: 8 },
      { offset: 8, size: 2 },
    ];
  return [{ offset: 0, size: bytes as Size }];
}
/** Memory to floatA. */
function take(c: Ctx, bytes: number): void {
  for (const { offset, size } of parts(bytes)) {
    const value = c.let64(c.loadAt(partAddress(c, offset), size));
    c.setState64(State.floatA + offset, () => c.e.get(value));
  }
}
/** floatA to memory: all of it or nothing. */
function give(c: Ctx, bytes: number): void {
  const pieces = parts(bytes).map(({ offset, size }) => ({ offset, size, at: partAddress(c, offset) }));
  for (const { at, size } of pieces.slice(0, -1)) c.modifyAddress(at, size);
  for (const { at, size, offset } of pieces.toReversed())
    c.storeAt(at, size, c.let64(c.state64(State.floatA + offset)));
}

const onRegister = (op: X87Op) =>
  waiting((c) => {
    notePointers(c);
    callUnit(c, () => argumentOf(c, op));
  });
/** FCOMI and its kin: rflags from the comparison, unless an unmasked exception stopped it. */
const onFlags = (op: X87Op) =>
  waiting((c) => {
    const { e } = c;
    notePointers(c);
    const result = callUnit(c, () => argumentOf(c, op));
    // FLAGS_RESULT is the top bit.
    e.if(e.i32.ltS(e.get(result), e.i32.const(0)), () => {
      e.set(result, e.i32.and(e.get(result), e.i32.const(0xff)));
      setFromImage(c, result);
    });
  });
const moveIf = (condition: number) =>
  waiting((c) => {
    const { e } = c;
    notePointers(c);
    const holds = c.let32(c.condition(condition));
    callUnit(c, () => e.i32.or(argumentOf(c, X87Op.moveIf), e.i32.shl(e.get(holds), e.i32.const(16))));
  });

const fromMemory = (op: X87Op, memory: X87Memory, bytes: number) =>
  waiting((c) => {
    take(c, bytes);
    notePointers(c);
    callUnit(c, () => c.e.i32.const(x87Argument(op, memory)));
  });
/**
 * The memory is tried first, although an unmasked exception will leave it alone; then the value is computed, and committed when the memory has it.
 */
const toMemory = (op: X87Op, memory: X87Memory, bytes: number) =>
  waiting((c) => {
    const { e } = c;
    for (const { offset, size } of parts(bytes)) c.modifyAddress(partAddress(c, offset), size);
    e.if(e.get(callUnit(c, () => e.i32.const(x87Argument(op, memory)))), () => {
      give(c, bytes);
      callUnit(c, () => e.i32.const(x87Argument(X87Op.commitStore)));
    });
    notePointers(c);
  });

// Control words and the environment

const noWait = (emit: (c: Ctx) => void) => (c: Ctx) => {
  guardSse(c);
  emit(c);
};
const control = (op: X87Op) => noWait((c) => void callUnit(c, () => c.e.i32.const(x87Argument(op))));
const nothing = noWait(() => undefined);
const loadControl = waiting((c) => {
  take(c, 2);
  callUnit(c, () => c.e.i32.const(x87Argument(X87Op.loadControl)));
});
const storeWord = (offset: number) =>
  noWait((c) => c.put(0, c.let64(c.e.i64.load16u(c.e.get(c.s), State.fx + offset))));

/** Fields and registers in the pieces that they are accessed in. */
function imagePieces(c: Ctx, whole: boolean): readonly { readonly offset: number; readonly size: Size }[] {
  const width = c.size as 2 | 4;
  const fields = Array.from({ length: 7 }, (_, n) => ({ offset: n * width, size: width }));
  if (!whole) return fields;
  // By words, which is all the alignment that registers have here.
  const registers = Array.from({ length: 40 }, (_, n) => ({ offset: 7 * width + n * 2, size: 2 as Size }));
  return [...fields, ...registers];
}
/** What is tried first: the first field, then the last byte. */
function imageEnds(c: Ctx, whole: boolean): readonly { readonly offset: number; readonly size: Size }[] {
  const last = 7 * c.size + (whole ? 80 : 0) - 1;
  return [
    { offset: 0, size: c.size },
    { offset: last, size: 1 },
  ];
}
const imageFields = (c: Ctx): X87Memory => (c.size === 2 ? X87Memory.words : X87Memory.dwords);

const loadImage = (op: X87Op, whole: boolean) =>
  waiting((c) => {
    for (const { offset, size } of imageEnds(c, whole)) c.readAddress(partAddress(c, offset), size);
    for (const { offset, size } of imagePieces(c, whole)) {
      const value = c.let64(c.loadAt(partAddress(c, offset), size));
      storeSized(c.e, size, c.e.get(c.s), c.e.get(value), State.floatA + offset);
    }
    callUnit(c, () => c.e.i32.const(x87Argument(op, imageFields(c))));
  });
/** Every piece is tried before the state changes. */
const storeImage = (op: X87Op, whole: boolean) =>
  noWait((c) => {
    const pieces = imagePieces(c, whole).map((piece) => ({ ...piece, at: partAddress(c, piece.offset) }));
    for (const { offset, size } of imageEnds(c, whole)) c.modifyAddress(partAddress(c, offset), size);
    for (const { at, size } of pieces) c.modifyAddress(at, size);
    callUnit(c, () => c.e.i32.const(x87Argument(op, imageFields(c))));
    for (const { at, size, offset } of pieces)
      c.storeAt(at, size, c.let64(loadSized(c.e, size, false, c.e.get(c.s), State.floatA + offset)));
  });

// The rows

const base = { unit: "x87" } as const;
const onStack = (opcode: number, digit: number, name: string, op: X87Op): RowSpec => ({
  ...base,
  name,
  opcode,
  digit,
  operands: ["T"],
  emit: onRegister(op),
});
const inherent = (opcode: number, digit: number, rm: number, name: string, emit: RowSpec["emit"]): RowSpec => ({
  ...base,
  name,
  opcode,
  digit,
  rm,
  mod: "reg",
  emit,
});
const memoryRow = (
  opcode: number,
  digit: number,
  name: string,
  operand: OperandName,
  emit: RowSpec["emit"],
  sizes?: readonly Size[],
): RowSpec => ({ ...base, name, opcode, digit, operands: [operand], ...(sizes === undefined ? {} : { sizes }), emit });

/** By ModRM.reg of D8, DA, DC and DE. */
const ARITHMETIC: readonly (readonly [name: string, op: X87Op])[] = [
  ["add", X87Op.add],
  ["mul", X87Op.mul],
  ["com", X87Op.com],
  ["comp", X87Op.comPop],
  ["sub", X87Op.sub],
  ["subr", X87Op.subReverse],
  ["div", X87Op.div],
  ["divr", X87Op.divReverse],
];
const arithmeticRows: RowSpec[] = ARITHMETIC.flatMap(([name, op], digit): RowSpec[] => [
  memoryRow(0xd8, digit, `f${name}`, "Md", fromMemory(op, X87Memory.single, 4)),
  memoryRow(0xdc, digit, `f${name}`, "Mq", fromMemory(op, X87Memory.double, 8)),
  memoryRow(0xda, digit, `fi${name}`, "Md", fromMemory(op, X87Memory.int32, 4)),
  memoryRow(0xde, digit, `fi${name}`, "Mw", fromMemory(op, X87Memory.int16, 2)),
  onStack(0xd8, digit, `f${name}`, op),
]);
/** DC and DE: into ST(i), and the same with a pop. Digits 4 to 7 subtract and divide as ST(0) with x, and reversed. */
const INTO: readonly (readonly [digit: number, name: string, to: X87Op, pop: X87Op])[] = [
  [0, "fadd", X87Op.addTo, X87Op.addToPop],
  [1, "fmul", X87Op.mulTo, X87Op.mulToPop],
  [4, "fsubr", X87Op.subTo, X87Op.subToPop],
  [5, "fsub", X87Op.subReverseTo, X87Op.subReverseToPop],
  [6, "fdivr", X87Op.divTo, X87Op.divToPop],
  [7, "fdiv", X87Op.divReverseTo, X87Op.divReverseToPop],
];
const intoRows: RowSpec[] = INTO.flatMap(([digit, name, to, pop]): RowSpec[] => [
  onStack(0xdc, digit, `${name}-to`, to),
  onStack(0xde, digit, `${name}p`, pop),
]);
/** FCMOVcc in DA and DB by ModRM.reg, with the number of the condition. */
const MOVES: readonly (readonly [opcode: number, digit: number, name: string, condition: number])[] = [
  [0xda, 0, "fcmovb", 2],
  [0xda, 1, "fcmove", 4],
  [0xda, 2, "fcmovbe", 6],
  [0xda, 3, "fcmovu", 10],
  [0xdb, 0, "fcmovnb", 3],
  [0xdb, 1, "fcmovne", 5],
  [0xdb, 2, "fcmovnbe", 7],
  [0xdb, 3, "fcmovnu", 11],
];
const moveRows: RowSpec[] = MOVES.map(([opcode, digit, name, condition]) => ({
  ...onStack(opcode, digit, name, X87Op.moveIf),
  emit: moveIf(condition),
}));

const CONSTANTS = ["fld1", "fldl2t", "fldl2e", "fldpi", "fldlg2", "fldln2", "fldz"];
const constantRows: RowSpec[] = CONSTANTS.map((name, i) =>
  inherent(
    0xd9,
    5,
    i,
    name,
    waiting((c) => {
      notePointers(c);
      callUnit(c, () => c.e.i32.const(x87Argument(X87Op.constant, X87Memory.none, i)));
    }),
  ),
);

/** D9 without memory, ModRM.reg 4, 6 and 7: digit, rm, name, operation. */
const STACK_TOP: readonly (readonly [digit: number, rm: number, name: string, op: X87Op])[] = [
  [4, 0, "fchs", X87Op.changeSign],
  [4, 1, "fabs", X87Op.absolute],
  [4, 4, "ftst", X87Op.test],
  [4, 5, "fxam", X87Op.examine],
  [6, 4, "fxtract", X87Op.extract],
  [6, 5, "fprem1", X87Op.remainderNearest],
  [6, 6, "fdecstp", X87Op.decrementTop],
  [6, 7, "fincstp", X87Op.incrementTop],
  [7, 0, "fprem", X87Op.remainder],
  [7, 2, "fsqrt", X87Op.squareRoot],
  [7, 4, "frndint", X87Op.roundToInteger],
  [7, 5, "fscale", X87Op.scale],
  [2, 0, "fnop", X87Op.noOperation],
];
const TRANSCENDENTAL: readonly (readonly [digit: number, rm: number, name: string, op: X87Op])[] = [
  [6, 0, "f2xm1", X87Op.twoToXMinus1],
  [6, 1, "fyl2x", X87Op.yLog2X],
  [6, 2, "fptan", X87Op.tangent],
  [6, 3, "fpatan", X87Op.arctangent],
  [7, 1, "fyl2xp1", X87Op.yLog2XPlus1],
  [7, 3, "fsincos", X87Op.sineCosine],
  [7, 6, "fsin", X87Op.sine],
  [7, 7, "fcos", X87Op.cosine],
];

export const x87Rows: readonly RowSpec[] = [
  ...arithmeticRows,
  ...intoRows,
  ...moveRows,
  ...constantRows,
  ...STACK_TOP.map(([digit, rm, name, op]) => inherent(0xd9, digit, rm, name, onRegister(op))),
  ...TRANSCENDENTAL.map(([digit, rm, name, op]) => ({
    ...inherent(0xd9, digit, rm, name, onRegister(op)),
    noVectors: vendorSpecific.has(name),
  })),
  inherent(0xda, 5, 1, "fucompp", onRegister(X87Op.ucomPopPop)),
  inherent(0xde, 3, 1, "fcompp", onRegister(X87Op.comPopPop)),
  onStack(0xd9, 0, "fld", X87Op.load),
  onStack(0xd9, 1, "fxch", X87Op.exchange),
  onStack(0xdd, 0, "ffree", X87Op.free),
  onStack(0xdf, 0, "ffreep", X87Op.freePop),
  onStack(0xdd, 2, "fst", X87Op.store),
  onStack(0xdd, 3, "fstp", X87Op.storePop),
  onStack(0xdd, 4, "fucom", X87Op.ucom),
  onStack(0xdd, 5, "fucomp", X87Op.ucomPop),
  { ...onStack(0xdb, 5, "fucomi", X87Op.ucomi), emit: onFlags(X87Op.ucomi) },
  { ...onStack(0xdb, 6, "fcomi", X87Op.comi), emit: onFlags(X87Op.comi) },
  { ...onStack(0xdf, 5, "fucomip", X87Op.ucomiPop), emit: onFlags(X87Op.ucomiPop) },
  { ...onStack(0xdf, 6, "fcomip", X87Op.comiPop), emit: onFlags(X87Op.comiPop) },
  // Aliases that processors keep
  onStack(0xdc, 2, "fcom", X87Op.com),
  onStack(0xdc, 3, "fcomp", X87Op.comPop),
  onStack(0xde, 2, "fcomp", X87Op.comPop),
  onStack(0xdd, 1, "fxch", X87Op.exchange),
  onStack(0xdf, 1, "fxch", X87Op.exchange),
  onStack(0xd9, 3, "fstpnce", X87Op.storeUnchecked),
  onStack(0xdf, 2, "fstp", X87Op.storePop),
  onStack(0xdf, 3, "fstp", X87Op.storePop),

  memoryRow(0xd9, 0, "fld", "Md", fromMemory(X87Op.load, X87Memory.single, 4)),
  memoryRow(0xdd, 0, "fld", "Mq", fromMemory(X87Op.load, X87Memory.double, 8)),
  memoryRow(0xdb, 5, "fld", "Mt", fromMemory(X87Op.load, X87Memory.extended, 10)),
  memoryRow(0xdf, 0, "fild", "Mw", fromMemory(X87Op.load, X87Memory.int16, 2)),
  memoryRow(0xdb, 0, "fild", "Md", fromMemory(X87Op.load, X87Memory.int32, 4)),
  memoryRow(0xdf, 5, "fild", "Mq", fromMemory(X87Op.load, X87Memory.int64, 8)),
  memoryRow(0xdf, 4, "fbld", "Mt", fromMemory(X87Op.load, X87Memory.decimal, 10)),
  memoryRow(0xd9, 2, "fst", "Md", toMemory(X87Op.store, X87Memory.single, 4)),
  memoryRow(0xdd, 2, "fst", "Mq", toMemory(X87Op.store, X87Memory.double, 8)),
  memoryRow(0xd9, 3, "fstp", "Md", toMemory(X87Op.storePop, X87Memory.single, 4)),
  memoryRow(0xdd, 3, "fstp", "Mq", toMemory(X87Op.storePop, X87Memory.double, 8)),
  memoryRow(0xdb, 7, "fstp", "Mt", toMemory(X87Op.storePop, X87Memory.extended, 10)),
  memoryRow(0xdf, 2, "fist", "Mw", toMemory(X87Op.store, X87Memory.int16, 2)),
  memoryRow(0xdb, 2, "fist", "Md", toMemory(X87Op.store, X87Memory.int32, 4)),
  memoryRow(0xdf, 3, "fistp", "Mw", toMemory(X87Op.storePop, X87Memory.int16, 2)),
  memoryRow(0xdb, 3, "fistp", "Md", toMemory(X87Op.storePop, X87Memory.int32, 4)),
  memoryRow(0xdf, 7, "fistp", "Mq", toMemory(X87Op.storePop, X87Memory.int64, 8)),
  memoryRow(0xdf, 6, "fbstp", "Mt", toMemory(X87Op.storePop, X87Memory.decimal, 10)),

  memoryRow(0xd9, 5, "fldcw", "Mw", loadControl),
  memoryRow(0xd9, 7, "fnstcw", "Mw", storeWord(Fx.fcw)),
  memoryRow(0xdd, 7, "fnstsw", "Mw", storeWord(Fx.fsw)),
  inherent(
    0xdf,
    4,
    0,
    "fnstsw-ax",
    noWait((c) => c.setReg(0, c.let64(c.e.i64.load16u(c.e.get(c.s), State.fx + Fx.fsw)), 2)),
  ),
  inherent(0xdb, 4, 2, "fnclex", control(X87Op.clearExceptions)),
  inherent(0xdb, 4, 3, "fninit", control(X87Op.initialize)),
  // Of older coprocessors: they do nothing, and do not wait either. Names of their own keep them apart from FNOP, which waits.
  inherent(0xdb, 4, 0, "fneni", nothing),
  inherent(0xdb, 4, 1, "fndisi", nothing),
  inherent(0xdb, 4, 4, "fnsetpm", nothing),
  memoryRow(0xd9, 6, "fnstenv", "M", storeImage(X87Op.storeEnvironment, false), [2, 4]),
  memoryRow(0xd9, 4, "fldenv", "M", loadImage(X87Op.loadEnvironment, false), [2, 4]),
  memoryRow(0xdd, 6, "fnsave", "M", storeImage(X87Op.saveState, true), [2, 4]),
  memoryRow(0xdd, 4, "frstor", "M", loadImage(X87Op.restoreState, true), [2, 4]),
  { ...base, name: "fwait", opcode: 0x9b, sizes: [4], emit: waiting(() => undefined) },
  {
    ...base,
    unit: "mmx",
    name: "emms",
    map: 1,
    opcode: 0x77,
    prefix: "none",
    sizes: [4],
    emit: waiting((c) => void callUnit(c, () => c.e.i32.const(x87Argument(X87Op.emptyMmx)))),
  },
];
