/**
 * Control flow: jumps, calls, returns, loops; far ones by way of TypeScript.
 *
 * As on AMD's processors (APM vol. 3, and vol. 1, 3.7.9): an operand-size prefix makes a near transfer one of 16 bits, in what it takes from the
 * instruction, memory and stack, and in what becomes of rip; the offset of a far pointer has 32 bits at most, whatever REX.W says.
 */
import type { Ctx } from "../ctx.ts";
import type { I32, I64, Local } from "../emitter.ts";
import { Vector } from "../exits.ts";
import { zeroExtend } from "../flags.ts";
import { Leave } from "../frame.ts";
import { State } from "../layout.ts";
import { RecFlag } from "../record.ts";
import { Service } from "../service-numbers.ts";
import type { RowSpec } from "./row.ts";

const RCX = 1;
const RSP = 4;
const near = { sizes: [2, 8], default64: true, flow: "branch" } as const;
const nearHot = { ...near, hot: ["r8", "m8"] } as const;

const conditions = ["o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g"];
const jccs: RowSpec[] = conditions.flatMap((name, n): RowSpec[] => {
  const emit = (c: Ctx) => c.e.if(c.condition(n), () => c.branch());
  return [
    { ...nearHot, name: `j${name}`, opcode: 0x70 + n, operands: ["Jb"], emit },
    { ...nearHot, name: `j${name}`, map: 1, opcode: 0x80 + n, operands: ["Jz"], emit },
  ];
});

/** A target that is not canonical is found before the return address is stored, but after its place on the stack was tried. */
function pushReturn(c: Ctx, target: Local<I64> | undefined): void {
  const { e } = c;
  const sp = c.let64(e.i64.sub(c.reg(RSP), e.i64.const(c.size)));
  if (target !== undefined)
    e.if(c.isNotCanonical(target), () => {
      c.modifyAddress(sp, c.size, true);
      c.raise(Vector.generalProtection);
    });
  c.storeAt(sp, c.size, c.let64(c.nextRip()), true);
  c.setReg(RSP, sp);
}
const callRelative = (c: Ctx) => {
  pushReturn(c, c.shape.memory ? c.let64(c.branchTarget()) : undefined);
  c.branch();
};
const callIndirect = (c: Ctx) => {
  const target = c.let64(c.get(0));
  pushReturn(c, target);
  c.jumpTo(target);
};
const jumpIndirect = (c: Ctx) => {
  const target = c.let64(c.get(0));
  c.checkCanonical(target);
  c.jumpTo(target);
};
const ret = (withImmediate: boolean) => (c: Ctx) => {
  const { e } = c;
  const sp = c.let64(c.reg(RSP));
  const target = c.let64(c.loadAt(sp, c.size, false, true));
  c.checkCanonical(target);
  e.set(sp, e.i64.add(e.get(sp), e.i64.const(c.size)));
  if (withImmediate) e.set(sp, e.i64.add(e.get(sp), c.immediate()));
  c.setReg(RSP, sp);
  c.jumpTo(target);
};

/** rcx, or ecx under an address-size prefix. */
function counter(c: Ctx, _value: I64): Local<I64> {
  const { e } = c;
  const v = c.let64(_value);
  e.if(e.i32.and(c.recordFlags(), e.i32.const(RecFlag.addr32)), () => e.set(v, zeroExtend(e, 4, e.get(v))));
  return v;
}
const loop = (zeroFlag: boolean | undefined) => (c: Ctx) => {
  const { e } = c;
  const n = counter(c, e.i64.sub(c.reg(RCX), e.i64.const(1)));
  const isTaken = c.let32(e.i64.ne(e.get(n), e.i64.const(0)));
  if (zeroFlag !== undefined) e.set(isTaken, e.i32.and(e.get(isTaken), c.condition(zeroFlag ? 4 : 5)));
  if (c.shape.memory) e.if(e.get(isTaken), () => c.checkCanonical(c.let64(c.branchTarget())));
  c.setReg(RCX, n);
  e.if(e.get(isTaken), () => c.branch());
};
const jrcxz = (c: Ctx) => c.e.if(c.e.i64.eqz(c.e.get(counter(c, c.reg(RCX)))), () => c.branch());

