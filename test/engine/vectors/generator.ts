/**
 * Makes random instances of an op table's row: encodings in every operand size and form, with states that bring its borders out.
 *
 * Nothing here decides what an instruction does: a vector is only a question, and whatever its bytes turn out to mean, the processor
 * answers. A mistake here costs coverage, never truth. Two rules: addresses land on purpose (inside pages, across their borders, on
 * read-only and absent ones, outside canonical space), and no byte may leave the process (`isUnsafe`).
 */

import { kindOf, type OperandName, operandBytes, type Row, type Size } from "../../../src/engine/ops/row.ts";
import { type Draft, drawTarget, putBytes, Reg } from "./draft.ts";
import { drawDouble, drawExtended, drawFx, drawSingle } from "./fx-image.ts";
import { CODE_BYTES, CODE_VA, FS_BASE, GS_BASE, PAGE } from "./layout.ts";
import { makeAddress } from "./operand-address.ts";
import { drawRegisters, type Random } from "./random.ts";
import { tune } from "./tuning.ts";
import { ARITHMETIC_FLAGS, Flag, type Vector } from "./vector.ts";

export interface GeneratorOptions {
  /** Make locked operations that cross cache lines: processors with split-lock detection would stop them. */
  readonly splitLocks: boolean;
}

export function generateVector(row: Row, key: string, random: Random, options: GeneratorOptions): Vector {
  for (;;) {
    const vector = draft(row, key, random, options);
    if (vector && !isUnsafe(vector.code)) return vector;
  }
}

/** Instructions that would leave the stepper's hands: system calls, or traps that look like its own. */
function isUnsafe(code: Uint8Array): boolean {
  for (let i = 0; i < code.length; i++) {
    const [a, b] = [code[i], code[i + 1]];
    if (a === 0xcd && b === 0x80) return true;
    if (a === 0x0f && (b === 0x05 || b === 0x34)) return true;
    if (a === 0xf1 && i === 0) return true;
  }
  return false;
}

interface Prefixes {
  readonly bytes: readonly number[];
  readonly addr32: boolean;
  readonly repeat: Draft["repeat"];
  /** Base that a segment override adds to data addresses. */
  readonly segmentBase: number;
  readonly locked: boolean;
}

/** Rows with a far pointer in memory. Processors disagree on whether REX.W makes its offset one of 64 bits. */
const FAR_POINTER = /^(callf|jmpf|l[fgs]s)$/;

/** Does the operand size hang on prefixes? */
function isSized(row: Row): boolean {
  return row.sizes.length > 1 || row.operands.some((operand) => /[vzy]$/.test(operand));
}

const hasKind = (row: Row, kinds: string) => row.operands.some((operand) => kinds.includes(kindOf(operand)));

/** `wide`: REX.W is there, which makes an operand-size prefix noise. */
function drawPrefixes(row: Row, random: Random, size: Size, memoryForm: boolean, wide: boolean): Prefixes {
  const bytes: number[] = [];
  const isString = row.repeat !== "none";
  const addresses = memoryForm || isString || hasKind(row, "O");
  const addr32 = random.chance(addresses || /^(loop|j.?cxz)/.test(row.name) ? 12 : 2);
  if (addr32) bytes.push(0x67);
  let repeat: Draft["repeat"] = "none";
  if (isString) {
    repeat = random.pick(["none", "rep", "rep", "repne"] as const);
    if (repeat !== "none") bytes.push(repeat === "rep" ? 0xf3 : 0xf2);
  } else if (typeof row.prefix === "number") bytes.push(row.prefix);
  const plain = row.prefix === "any" && row.map < 2 && row.unit === "integer";
  const noise = plain && (wide || !isSized(row)) && random.chance(4);
  if (noise || (isSized(row) && size === 2 && row.prefix !== 0x66)) bytes.push(0x66);
  const segment = random.chance(addresses ? 15 : 2) ? random.pick([0x64, 0x65, 0x64, 0x65, 0x2e, 0x36, 0x3e, 0x26]) : 0;
  if (segment) bytes.push(segment);
  const locked =
    memoryForm && row.lockable ? random.chance(30) : row.unit === "integer" && row.map < 2 && random.chance(3);
  if (locked) bytes.push(0xf0);
  // More of a group than one, and now and then more bytes than an instruction may have.
  if (random.chance(3)) bytes.push(random.pick([0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65]));
  shuffle(random, bytes);
  if (random.chance(2)) {
    bytes.unshift(...Array.from({ length: random.between(5, 12) }, () => random.pick([0x2e, 0x36, 0x3e])));
  }
  const segmentBase = segment === 0x64 ? FS_BASE : segment === 0x65 ? GS_BASE : 0;
  return { bytes, addr32, repeat, segmentBase, locked };
}

