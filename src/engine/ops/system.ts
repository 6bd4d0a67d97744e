/**
 * Flags, segments, system tables, exits to the hypervisor, hints, and what ring 3 may not do.
 *
 * All guest code runs at CPL 3, so a privileged instruction is #GP(0) here; the hypervisor looks at the bytes if it wants to emulate it. POPF and IRET
 * never change IF and IOPL.
 */
import type { Ctx } from "../ctx.ts";
import type { F64, I32, I64 } from "../emitter.ts";
import { ExitKind, Vector } from "../exits.ts";
import { arithmeticImage, carry, setCarryOnly, setFromImage, setZeroOnly } from "../flags.ts";
import { Leave } from "../frame.ts";
import { SEGMENT_BYTES, State } from "../layout.ts";
import { BY_MOV, Service } from "../service-numbers.ts";
import { Flag, type OperandName, type RowSpec } from "./row.ts";

const RAX = 0;
const RCX = 1;
const RDX = 2;
const RSP = 4;
const R11 = 11;

/** What CPL 3 may change besides the arithmetic flags. */
const OTHER_FLAGS = Flag.TF | Flag.DF | Flag.NT | Flag.AC | Flag.ID;

/** The whole of rflags as i64. */
function image(c: Ctx): I64 {
  const { e } = c;
  return e.i64.extendI32u(e.i32.or(arithmeticImage(c), c.state32(State.flagsOther)));
}

const pushf = (c: Ctx) => c.push(c.let64(image(c)), c.size);
const popf = (c: Ctx) => {
  const { e } = c;
  const sp = c.let64(c.reg(RSP));
  const value = c.let64(c.loadAt(sp, c.size, false, true));
  c.setReg(RSP, c.let64(e.i64.add(e.get(sp), e.i64.const(c.size))));
  const flags = c.let32(e.i32.wrap(e.get(value)));
  setFromImage(c, flags);
  // A 16-bit POPF leaves the upper half.
  const changed = c.size === 2 ? OTHER_FLAGS & 0xffff : OTHER_FLAGS;
  const before = c.let32(c.state32(State.flagsOther));
  c.setState32(State.flagsOther, () =>
    e.i32.or(
      e.i32.and(c.state32(State.flagsOther), e.i32.const(~changed)),
      e.i32.and(e.get(flags), e.i32.const(changed)),
    ),
  );
  // TF traps behind the next instruction, and AC wants every access looked at: TypeScript sees to both.
  const turned = (): I32 => e.i32.and(e.i32.xor(e.get(before), c.state32(State.flagsOther)), e.i32.const(Flag.AC));
  e.if(e.i32.or(turned(), e.i32.and(e.get(flags), e.i32.const(Flag.TF))), () => {
    c.setState64(State.jumpTarget, () => c.nextRip());
    c.leave(Leave.jumpOut);
  });
};
const lahf = (c: Ctx) => {
  const { e } = c;
  const ah = c.let64(e.i64.extendI32u(e.i32.or(arithmeticImage(c), e.i32.const(2))));
  e.i64.store8(e.get(c.s), e.get(ah), 1);
};
const sahf = (c: Ctx) => {
  const { e } = c;
  const keepOverflow = e.i32.shl(c.condition(0), e.i32.const(11));
  const flags = c.let32(e.i32.or(keepOverflow, e.i32.and(e.i32.load8u(e.get(c.s), 1), e.i32.const(0xd5))));
  setFromImage(c, flags);
};
const direction = (on: boolean) => (c: Ctx) => {
  const { e } = c;
  c.setState32(State.flagsOther, () =>
    on
      ? e.i32.or(c.state32(State.flagsOther), e.i32.const(Flag.DF))
      : e.i32.and(c.state32(State.flagsOther), e.i32.const(~Flag.DF)),
  );
};

const undefinedOpcode = (c: Ctx) => c.raise(Vector.invalidOpcode);
const privileged = (c: Ctx) => c.raise(Vector.generalProtection);
/** MOV to and from control and debug registers: #UD for numbers that do not exist, before #GP. */
const privilegedRegister = (operand: number, control: boolean) => (c: Ctx) => {
  const { e } = c;
  // The field is eight times the number.
  const exists = control
    ? e.i32.and(
        e.i32.shrU(e.i32.const(0b1_0001_1101), e.i32.shrU(c.fieldValue(operand), e.i32.const(3))),
        e.i32.const(1),
      )
    : e.i32.ltU(c.fieldValue(operand), e.i32.const(64));
  c.raiseIf(e.i32.eqz(exists), Vector.invalidOpcode);
  c.raise(Vector.generalProtection);
};
const nothing = (_c: Ctx) => undefined;