/**
 * A far transfer in TypeScript (services.ts): it reads and writes guest memory itself, changes registers only when all is well, and leaves the
 * target in `jumpTarget`. Result 0: a fault is recorded, 1: go, 2: go, and the flags may want attention.
 */
const far = (service: number) => (c: Ctx) => {
  const { e } = c;
  const argument = c.shape.memory
    ? c.let32(e.i32.const(c.size))
    : c.let32(e.i32.or(e.i32.const(c.size), e.i32.shl(e.i32.wrap(c.immediate()), e.i32.const(8))));
  if (c.shape.memory) {
    // The operand goes over in hostArg: offset, then selector.
    const width = c.size === 2 ? 2 : 4;
    const va = c.let64(c.ea());
    const selectorAt = c.let64(c.ea(true, c.let64(e.i64.const(width))));
    const offset = c.let64(c.loadAt(va, width));
    const selector = c.let64(c.loadAt(selectorAt, 2));
    c.setState64(State.hostArg, () => e.get(offset));
    c.setState64(State.hostArg + 8, () => e.get(selector));
  }
  c.setState64(State.hostArg + 16, () => c.nextRip());
  const result: Local<I32> = c.let32(e.call<I32>(c.helpers.service, e.get(c.s), e.i32.const(service), e.get(argument)));
  e.if(e.i32.eqz(e.get(result)), () => c.leave(Leave.at));
  // Flags were changed in the vCPU block, if at all.
  e.set(c.res, c.state64(State.flagRes));
  e.set(c.aux, c.state64(State.flagAux));
  e.if(e.i32.eq(e.get(result), e.i32.const(2)), () => c.leave(Leave.jumpOut));
  c.leave(Leave.jump);
};

export const flowRows: readonly RowSpec[] = [
  ...jccs,
  { ...nearHot, name: "jmp", opcode: 0xeb, operands: ["Jb"], emit: (c) => c.branch() },
  { ...nearHot, name: "jmp", opcode: 0xe9, operands: ["Jz"], emit: (c) => c.branch() },
  { ...nearHot, name: "call", opcode: 0xe8, operands: ["Jz"], stack: true, emit: callRelative },
  { ...nearHot, name: "call", opcode: 0xff, digit: 2, operands: ["Ev"], stack: true, emit: callIndirect },
  { ...nearHot, name: "jmp", opcode: 0xff, digit: 4, operands: ["Ev"], emit: jumpIndirect },
  { ...nearHot, name: "ret", opcode: 0xc3, stack: true, emit: ret(false) },
  { ...nearHot, name: "ret", opcode: 0xc2, operands: ["Iw"], stack: true, emit: ret(true) },
  { ...near, name: "loopne", opcode: 0xe0, operands: ["Jb"], emit: loop(false) },
  { ...near, name: "loope", opcode: 0xe1, operands: ["Jb"], emit: loop(true) },
  { ...near, name: "loop", opcode: 0xe2, operands: ["Jb"], emit: loop(undefined) },
  { ...near, name: "jrcxz", opcode: 0xe3, operands: ["Jb"], emit: jrcxz },
  {
    name: "callf",
    opcode: 0xff,
    digit: 3,
    operands: ["M"],
    // With REX.W it pushes 64 bits.
    sizes: [2, 4, 8],
    stack: true,
    flow: "branch",
    noVectors: true,
    emit: far(Service.farCall),
  },
  {
    name: "jmpf",
    opcode: 0xff,
    digit: 5,
    operands: ["M"],
    sizes: [2, 4],
    flow: "branch",
    noVectors: true,
    emit: far(Service.farJump),
  },
  {
    name: "retf",
    opcode: 0xcb,
    sizes: [2, 4, 8],
    stack: true,
    flow: "branch",
    noVectors: true,
    emit: far(Service.farReturn),
  },
  {
    name: "retf",
    opcode: 0xca,
    operands: ["Iw"],
    sizes: [2, 4, 8],
    stack: true,
    flow: "branch",
    noVectors: true,
    emit: far(Service.farReturn),
  },
  {
    name: "iret",
    opcode: 0xcf,
    sizes: [2, 4, 8],
    stack: true,
    flow: "branch",
    noVectors: true,
    emit: far(Service.iret),
  },
];