/** A REX prefix, or 0. Where the size does not ask for W it is noise, and so are B and X where nothing uses them. */
function drawRex(row: Row, random: Random, size: Size): number {
  const wide =
    size === 8 && !row.default64 && (row.sizes.length > 1 || row.operands.some((operand) => /[vy]$/.test(operand)));
  const isNoise = row.default64 || FAR_POINTER.test(row.name) || (!isSized(row) && size === 1);
  const noise = (size !== 2 || FAR_POINTER.test(row.name)) && isNoise && random.chance(10);
  let rex = wide || noise || row.name === "cmpxchg16b" ? 0x48 : 0;
  const byteRegister = row.operands.some((operand) => operand === "Eb" || operand === "Gb" || operand === "Zb");
  if (rex === 0 && random.chance(byteRegister ? 40 : 25)) rex = 0x40;
  if (random.chance(50) && row.rm === undefined && !hasKind(row, "T")) rex |= 0x40 | random.below(8);
  return rex;
}

/** Where the code stands: anywhere, across its two pages, up against the absent page, or into it. */
function placeCode(random: Random, length: number): number {
  const place = random.below(100);
  if (place < 70) return CODE_VA + random.below(CODE_BYTES - 18);
  if (place < 85 && length > 1) return CODE_VA + PAGE - random.between(1, length - 1);
  if (place < 96) return CODE_VA + CODE_BYTES - length;
  return CODE_VA + CODE_BYTES - random.between(1, length);
}

function littleEndian(value: bigint, count: number): number[] {
  return Array.from({ length: count }, (_, i) => Number((value >> BigInt(i * 8)) & 0xffn));
}

function draft(row: Row, key: string, random: Random, options: GeneratorOptions): Vector | null {
  const seed = random.u32();
  const size = random.pick(row.sizes);
  const hasModrm = row.mod !== "none";
  const memoryForm = row.mod === "mem" || (row.mod === "any" && random.chance(55));
  const rex = drawRex(row, random, size);
  const prefixes = drawPrefixes(row, random, size, memoryForm, (rex & 8) !== 0);
  const { addr32, segmentBase } = prefixes;

  const regField = row.digit ?? random.below(8);
  // A load of SS holds the trap back by one instruction: not to be stepped.
  if (row.name === "movseg" && row.opcode === 0x8e && regField === 2) return null;
  const rmField = row.rm ?? random.below(8);
  const opcodeRegister = row.opcodes === 8 ? random.below(8) : 0;
  const extendedReg = row.digit !== undefined || hasKind(row, "S") ? regField : regField | (rex & 4 ? 8 : 0);
  const extendedRm = hasKind(row, "T") ? rmField : rmField | (rex & 1 ? 8 : 0);

  const state: Draft = {
    row,
    name: row.name,
    random,
    size,
    gpr: drawRegisters(seed),
    pinned: new Set(),
    patches: [],
    target: null,
    targetBytes: accessBytes(row, size),
    regField: hasModrm ? extendedReg : row.opcodes === 8 ? opcodeRegister | (rex & 1 ? 8 : 0) : -1,
    rmField: hasModrm && !memoryForm ? extendedRm : -1,
    addr32,
    repeat: prefixes.repeat,
    immediate: 0n,
    rflags:
      Flag.if |
      2 |
      (random.chance(8) ? Flag.ac : 0) |
      (random.u32() & ARITHMETIC_FLAGS) |
      (random.chance(row.repeat === "none" ? 10 : 35) ? Flag.df : 0),
    fx: row.unit === "integer" ? undefined : drawFx(seed),
  };

  const immediates = row.operands
    .map((operand) => ({ bytes: immediateBytes(operand, size, addr32), value: random.edge64() }))
    .filter(({ bytes }) => bytes > 0);
  if (immediates.length > 0) state.immediate = immediates[0].value;

  let modrm: number[] = [];
  let ripTarget: number | null = null;
  if (hasModrm && memoryForm) {
    const made = makeAddress(state, regField, rex, segmentBase, prefixes.locked && !options.splitLocks);
    modrm = made.bytes;
    ripTarget = made.ripTarget;
  } else if (hasModrm) {
    const mod = row.mod === "ignored" ? random.below(4) : 3;
    modrm = [(mod << 6) | (regField << 3) | rmField];
  }
  placeImplicit(state, segmentBase);
  fillTarget(state);
  tune(state);
  if (hasKind(row, "O")) {
    const target = drawTarget(state, addr32, state.targetBytes);
    immediates[0].value = BigInt.asUintN(addr32 ? 32 : 64, target - BigInt(segmentBase));
  } else if (immediates.length > 0) immediates[0].value = state.immediate;

  const opcode = [...[[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]][row.map], row.opcode + opcodeRegister];
  const head = [...prefixes.bytes, ...(rex ? [rex] : []), ...opcode];
  const tail = immediates.flatMap(({ bytes, value }) => littleEndian(value, bytes));
  const length = head.length + modrm.length + tail.length;
  if (length > 18) return null;
  const codeVa = placeCode(random, length);
  if (ripTarget !== null) modrm.splice(-4, 4, ...littleEndian(BigInt(ripTarget - codeVa - length), 4));
  return {
    row: key,
    code: Uint8Array.from([...head, ...modrm, ...tail].slice(0, CODE_VA + CODE_BYTES - codeVa)),
    codeVa,
    seed,
    gpr: state.gpr,
    rflags: state.rflags,
    patches: state.patches,
    fx: state.fx,
    repeat: prefixes.repeat !== "none",
    segments: hasKind(row, "S") || /^(pop[fg]s|l[fg]s)$/.test(row.name),
  };
}