const syscall = (c: Ctx) => {
  const { e } = c;
  const flags = c.let64(image(c));
  c.setReg(R11, flags);
  c.setReg(RCX, c.let64(c.nextRip()));
  c.exitAfter(ExitKind.hypercall);
  void e;
};
const softInterrupt = (vector: (c: Ctx) => I32) => (c: Ctx) => {
  c.setState64(State.exitInsnRip, () => c.thisRip());
  c.setState32(State.exitVector, () => vector(c));
  c.setState32(State.exitErrorCode, () => c.e.i32.const(0));
  c.exitAfter(ExitKind.softInt);
};
/** ICEBP: a #DB trap, rip behind it. */
const icebp = (c: Ctx) => {
  c.setState32(State.exitVector, () => c.e.i32.const(Vector.debug));
  c.setState32(State.exitErrorCode, () => c.e.i32.const(0));
  c.exitAfter(ExitKind.exception);
};

const rdtsc = (c: Ctx) => {
  const { e } = c;
  const tsc = c.let64(e.i64.truncSatF64u(e.call<F64>(c.helpers.readTsc, e.get(c.s))));
  c.setReg(RAX, tsc, 4);
  c.setReg(RDX, c.let64(e.i64.shrU(e.get(tsc), e.i64.const(32))));
};

// Segment registers
const selectorOffset = (segment: number): number => State.segments + segment * SEGMENT_BYTES;
const segmentAddress = (c: Ctx, operand: number): I32 => {
  const { e } = c;
  return e.i32.add(e.get(c.s), e.i32.mul(c.fieldValue(operand), e.i32.const(SEGMENT_BYTES)));
};
/** MOV r/m, sreg: a register gets the selector zero-extended, memory 16 bits. */
const storeSegment = (c: Ctx) => {
  const { e } = c;
  c.raiseIf(e.i32.gtU(c.fieldValue(1), e.i32.const(5)), Vector.invalidOpcode);
  const v = c.let64(e.i64.load32u(segmentAddress(c, 1), State.segments));
  if (c.isMemory(0)) c.storeAt(c.let64(c.ea()), 2, v);
  else c.put(0, v);
};
function loadSegment(c: Ctx, _segment: () => I32, selector: () => I32): void {
  const { e } = c;
  e.if(
    e.i32.eqz(
      e.call<I32>(
        c.helpers.service,
        e.get(c.s),
        e.i32.const(Service.loadSegment),
        e.i32.or(e.i32.shl(_segment(), e.i32.const(16)), selector()),
      ),
    ),
    () => c.leave(Leave.at),
  );
}
const loadSegmentRow = (c: Ctx) => {
  const { e } = c;
  // CS cannot be loaded so.
  c.raiseIf(e.i32.eq(c.fieldValue(0), e.i32.const(1)), Vector.invalidOpcode);
  c.raiseIf(e.i32.gtU(c.fieldValue(0), e.i32.const(5)), Vector.invalidOpcode);
  const selector = c.let32(e.i32.wrap(c.get(1)));
  loadSegment(
    c,
    () => e.i32.or(c.fieldValue(0), e.i32.const(BY_MOV >> 16)),
    () => e.get(selector),
  );
};
/** LSS, LFS, LGS: offset into the register, the selector behind it into the segment. REX.W gives no longer offset (APM vol. 3). */
const loadFarPointer = (segment: number) => (c: Ctx) => {
  const { e } = c;
  const va = c.let64(c.ea());
  const offset = c.let64(c.loadAt(va, c.size));
  const selectorAt = c.let64(e.i64.add(e.get(va), e.i64.const(c.size)));
  const selector = c.let32(e.i32.wrap(c.loadAt(selectorAt, 2)));
  loadSegment(
    c,
    () => e.i32.const(segment),
    () => e.get(selector),
  );
  c.put(0, offset);
};
const pushSegment = (segment: number) => (c: Ctx) =>
  c.push(c.let64(c.e.i64.load32u(c.e.get(c.s), selectorOffset(segment))), c.size);
