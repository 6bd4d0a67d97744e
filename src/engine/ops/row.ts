/**
 * The op table's row: one x86 instruction form, with its encoding as data and its semantics as code that emits WebAssembly.
 *
 * Decoder, interpreter, translator and the vector generator all read the same rows. A row's `emit` writes the semantics once for every operand
 * size and for register and memory forms alike; which one it is asked for is in the context.
 */
import type { Ctx } from "../ctx.ts";

/** 0: one-byte opcodes, 1: 0F, 2: 0F 38, 3: 0F 3A. */
export type OpcodeMap = 0 | 1 | 2 | 3;

/** Operand size in bytes. */
export type Size = 1 | 2 | 4 | 8;

/**
 * Operand kinds, as in the opcode maps of Intel's manual:
 * E register or memory by ModRM.rm; G register by ModRM.reg; Z register by the opcode's low three bits; M memory only; R register only by ModRM.rm;
 * I immediate (sign-extended to the operand size); J relative branch; O absolute address (moffs); S segment register by ModRM.reg;
 * A the accumulator; C the CL register; 1 the constant one; V xmm by ModRM.reg; W xmm or memory; U xmm by ModRM.rm; P mmx by ModRM.reg;
 * Q mmx or memory; N mmx by ModRM.rm; T x87 stack register by ModRM.rm.
 * X and Y are the string operands at [rsi] and [rdi].
 * Sizes: b 1, w 2, d 4, q 8, v 2/4/8 by prefix, z 2/4/4 (immediates of v rows), y 4/8, o 16 bytes, t 10 bytes, a plain `M` has no size of its own.
 */
export type OperandName =
  | "Eb"
  | "Ew"
  | "Ed"
  | "Eq"
  | "Ev"
  | "Ey"
  | "Gb"
  | "Gw"
  | "Gd"
  | "Gq"
  | "Gv"
  | "Gy"
  | "Rv"
  | "Ry"
  | "Rd"
  | "Zb"
  | "Zv"
  | "Zq"
  | "Ab"
  | "Av"
  | "Cb"
  | "1"
  | "Ib"
  | "Iw"
  | "Iz"
  | "Iv"
  | "Jb"
  | "Jz"
  | "M"
  | "Mb"
  | "Mw"
  | "Md"
  | "Mq"
  | "Mo"
  | "Mt"
  | "My"
  | "Mv"
  | "Ob"
  | "Ov"
  | "Sw"
  | "Xb"
  | "Xv"
  | "Yb"
  | "Yv"
  | "Vo"
  | "Vq"
  | "Vd"
  | "Wo"
  | "Wq"
  | "Wd"
  | "Ww"
  | "Uo"
  | "Uq"
  | "Pq"
  | "Qq"
  | "Qd"
  | "Nq"
  | "T";

export type OperandSizeName = "b" | "w" | "d" | "q" | "v" | "z" | "y" | "o" | "t" | "";

/** Mandatory prefix: `any` means that 66, F2 and F3 do not select another instruction. */
export type Mandatory = "any" | "none" | 0x66 | 0xf2 | 0xf3;

/** rflags bits. */
export const Flag = {
  CF: 1,
  PF: 4,
  AF: 0x10,
  ZF: 0x40,
  SF: 0x80,
  TF: 0x100,
  IF: 0x200,
  DF: 0x400,
  OF: 0x800,
  NT: 0x4000,
  RF: 0x10000,
  AC: 0x40000,
  ID: 0x200000,
} as const;

/**
 * What the row does to control flow, for block ends and for the vector generator:
 * `next` goes on behind itself; `branch` may go elsewhere; `exit` always leaves the engine (exit or fault).
 */
export type Flow = "next" | "branch" | "exit";

/** How F2/F3 in front of a string row act. */
export type Repeat = "none" | "rep" | "repz";

/** What the row uses beyond the integer registers: `x87` and `mmx` raise #NM when TS is set, as `sse` does. */
export type Unit = "integer" | "x87" | "mmx" | "sse" | "fxsr";

/** Form of ModRM a row is for. `ignored`: the register form, whatever ModRM.mod says. */
export type Mod = "any" | "reg" | "mem" | "ignored";