/** Bytes that the row reads or writes at its memory operand. */
function accessBytes(row: Row, size: Size): number {
  if (row.name.startsWith("fxsave") || row.name.startsWith("fxrstor")) return 512;
  if (/^f(ldenv|n?stenv)/.test(row.name)) return 28;
  if (/^f(rstor|n?save)/.test(row.name)) return 108;
  if (row.name === "cmpxchg16b") return 16;
  if (FAR_POINTER.test(row.name)) return Math.min(size, 4) + 2;
  const operand =
    row.operands.find((name) => "EMWQ".includes(kindOf(name))) ??
    row.operands.find((name) => "XYO".includes(kindOf(name)));
  const bytes = operand ? operandBytes(operand, size) : 0;
  return bytes > 0 ? bytes : 8;
}

function immediateBytes(operand: OperandName, size: Size, addr32: boolean): number {
  switch (operand) {
    case "Ib":
    case "Jb":
      return 1;
    case "Iw":
      return 2;
    case "Iz":
    case "Jz":
      return size === 2 ? 2 : 4;
    case "Iv":
      return size;
    case "Ob":
    case "Ov":
      return addr32 ? 4 : 8;
    default:
      return 0;
  }
}

function shuffle<T>(random: Random, items: T[]): void {
  for (let i = items.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [items[i], items[j]] = [items[j], items[i]];
  }
}

/** Points the registers that a row uses without naming them at memory. */
function placeImplicit(state: Draft, segmentBase: number): void {
  const { row, random, gpr, pinned, size, addr32 } = state;
  const point = (register: number, bytes: number, base: number) => {
    if (pinned.has(register)) return null;
    const target = drawTarget(state, addr32 && base === 0, bytes);
    gpr[register] = BigInt.asUintN(64, target - BigInt(base));
    if (addr32 && random.chance(50)) gpr[register] = BigInt.asUintN(32, gpr[register]) | (BigInt(random.u32()) << 32n);
    return target;
  };
  const kinds = row.operands.map(kindOf);
  if (kinds.includes("X")) point(Reg.rsi, size, segmentBase);
  if (kinds.includes("Y")) point(Reg.rdi, size, 0);
  if (row.stack && row.repeat === "none") {
    if (!pinned.has(Reg.rsp) && !(state.regField === Reg.rsp && row.mod === "none")) {
      const pushes = /^(push|call|enter|int)/.test(row.name);
      gpr[Reg.rsp] = BigInt.asUintN(
        64,
        drawTarget({ ...state, addr32: false }, false, 8) + (pushes ? BigInt(size) : 0n),
      );
    }
  }
}

/** Puts a value worth having at the memory operand. */
function fillTarget(state: Draft): void {
  const { random, target, targetBytes, row } = state;
  if (target === null || random.chance(10)) return;
  const bytes = new Uint8Array(Math.max(16, Math.min(targetBytes, 64)));
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, random.edge64(), true);
  view.setBigUint64(8, random.edge64(), true);
  if (row.unit !== "integer") {
    const kind = random.below(4);
    if (targetBytes === 10) {
      const value = drawExtended(random);
      view.setBigUint64(0, value.significand, true);
      view.setUint16(8, value.signExponent, true);
    } else if (kind < 2 || targetBytes === 4) {
      if (kind < 3) for (let i = 0; i < 4; i++) view.setUint32(i * 4, drawSingle(random), true);
    }
    if (targetBytes >= 8 && targetBytes !== 10 && kind === 2)
      for (let i = 0; i < 2; i++) view.setBigUint64(i * 8, drawDouble(random), true);
  }
  putBytes(state, target, bytes.subarray(0, Math.min(bytes.length, targetBytes)));
}