const popSegment = (segment: number) => (c: Ctx) => {
  const { e } = c;
  const sp = c.let64(c.reg(RSP));
  // The whole slot is read.
  const selector = c.let32(e.i32.and(e.i32.wrap(c.loadAt(sp, c.size, false, true)), e.i32.const(0xffff)));
  loadSegment(
    c,
    () => e.i32.const(segment),
    () => e.get(selector),
  );
  c.setReg(RSP, c.let64(e.i64.add(e.get(sp), e.i64.const(c.size))));
};

/** LAR, LSL, VERR, VERW: ZF says whether it could be done. */
const descriptorQuery = (service: number, result: boolean) => (c: Ctx) => {
  const { e } = c;
  const selector = c.let32(e.i32.and(e.i32.wrap(c.get(result ? 1 : 0)), e.i32.const(0xffff)));
  const ok = c.let32(e.call<I32>(c.helpers.service, e.get(c.s), e.i32.const(service), e.get(selector)));
  e.if(e.i32.eq(e.get(ok), e.i32.const(2)), () => c.leave(Leave.at));
  if (result) e.if(e.get(ok), () => c.put(0, c.let64(c.state64(State.hostArg))));
  setZeroOnly(c, ok, c.i64());
};

// No UMIP is offered: these show what the hypervisor set.
const storeTable = (limit: number, base: number) => (c: Ctx) => {
  const { e } = c;
  const va = c.let64(c.ea());
  const baseAt = c.let64(e.i64.add(e.get(va), e.i64.const(2)));
  // Ten bytes, all or nothing: the far end is tried first.
  c.modifyAddress(baseAt, 8);
  c.storeAt(va, 2, c.let64(e.i64.load16u(e.get(c.s), limit)));
  c.storeAt(baseAt, 8, c.let64(c.state64(base)));
};
const storeWord = (value: (c: Ctx) => I64) => (c: Ctx) => {
  const v = c.let64(value(c));
  if (c.isMemory(0)) c.storeAt(c.let64(c.ea()), 2, v);
  else c.put(0, v);
};
/** CR0 as ring 3 sees it by SMSW: PG WP NE ET MP PE, and TS. */
const machineStatus = (c: Ctx): I64 => {
  const { e } = c;
  return e.i64.or(e.i64.const(0x80050033), e.i64.shl(e.i64.extendI32u(c.state32(State.tsFlag)), e.i64.const(3)));
};

const gp = (opcode: number, operands: readonly OperandName[] = [], more: Partial<RowSpec> = {}): RowSpec => ({
  name: "privileged",
  opcode,
  operands,
  flow: "exit",
  emit: privileged,
  ...more,
});