export interface RowSpec {
  /** Mnemonic, lower case, Intel's name. Names are not unique: several forms share one. */
  name: string;
  map?: OpcodeMap;
  opcode: number;
  prefix?: Mandatory;
  /** ModRM.reg as part of the opcode. */
  digit?: number;
  /** Form of ModRM the row is for; default `any` where there is an E or W operand, else by the operands. */
  mod?: Mod;
  /** ModRM.rm as part of the opcode (with mod 3). */
  rm?: number;
  operands?: readonly OperandName[];
  /** Operand sizes the row comes in. Default: by operands: 1 for b, 2/4/8 for v, 4/8 for y. */
  sizes?: readonly Size[];
  /** Near branches and stack operations: 64 bits is the default operand size and 32 cannot be had. */
  default64?: boolean;
  /** Flags whose value the manuals leave open after this row, when it changes flags at all. */
  undefinedFlags?: number;
  /** LOCK is allowed with a memory destination. */
  lockable?: boolean;
  repeat?: Repeat;
  flow?: Flow;
  unit?: Unit;
  /** Accesses through the stack pointer: a non-canonical address is #SS. */
  stack?: boolean;
  /** Inline in the interpreter loop: forms that earn it. Each names an operand size and whether it is the memory form. */
  hot?: readonly HotForm[];
  /** The interpreter cannot run it alone and the vector generator skips it (it needs segments, time, or leaves the engine). */
  noVectors?: boolean;
  /** ModRM is there although no operand says so. */
  modrm?: boolean;
  emit(c: Ctx): void;
}

export type HotForm = "r1" | "r2" | "r4" | "r8" | "m1" | "m2" | "m4" | "m8";

export interface Row {
  readonly id: number;
  readonly name: string;
  readonly map: OpcodeMap;
  readonly opcode: number;
  /** Opcodes the row takes from `opcode` on: 8 for a register in the opcode, else 1. */
  readonly opcodes: 1 | 8;
  readonly prefix: Mandatory;
  readonly digit: number | undefined;
  readonly mod: Mod | "none";
  readonly rm: number | undefined;
  readonly operands: readonly OperandName[];
  readonly sizes: readonly Size[];
  readonly default64: boolean;
  readonly undefinedFlags: number;
  readonly lockable: boolean;
  readonly repeat: Repeat;
  readonly flow: Flow;
  readonly unit: Unit;
  readonly stack: boolean;
  readonly hot: readonly HotForm[];
  readonly noVectors: boolean;
  readonly emit: (c: Ctx) => void;
}

/** The letter of an operand's kind. */
export function kindOf(operand: OperandName): string {
  return operand.charAt(0);
}

/** The letter of an operand's size. */
export function sizeNameOf(operand: OperandName): OperandSizeName {
  return operand.slice(1) as OperandSizeName;
}

/** Bytes of an operand when the row's operand size is `size`; 0 where the operand has no size of its own (`M`). */
export function operandBytes(operand: OperandName, size: Size): number {
  if (operand === "1") return 1;
  switch (sizeNameOf(operand)) {
    case "b":
      return 1;
    case "w":
      return 2;
    case "d":
      return 4;
    case "q":
      return 8;
    case "o":
      return 16;
    case "t":
      return 10;
    case "z":
      return size === 2 ? 2 : 4;
    case "v":
    case "y":
      return size;
    default:
      return 0;
  }
}

const REGISTER_OR_MEMORY = "EWQ";
const REGISTER_ONLY = "RUNT";
const BY_REG_FIELD = "GVPS";

function modOf(spec: RowSpec): Row["mod"] {
  if (spec.mod !== undefined) return spec.mod;
  const kinds = (spec.operands ?? []).map(kindOf);
  if (kinds.some((k) => REGISTER_OR_MEMORY.includes(k))) return "any";
  if (kinds.includes("M")) return "mem";
  if (spec.rm !== undefined || kinds.some((k) => REGISTER_ONLY.includes(k))) return "reg";
  return spec.modrm || spec.digit !== undefined || kinds.some((k) => BY_REG_FIELD.includes(k)) ? "any" : "none";
}

function sizesOf(spec: RowSpec): readonly Size[] {
  if (spec.sizes !== undefined) return spec.sizes;
  const names = (spec.operands ?? []).map(sizeNameOf);
  if (names.includes("v")) return spec.default64 ? [2, 8] : [2, 4, 8];
  if (names.includes("y")) return [4, 8];
  if (names.includes("b")) return [1];
  if (names.includes("w")) return [2];
  if (names.includes("d")) return [4];
  return [8];
}

/** Completes a row. */
export function makeRow(id: number, spec: RowSpec): Row {
  const operands = spec.operands ?? [];
  return {
    id,
    name: spec.name,
    map: spec.map ?? 0,
    opcode: spec.opcode,
    opcodes: operands.some((o) => kindOf(o) === "Z") ? 8 : 1,
    prefix: spec.prefix ?? "any",
    digit: spec.digit,
    mod: modOf(spec),
    rm: spec.rm,
    operands,
    sizes: sizesOf(spec),
    default64: spec.default64 ?? false,
    undefinedFlags: spec.undefinedFlags ?? 0,
    lockable: spec.lockable ?? false,
    repeat: spec.repeat ?? "none",
    flow: spec.flow ?? "next",
    unit: spec.unit ?? "integer",
    stack: spec.stack ?? false,
    hot: spec.hot ?? [],
    noVectors: spec.noVectors ?? false,
    emit: spec.emit,
  };
}
