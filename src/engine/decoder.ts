/**
 * Bytes to instructions, driven by the op table. 64-bit mode only.
 *
 * Prefix rules: the last of each group counts; a REX prefix counts only right in front of the opcode; F3 and F2 win over 66 as mandatory prefix. A
 * LOCK prefix on a row or form that cannot have it is #UD.
 */
import { isRegisterField } from "./frame.ts";
import { kindOf, type Row, type Size, sizeNameOf } from "./ops/row.ts";
import { nopRow, rows } from "./ops/table.ts";

/** Base register numbers that are no register. */
export const NO_REGISTER = -1;
export const RIP = 16;

/** What decoding came to. */
export const Decoded = {
  ok: 1,
  /** The bytes end before the instruction does. */
  truncated: 0,
  /** No row: #UD. */
  undefined: -1,
  /** More than 15 bytes: #GP(0). */
  tooLong: -2,
} as const;
export type Decoded = (typeof Decoded)[keyof typeof Decoded];

/** A decoded instruction. Reused by the code cache; `decodeInstruction` gives a fresh one. */
export class Instruction {
  row: Row = nopRow;
  /** Bytes. */
  length = 0;
  /** Operand size in bytes. */
  size: Size = 8;
  opcode = 0;
  rex = 0;
  /** ModRM.reg and ModRM.rm (or the opcode's low bits) with their REX bits; -1 where there is none. */
  reg = -1;
  rm = -1;
  /** The operand by ModRM.rm is memory (or there is an absolute address). */
  memory = false;
  /** 0..15, RIP or NO_REGISTER. */
  base: number = NO_REGISTER;
  index: number = NO_REGISTER;
  /** Index shift, 0..3. */
  scale = 0;
  /** Displacement, or the absolute address; low and high half. For relative branches the distance from the next instruction. */
  dispLo = 0;
  dispHi = 0;
  /** Immediate, zero-extended from the operand size (sign-extended up to it first). */
  immLo = 0;
  immHi = 0;
  /** Segment that the memory operand is in: 0..5, DS unless overridden or by rsp or rbp. */
  segment = 3;
  /** A segment override was there. */
  override = false;
  addr32 = false;
  lock = false;
  /** 0, 0xf2 or 0xf3. */
  repeat = 0;
}

const MAX_LENGTH = 15;
const ES = 0;
const SS = 2;
const DS = 3;

/** Place of a prefix class in the look-up table. */
const prefixClass = (mandatory: number): number =>
  mandatory === 0 ? 0 : mandatory === 0x66 ? 1 : mandatory === 0xf3 ? 2 : 3;

const NO_ROW = 0xffff;
/** By map, opcode, prefix class, ModRM.mod == 3, ModRM.reg. */
const lookup = new Uint16Array(4 * 256 * 4 * 16).fill(NO_ROW);
/** Opcodes with a ModRM byte, by map and opcode. */
const hasModrm = new Uint8Array(4 * 256);
/** Rows that are told apart by ModRM.rm, tried before the look-up table: keyed by the same place. */
const byRm = new Map<number, Row[]>();
/** Per row: what its operands need of the bytes. */
const immediateKinds: string[][] = [];

function place(map: number, opcode: number, prefix: number, registerForm: boolean, digit: number): number {
  return ((((map << 8) | opcode) << 2) | prefix) * 16 + (registerForm ? 8 : 0) + digit;
}

for (const row of rows) {
  immediateKinds[row.id] = row.operands.filter((o) => "IJO".includes(kindOf(o)) && o !== "1").map((o) => o as string);
  const prefixes =
    row.prefix === "any" ? [0, 1, 2, 3] : [row.prefix === "none" ? 0 : prefixClass(row.prefix as number)];
  const needsModrm = row.mod !== "none";
  for (let o = row.opcode; o < row.opcode + row.opcodes; o++) {
    if (needsModrm) hasModrm[(row.map << 8) | o] = 1;
    for (const prefix of prefixes)
      for (const registerForm of [false, true]) {
        if (needsModrm && row.mod === (registerForm ? "mem" : "reg")) continue;
        for (let digit = 0; digit < 8; digit++) {
          if (row.digit !== undefined && row.digit !== digit) continue;
          const at = place(row.map, o, prefix, registerForm, digit);
          if (row.rm !== undefined) byRm.set(at, [...(byRm.get(at) ?? []), row]);
          // A row with its own prefix wins over one for any.
          else if (lookup[at] === NO_ROW || row.prefix !== "any") lookup[at] = row.id;
        }
      }
  }
}