export const systemRows: readonly RowSpec[] = [
  { name: "pushf", opcode: 0x9c, sizes: [2, 8], default64: true, stack: true, emit: pushf },
  { name: "popf", opcode: 0x9d, sizes: [2, 8], default64: true, stack: true, emit: popf },
  { name: "lahf", opcode: 0x9f, sizes: [1], emit: lahf },
  { name: "sahf", opcode: 0x9e, sizes: [1], emit: sahf },
  { name: "clc", opcode: 0xf8, emit: (c) => setCarryOnly(c, () => c.e.i64.const(0)) },
  { name: "stc", opcode: 0xf9, emit: (c) => setCarryOnly(c, () => c.e.i64.const(1)) },
  { name: "cmc", opcode: 0xf5, emit: (c) => setCarryOnly(c, () => c.e.i64.xor(carry(c), c.e.i64.const(1))) },
  { name: "cld", opcode: 0xfc, emit: direction(false) },
  { name: "std", opcode: 0xfd, emit: direction(true) },

  { name: "syscall", map: 1, opcode: 0x05, flow: "exit", noVectors: true, emit: syscall },
  { name: "int3", opcode: 0xcc, flow: "exit", noVectors: true, emit: softInterrupt((c) => c.e.i32.const(3)) },
  {
    name: "int",
    opcode: 0xcd,
    operands: ["Ib"],
    sizes: [1],
    flow: "exit",
    noVectors: true,
    emit: softInterrupt((c) => c.e.i32.wrap(c.immediate())),
  },
  { name: "int1", opcode: 0xf1, flow: "exit", noVectors: true, emit: icebp },
  { name: "ud2", map: 1, opcode: 0x0b, flow: "exit", emit: undefinedOpcode },
  { name: "ud1", map: 1, opcode: 0xb9, flow: "exit", emit: undefinedOpcode },
  { name: "ud0", map: 1, opcode: 0xff, flow: "exit", emit: undefinedOpcode },
  { name: "cpuid", map: 1, opcode: 0xa2, flow: "exit", noVectors: true, emit: (c) => c.exitAt(ExitKind.cpuid) },
  { name: "rdtsc", map: 1, opcode: 0x31, noVectors: true, emit: rdtsc },

  // Hints and ordering
  { name: "nop", map: 1, opcode: 0x1f, operands: ["Ev"], hot: ["r2", "r4", "r8", "m2", "m4", "m8"], emit: nothing },
  { name: "nop", map: 1, opcode: 0x1e, operands: ["Ev"], hot: ["r4", "r8"], emit: nothing },
  ...[0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d].map(
    (opcode): RowSpec => ({ name: "nop", map: 1, opcode, operands: ["Ev"], emit: nothing }),
  ),
  { name: "prefetch", map: 1, opcode: 0x0d, operands: ["Mb"], emit: nothing },
  { name: "mfence", map: 1, opcode: 0xae, prefix: "none", mod: "reg", digit: 6, emit: (c) => c.e.fence() },
  { name: "lfence", map: 1, opcode: 0xae, prefix: "none", mod: "reg", digit: 5, emit: nothing },
  { name: "sfence", map: 1, opcode: 0xae, prefix: "none", mod: "reg", digit: 7, emit: (c) => c.e.fence() },
  {
    name: "clflush",
    map: 1,
    opcode: 0xae,
    prefix: "none",
    digit: 7,
    operands: ["Mb"],
    emit: (c) => {
      c.readAddress(c.let64(c.ea()), 1);
    },
  },

  // Segments
  { name: "movseg", opcode: 0x8c, operands: ["Ev", "Sw"], noVectors: true, emit: storeSegment },
  { name: "movseg", opcode: 0x8e, operands: ["Sw", "Ew"], sizes: [2], noVectors: true, emit: loadSegmentRow },
  { name: "lss", map: 1, opcode: 0xb2, operands: ["Gv", "M"], sizes: [2, 4], noVectors: true, emit: loadFarPointer(2) },
  { name: "lfs", map: 1, opcode: 0xb4, operands: ["Gv", "M"], sizes: [2, 4], noVectors: true, emit: loadFarPointer(4) },
  { name: "lgs", map: 1, opcode: 0xb5, operands: ["Gv", "M"], sizes: [2, 4], noVectors: true, emit: loadFarPointer(5) },
  {
    name: "pushfs",
    map: 1,
    opcode: 0xa0,
    sizes: [2, 8],
    default64: true,
    stack: true,
    noVectors: true,
    emit: pushSegment(4),
  },
  {
    name: "pushgs",
    map: 1,
    opcode: 0xa8,
    sizes: [2, 8],
    default64: true,
    stack: true,
    noVectors: true,
    emit: pushSegment(5),
  },
  {
    name: "popfs",
    map: 1,
    opcode: 0xa1,
    sizes: [2, 8],
    default64: true,
    stack: true,
    noVectors: true,
    emit: popSegment(4),
  },
  {
    name: "popgs",
    map: 1,
    opcode: 0xa9,
    sizes: [2, 8],
    default64: true,
    stack: true,
    noVectors: true,
    emit: popSegment(5),
  },
  {
    name: "lar",
    map: 1,
    opcode: 0x02,
    operands: ["Gv", "Ew"],
    noVectors: true,
    emit: descriptorQuery(Service.lar, true),
  },
  {
    name: "lsl",
    map: 1,
    opcode: 0x03,
    operands: ["Gv", "Ew"],
    noVectors: true,
    emit: descriptorQuery(Service.lsl, true),
  },
  {
    name: "verr",
    map: 1,
    opcode: 0x00,
    digit: 4,
    operands: ["Ew"],
    sizes: [2],
    noVectors: true,
    emit: descriptorQuery(Service.verr, false),
  },
  {
    name: "verw",
    map: 1,
    opcode: 0x00,
    digit: 5,
    operands: ["Ew"],
    sizes: [2],
    noVectors: true,
    emit: descriptorQuery(Service.verw, false),
  },
  {
    name: "sldt",
    map: 1,
    opcode: 0x00,
    digit: 0,
    operands: ["Ev"],
    noVectors: true,
    emit: storeWord((c) => c.e.i64.load16u(c.e.get(c.s), State.ldtr)),
  },
  {
    name: "str",
    map: 1,
    opcode: 0x00,
    digit: 1,
    operands: ["Ev"],
    noVectors: true,
    emit: storeWord((c) => c.e.i64.load16u(c.e.get(c.s), State.tr)),
  },
  {
    name: "sgdt",
    map: 1,
    opcode: 0x01,
    digit: 0,
    mod: "mem",
    operands: ["M"],
    noVectors: true,
    emit: storeTable(State.gdtrLimit, State.gdtrBase),
  },
  {
    name: "sidt",
    map: 1,
    opcode: 0x01,
    digit: 1,
    mod: "mem",
    operands: ["M"],
    noVectors: true,
    emit: storeTable(State.idtrLimit, State.idtrBase),
  },
  { name: "smsw", map: 1, opcode: 0x01, digit: 4, operands: ["Ev"], noVectors: true, emit: storeWord(machineStatus) },

  // Not at CPL 3
  gp(0xf4), // hlt
  gp(0xfa), // cli
  gp(0xfb), // sti
  gp(0xe4, ["Ib"], { sizes: [1] }),
  gp(0xe5, ["Ib"], { sizes: [1] }),
  gp(0xe6, ["Ib"], { sizes: [1] }),
  gp(0xe7, ["Ib"], { sizes: [1] }),
  gp(0xec),
  gp(0xed),
  gp(0xee),
  gp(0xef),
  gp(0x6c),
  gp(0x6d),
  gp(0x6e),
  gp(0x6f),
  gp(0x06, [], { map: 1 }), // clts
  gp(0x07, [], { map: 1 }), // sysret
  gp(0x08, [], { map: 1 }), // invd
  gp(0x09, [], { map: 1 }), // wbinvd
  gp(0x20, ["Rv", "Gv"], { name: "movfromcr", map: 1, mod: "ignored", sizes: [8], emit: privilegedRegister(1, true) }),
  gp(0x21, ["Rv", "Gv"], { name: "movfromdr", map: 1, mod: "ignored", sizes: [8], emit: privilegedRegister(1, false) }),
  gp(0x22, ["Gv", "Rv"], { name: "movtocr", map: 1, mod: "ignored", sizes: [8], emit: privilegedRegister(0, true) }),
  gp(0x23, ["Gv", "Rv"], { name: "movtodr", map: 1, mod: "ignored", sizes: [8], emit: privilegedRegister(0, false) }),
  gp(0x30, [], { map: 1 }), // wrmsr
  gp(0x32, [], { map: 1 }), // rdmsr
  gp(0x33, [], { map: 1 }), // rdpmc
  gp(0x00, ["Ew"], { map: 1, digit: 2, sizes: [2] }), // lldt
  gp(0x00, ["Ew"], { map: 1, digit: 3, sizes: [2] }), // ltr
  gp(0x01, ["M"], { map: 1, digit: 2, mod: "mem" }), // lgdt
  gp(0x01, ["M"], { map: 1, digit: 3, mod: "mem" }), // lidt
  gp(0x01, ["Ew"], { map: 1, digit: 6, sizes: [2] }), // lmsw
  gp(0x01, ["M"], { map: 1, digit: 7, mod: "mem" }), // invlpg
  gp(0x01, [], { map: 1, digit: 7, mod: "reg", rm: 0 }), // swapgs
];

/** Rows that no bytes select: what the decoder puts where it cannot go on. */
export const undefinedRowSpecs: readonly RowSpec[] = [
  {
    name: "(undefined)",
    opcode: -1,
    flow: "exit",
    emit: (c) => {
      c.e.drop(c.e.call<I32>(c.helpers.service, c.e.get(c.s), c.e.i32.const(Service.logUndefined), c.e.get(c.pc)));
      c.raise(Vector.invalidOpcode);
    },
  },
  { name: "(too long)", opcode: -1, flow: "exit", emit: privileged },
  { name: "nop1", opcode: -1, hot: ["r8"], emit: nothing },
];
