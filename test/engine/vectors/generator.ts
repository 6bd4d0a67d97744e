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

function draft(row: Row, key: string, random: Random, options: GeneratorOptions): Vector | null {
  const seed = random.u32();
  const gpr = drawRegisters(seed);
  const size = random.pick(row.sizes);
  const kinds = row.operands.map(kindOf);
  const has = (kind: string) => kinds.includes(kind);
  const hasModrm = row.mod !== "none";
  const memoryForm = row.mod === "mem" || (row.mod === "any" && random.chance(55));
  const memoryOperand = row.operands.find((operand) => "EMWQ".includes(kindOf(operand)));
  const targetBytes = accessBytes(
    row,
    memoryOperand ?? row.operands.find((operand) => "XYO".includes(kindOf(operand))),
    size,
  );

  // Prefixes.
  const isString = row.repeat !== "none";
  const prefixes: number[] = [];
  const addr32 = random.chance(memoryForm || isString || has("O") || /^(loop|j.?cxz)/.test(row.name) ? 12 : 2);
  if (addr32) prefixes.push(0x67);
  let repeat: Draft["repeat"] = "none";
  if (isString) {
    repeat = random.pick(["none", "rep", "rep", "repne"] as const);
    if (repeat !== "none") prefixes.push(repeat === "rep" ? 0xf3 : 0xf2);
  } else if (typeof row.prefix === "number") {
    if (row.prefix !== 0x66) prefixes.push(row.prefix);
    else prefixes.push(0x66);
  }
  const sized = row.operands.some((operand) => /[vzy]$/.test(operand)) || row.sizes.length > 1;
  if (size === 2 && sized && row.prefix !== 0x66) prefixes.push(0x66);
  if (!sized && row.prefix === "any" && row.map < 2 && row.unit === "integer" && random.chance(4)) prefixes.push(0x66);
  const segment = random.chance(memoryForm || isString || has("O") ? 15 : 2)
    ? random.pick([0x64, 0x65, 0x64, 0x65, 0x2e, 0x36, 0x3e, 0x26])
    : 0;
  if (segment) prefixes.push(segment);
  const wantLock =
    memoryForm && row.lockable ? random.chance(30) : row.unit === "integer" && row.map < 2 && random.chance(1);
  if (wantLock) prefixes.push(0xf0);
  // More of a group than one, and now and then more bytes than an instruction may have.
  if (random.chance(3)) prefixes.push(random.pick([0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65]));
  shuffle(random, prefixes);
  if (random.chance(2))
    prefixes.unshift(...Array.from({ length: random.between(5, 12) }, () => random.pick([0x2e, 0x36, 0x3e])));

  // REX. Where the size does not ask for W it is noise, and so are B and X where nothing uses them.
  let rexW =
    size === 8 &&
    sized &&
    !row.default64 &&
    !row.force64 &&
    (row.sizes.length > 1 || row.operands.some((o) => /[vy]$/.test(o)));
  if (row.name === "cmpxchg16b") rexW = true;
  else if (!rexW && (row.default64 || row.force64 || (!sized && size === 1)) && size !== 2) rexW = random.chance(10);
  let rex = rexW ? 0x48 : 0;
  const byteRegister = row.operands.some((operand) => operand === "Eb" || operand === "Gb" || operand === "Zb");
  if (rex === 0 && random.chance(byteRegister ? 40 : 25)) rex = 0x40;
  const extend = random.chance(50) && row.rm === undefined && !has("T");
  if (extend) rex |= 0x40 | random.below(8);
  const fx = row.unit === "integer" ? undefined : drawFx(seed);

  const regField = row.digit !== undefined ? row.digit : random.below(8);
  // A load of SS holds the trap back by one instruction: not to be stepped.
  if (row.name === "movseg" && row.opcode === 0x8e && regField === 2) return null;
  const reg = row.digit !== undefined || has("S") ? regField : regField | (rex & 4 ? 8 : 0);
  const rmField = row.rm ?? random.below(8);
  const opcodeRegister = row.opcodes === 8 ? random.below(8) : 0;

  const state: Draft = {
    row,
    name: row.name,
    random,
    size,
    gpr,
    pinned: new Set(),
    patches: [],
    target: null,
    targetBytes,
    regField: hasModrm ? reg : row.opcodes === 8 ? opcodeRegister | (rex & 1 ? 8 : 0) : -1,
    rmField: hasModrm && !memoryForm ? (has("T") ? rmField : rmField | (rex & 1 ? 8 : 0)) : -1,
    memoryForm,
    addr32,
    repeat,
    immediate: 0n,
    rflags: Flag.if | 2 | (random.u32() & ARITHMETIC_FLAGS) | (random.chance(isString ? 35 : 10) ? Flag.df : 0),
    fx,
    fxTouched: fx !== undefined,
  };

  // Immediates.
  const immediates: { bytes: number; value: bigint }[] = [];
  for (const operand of row.operands) {
    const bytes = immediateBytes(operand, size, addr32);
    if (bytes > 0) immediates.push({ bytes, value: random.edge64() });
  }
  if (immediates.length > 0) state.immediate = immediates[0].value;

  // Where the code stands: anywhere, across its two pages, up against the absent page, or into it.
  const tail: number[] = [];
  let ripDisplacement: { at: number; target: number } | null = null;
  const segmentBase = segment === 0x64 ? FS_BASE : segment === 0x65 ? GS_BASE : 0;
  let modrm: number[] = [];
  if (hasModrm && !memoryForm) modrm = [0xc0 | (regField << 3) | rmField];
  if (hasModrm && memoryForm) {
    const made = makeAddress(state, regField, rex, segmentBase, wantLock && !options.splitLocks);
    modrm = made.bytes;
    if (made.ripTarget !== null) ripDisplacement = { at: modrm.length - 4, target: made.ripTarget };
  }
  placeImplicit(state, segmentBase);
  fillTarget(state);
  tune(state);
  if (has("O")) {
    const target = drawTarget(state, addr32, targetBytes);
    const address = BigInt.asUintN(addr32 ? 32 : 64, target - BigInt(segmentBase));
    immediates[immediates.findIndex(({ bytes }) => bytes === (addr32 ? 4 : 8))].value = address;
  } else if (immediates.length > 0) immediates[0].value = state.immediate;
  for (const { bytes, value } of immediates) {
    for (let i = 0; i < bytes; i++) tail.push(Number((value >> BigInt(i * 8)) & 0xffn));
  }

  const opcode = [...[[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]][row.map], row.opcode + opcodeRegister];
  const head = [...prefixes, ...(rex ? [rex] : []), ...opcode];
  let bytes = [...head, ...modrm, ...tail];
  if (bytes.length > 18) return null;
  const place = random.below(100);
  let codeVa: number;
  if (place < 70) codeVa = CODE_VA + random.below(CODE_BYTES - 16);
  else if (place < 85 && bytes.length > 1) codeVa = CODE_VA + PAGE - random.between(1, bytes.length - 1);
  else if (place < 96) codeVa = CODE_VA + CODE_BYTES - bytes.length;
  else codeVa = CODE_VA + CODE_BYTES - random.between(1, bytes.length);
  if (ripDisplacement) {
    const displacement = BigInt.asUintN(32, BigInt(ripDisplacement.target) - BigInt(codeVa + bytes.length));
    for (let i = 0; i < 4; i++) modrm[ripDisplacement.at + i] = Number((displacement >> BigInt(i * 8)) & 0xffn);
    bytes = [...head, ...modrm, ...tail];
  }
  const code = Uint8Array.from(bytes.slice(0, CODE_VA + CODE_BYTES - codeVa));
  return {
    row: key,
    code,
    codeVa,
    seed,
    gpr,
    rflags: state.rflags,
    patches: state.patches,
    fx: state.fx,
    repeat: repeat !== "none",
    segments: has("S") || /^(pop[fg]s|l[fg]s)$/.test(row.name),
  };
}