/**
 * Decodes the instruction at `at`.
 * @param limit one past the last byte that may be looked at
 */
export function decode(bytes: Uint8Array, start: number, limit: number, out: Instruction): Decoded {
  let at = start;
  const longest = start + MAX_LENGTH;
  let operand16 = false;
  let rex = 0;
  let segment = -1;
  out.addr32 = false;
  out.lock = false;
  out.repeat = 0;
  let byte = 0;
  // Prefixes
  for (;;) {
    if (at >= longest) return Decoded.tooLong;
    if (at >= limit) return Decoded.truncated;
    byte = bytes[at++]!;
    if (byte === 0x66) operand16 = true;
    else if (byte === 0x67) out.addr32 = true;
    else if (byte === 0xf0) out.lock = true;
    else if (byte === 0xf2 || byte === 0xf3) out.repeat = byte;
    else if (byte === 0x2e || byte === 0x36 || byte === 0x3e || byte === 0x26) {
      // ES, CS, SS and DS overrides have no effect on the address, and none on FS and GS before them.
      if (segment !== 4 && segment !== 5) segment = byte === 0x2e ? 1 : byte === 0x36 ? SS : byte === 0x3e ? DS : ES;
    } else if (byte === 0x64) segment = 4;
    else if (byte === 0x65) segment = 5;
    else if ((byte & 0xf0) === 0x40) {
      rex = byte;
      continue;
    } else break;
    rex = 0;
  }
  let map = 0;
  if (byte === 0x0f) {
    if (at >= longest) return Decoded.tooLong;
    if (at >= limit) return Decoded.truncated;
    byte = bytes[at++]!;
    map = 1;
    if (byte === 0x38 || byte === 0x3a) {
      map = byte === 0x38 ? 2 : 3;
      if (at >= longest) return Decoded.tooLong;
      if (at >= limit) return Decoded.truncated;
      byte = bytes[at++]!;
    }
  }
  out.opcode = byte;
  out.rex = rex;
  out.reg = -1;
  out.rm = -1;
  out.memory = false;
  out.base = NO_REGISTER;
  out.index = NO_REGISTER;
  out.scale = 0;
  out.dispLo = 0;
  out.dispHi = 0;
  out.immLo = 0;
  out.immHi = 0;
  const mandatory = out.repeat !== 0 ? out.repeat : operand16 ? 0x66 : 0;
  let modrm = 0;
  let digit = 0;
  let registerForm = false;
  let stackBase = false;
  const withModrm = hasModrm[(map << 8) | byte] !== 0;
  if (withModrm) {
    if (at >= longest) return Decoded.tooLong;
    if (at >= limit) return Decoded.truncated;
    modrm = bytes[at++]!;
    digit = (modrm >> 3) & 7;
    registerForm = modrm >= 0xc0;
  }
  const slot = place(map, byte, prefixClass(mandatory), registerForm, digit);
  let row: Row | undefined;
  const special = byRm.size > 0 ? byRm.get(slot) : undefined;
  if (special !== undefined) row = special.find((r) => r.rm === (modrm & 7));
  if (row === undefined) {
    const id = lookup[slot]!;
    if (id === NO_ROW) {
      out.length = at - start;
      return Decoded.undefined;
    }
    row = rows[id]!;
  }
  // With F3 it is PAUSE, REX.B or not.
  if (map === 0 && byte === 0x90 && ((rex & 1) === 0 || out.repeat === 0xf3)) row = nopRow;
  out.row = row;

  // Operand size
  const rexW = (rex & 8) !== 0;
  let size: Size = rexW ? 8 : operand16 ? 2 : row.default64 ? 8 : 4;
  if (!row.sizes.includes(size)) size = row.sizes.includes(4) ? 4 : row.sizes[0]!;
  out.size = size;

  if (withModrm) {
    out.reg = digit | ((rex & 4) << 1);
    const rm = modrm & 7;
    if (registerForm || row.mod === "ignored") out.rm = rm | ((rex & 1) << 3);
    else {
      out.memory = true;
      const mod = modrm >> 6;
      let dispBytes = mod === 1 ? 1 : mod === 2 ? 4 : 0;
      if (rm === 4) {
        if (at >= longest) return Decoded.tooLong;
        if (at >= limit) return Decoded.truncated;
        const sib = bytes[at++]!;
        const index = ((sib >> 3) & 7) | ((rex & 2) << 2);
        if (index !== 4) {
          out.index = index;
          out.scale = sib >> 6;
        }
        if ((sib & 7) === 5 && mod === 0) dispBytes = 4;
        else {
          out.base = (sib & 7) | ((rex & 1) << 3);
          stackBase = out.base === 4 || out.base === 5;
        }
      } else if (rm === 5 && mod === 0) {
        out.base = RIP;
        dispBytes = 4;
      } else {
        out.base = rm | ((rex & 1) << 3);
        stackBase = out.base === 5;
      }
      if (dispBytes !== 0) {
        if (at + dispBytes > limit && limit < longest) return Decoded.truncated;
        if (at + dispBytes > longest) return Decoded.tooLong;
        if (dispBytes === 1) out.dispLo = (bytes[at]! << 24) >> 24;
        else out.dispLo = readI32(bytes, at);
        out.dispHi = out.dispLo >> 31;
        at += dispBytes;
      }
    }
  } else if (row.opcodes === 8) out.rm = (byte & 7) | ((rex & 1) << 3);

  // Immediates
  const kinds = immediateKinds[row.id];
  if (kinds !== undefined)
    for (let i = 0; i < kinds.length; i++) {
      const operand = kinds[i]!;
      const name = sizeNameOf(operand as Row["operands"][number]);
      const kind = operand.charCodeAt(0);
      let n: number;
      if (kind === 0x4f) n = out.addr32 ? 4 : 8;
      else if (name === "b") n = 1;
      else if (name === "w") n = 2;
      else if (name === "z") n = size === 2 ? 2 : 4;
      else n = size === 8 ? 8 : size === 2 ? 2 : 4;
      if (at + n > limit && limit < longest) return Decoded.truncated;
      if (at + n > longest) return Decoded.tooLong;
      let lo: number;
      let hi: number;
      if (n === 1) lo = (bytes[at]! << 24) >> 24;
      else if (n === 2) lo = ((bytes[at]! | (bytes[at + 1]! << 8)) << 16) >> 16;
      else lo = readI32(bytes, at);
      hi = n === 8 ? readI32(bytes, at + 4) : lo >> 31;
      at += n;
      if (kind === 0x4f) {
        out.memory = true;
        out.dispLo = lo;
        out.dispHi = n === 4 ? 0 : hi;
        continue;
      }
      if (kind === 0x4a) {
        out.dispLo = lo;
        out.dispHi = hi;
        continue;
      }
      if (i === 1) {
        // ENTER's level.
        out.immLo |= (lo & 0xff) << 16;
        continue;
      }
      if (name === "w") {
        lo &= 0xffff;
        hi = 0;
      }
      if (size === 4) hi = 0;
      else if (size === 2) {
        lo &= 0xffff;
        hi = 0;
      } else if (size === 1) {
        lo &= 0xff;
        hi = 0;
      }
      out.immLo = lo;
      out.immHi = hi;
    }
  if (row.operands[row.operands.length - 1] === "1") out.immLo = 1;
  out.override = segment >= 0;
  out.segment = segment === 4 || segment === 5 ? segment : stackBase ? SS : DS;
  out.length = at - start;
  if (out.length > MAX_LENGTH) return Decoded.tooLong;
  if (out.lock && !(row.lockable && out.memory)) return Decoded.undefined;
  return Decoded.ok;
}

function readI32(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}

/** A fresh instruction from bytes, or why there is none. */
export function decodeInstruction(bytes: Uint8Array): Instruction | "truncated" | "undefined" | "too long" {
  const out = new Instruction();
  switch (decode(bytes, 0, bytes.length, out)) {
    case Decoded.ok:
      return out;
    case Decoded.truncated:
      return "truncated";
    case Decoded.undefined:
      return "undefined";
    default:
      return "too long";
  }
}

/** Number of the general register that is operand `operand`, or -1. High byte registers are 4..7 with `isHighByte`. */
export function registerOperand(insn: Instruction, operand: number): number {
  const kind = kindOf(insn.row.operands[operand]!);
  if (!isRegisterField(insn.row, operand, insn.memory)) return kind === "C" ? 1 : -1;
  if (kind === "A") return 0;
  if ("GVPS".includes(kind)) return insn.reg;
  return insn.rm;
}

/** Is a byte register by number n AH, CH, DH or BH here? */
export function isHighByte(insn: Instruction, n: number): boolean {
  return insn.rex === 0 && n >= 4 && n < 8;
}