/** Bytes that the row reads or writes at its memory operand. */
function accessBytes(row: Row, operand: OperandName | undefined, size: Size): number {
  if (row.name.startsWith("fxsave") || row.name.startsWith("fxrstor")) return 512;
  if (/^f(ldenv|n?stenv)/.test(row.name)) return 28;
  if (/^f(rstor|n?save)/.test(row.name)) return 108;
  if (row.name === "cmpxchg16b") return 16;
  if (/^(callf|jmpf|l[fgs]s)$/.test(row.name)) return size + 2;
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
      return size === 2 ? 2 : 4;
    case "Jz":
      return 4;
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

const WORD = (value: bigint) => BigInt.asUintN(64, value);

/** ModRM, SIB and displacement of a memory operand, with registers set so that the address comes out as drawn. */
function makeAddress(
  state: Draft,
  regField: number,
  rex: number,
  segmentBase: number,
  keepInLine: boolean,
): { bytes: number[]; ripTarget: number | null } {
  const { random, gpr, addr32 } = state;
  // A far pointer is read in two parts, which makes it one of the operands that stay off 4 GiB.
  const isFar = /^(callf|jmpf|l[fgs]s)$/.test(state.name);
  let linear = drawTarget(state, addr32 && segmentBase === 0, isFar ? 10 : state.targetBytes);
  if (keepInLine && (linear % 64n) + BigInt(state.targetBytes) > 64n) linear -= linear % 64n;
  const form = random.below(100);
  const low = linear >= 0n && linear < 0x7000_0000n;
  const regBits = regField << 3;
  const rexB = rex & 1 ? 8 : 0;
  const rexX = rex & 2 ? 8 : 0;

  if (form < 15 && segmentBase === 0 && low) {
    // RIP-relative. With an address-size prefix the sum is cut to 32 bits, which changes nothing down here.
    state.target = linear;
    return { bytes: [regBits | 5, 0, 0, 0, 0], ripTarget: Number(linear) };
  }

  const useSib = form >= 60 || (form < 25 && form >= 15);
  const absolute = form >= 15 && form < 25;
  let index = -1;
  let scale = 0;
  let base = -1;
  if (useSib) {
    scale = random.below(4);
    const indexField = random.below(8) | rexX;
    if (indexField !== 4) index = indexField;
    if (!absolute) base = random.below(8) | rexB;
  } else {
    do base = random.below(8) | rexB;
    while ((base & 7) === 4);
  }
  const displacementKind = absolute ? 2 : random.below(3);
  let displacement = 0n;
  if (displacementKind === 1) displacement = BigInt.asIntN(8, random.edge64());
  if (displacementKind === 2) displacement = BigInt.asIntN(32, random.edge64());
  const mod = absolute ? 0 : (base & 7) === 5 && displacementKind === 0 ? 1 : displacementKind;
  let wanted = WORD(linear - BigInt(segmentBase));
  const garbage = addr32 ? (random.chance(50) ? BigInt(random.u32()) << 32n : 0n) : 0n;
  if (addr32) wanted = BigInt.asUintN(32, wanted);

  if (index >= 0 && index !== base) {
    if (random.chance(60)) gpr[index] = WORD(BigInt(random.between(-300, 300)));
    state.pinned.add(index);
  }
  if (base < 0) {
    // Absolute: the displacement carries the address as far as 31 bits reach, an index the rest.
    if (index >= 0) {
      gpr[index] = WORD(BigInt(random.between(-300, 300)));
      const rest = WORD(wanted - (gpr[index] << BigInt(scale)));
      if (BigInt.asIntN(32, rest) === BigInt.asIntN(64, rest) || addr32) displacement = BigInt.asIntN(32, rest);
      else {
        displacement = BigInt.asIntN(32, random.edge64());
        const scaled = WORD(wanted - displacement);
        const step = 1n << BigInt(scale);
        gpr[index] = scaled / step;
        displacement += scaled % step;
        if (displacement > 0x7fff_ffffn) displacement -= step;
      }
      if (addr32) gpr[index] |= garbage;
    } else {
      displacement = BigInt.asIntN(32, wanted);
    }
  } else if (base === index) {
    const factor = (1n << BigInt(scale)) + 1n;
    const sum = WORD(wanted - displacement);
    gpr[base] = sum / factor;
    if (mod !== 0 && displacement < 100n) displacement += sum % factor;
    if (addr32) gpr[base] |= garbage;
    state.pinned.add(base);
  } else {
    const scaled = index >= 0 ? gpr[index] << BigInt(scale) : 0n;
    gpr[base] = WORD(wanted - displacement - scaled);
    if (addr32) gpr[base] = BigInt.asUintN(32, gpr[base]) | garbage;
    state.pinned.add(base);
  }

  // The address as the processor will compute it: the truth about where this lands.
  const mask = addr32 ? 32 : 64;
  const offset = BigInt.asUintN(
    mask,
    (base >= 0 ? gpr[base] : 0n) + (index >= 0 ? gpr[index] << BigInt(scale) : 0n) + displacement,
  );
  state.target = WORD(offset + BigInt(segmentBase));
  const bytes = [(mod << 6) | regBits | (useSib ? 4 : base & 7)];
  if (useSib) bytes.push((scale << 6) | ((index < 0 ? 4 : index & 7) << 3) | (base < 0 ? 5 : base & 7));
  const count = absolute ? 4 : mod === 1 ? 1 : mod === 2 ? 4 : 0;
  const raw = BigInt.asUintN(32, displacement);
  for (let i = 0; i < count; i++) bytes.push(Number((raw >> BigInt(i * 8)) & 0xffn));
  return { bytes, ripTarget: null };
}

/** Points the registers that a row uses without naming them at memory. */
function placeImplicit(state: Draft, segmentBase: number): void {
  const { row, random, gpr, pinned, size, addr32 } = state;
  const point = (register: number, bytes: number, base: number) => {
    if (pinned.has(register)) return null;
    const target = drawTarget(state, addr32 && base === 0, bytes);
    gpr[register] = WORD(target - BigInt(base));
    if (addr32 && random.chance(50)) gpr[register] = BigInt.asUintN(32, gpr[register]) | (BigInt(random.u32()) << 32n);
    return target;
  };
  const kinds = row.operands.map(kindOf);
  if (kinds.includes("X")) point(Reg.rsi, size, segmentBase);
  if (kinds.includes("Y")) point(Reg.rdi, size, 0);
  if (row.stack && row.repeat === "none") {
    if (!pinned.has(Reg.rsp) && !(state.regField === Reg.rsp && row.mod === "none")) {
      const pushes = /^(push|call|enter|int)/.test(row.name);
      gpr[Reg.rsp] = WORD(drawTarget({ ...state, addr32: false }, false, 8) + (pushes ? BigInt(size) : 0n));
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
