/**
 * The flags that a vector leaves undefined (Intel SDM vol. 2). A row names those that are always so; where they hang on a count they
 * are worked out here, so that no defined flag goes unchecked.
 */

import type { Row } from "../../../src/engine/ops/row.ts";
import { Flag, type Vector } from "./vector.ts";

/** null: the whole result is undefined, and the vector says nothing. */
export function undefinedFlags(row: Row, vector: Vector): number | null {
  const kind = /^(shl|sal|shr|sar|shld|shrd|rol|ror|rcl|rcr)$/.exec(row.name)?.[1];
  const bits = operandBits(row, vector);
  if (row.name === "bswap" && bits === 16) return null;
  if (!kind) return row.undefinedFlags;
  const last = row.operands.at(-1);
  const raw = last === "1" ? 1 : last === "Ib" ? vector.code[vector.code.length - 1] : Number(vector.gpr[1] & 0xffn);
  const count = raw & (bits === 64 ? 63 : 31);
  if (count === 0) return 0;
  if (kind === "shld" || kind === "shrd") {
    if (count > bits) return null;
    return Flag.af | (count === 1 ? 0 : Flag.of);
  }
  if (kind.startsWith("r")) return count === 1 ? 0 : Flag.of;
  const carry = kind !== "sar" && count >= bits ? Flag.cf : 0;
  return Flag.af | carry | (count === 1 ? 0 : Flag.of);
}

/** Operand size in bits, from the prefixes. Complete only for rows whose sizes hang on them. */
function operandBits(row: Row, vector: Vector): number {
  if (row.sizes.length === 1) return row.sizes[0] * 8;
  let bits = row.default64 ? 64 : 32;
  for (const byte of vector.code) {
    if (byte === 0x66) bits = 16;
    else if ((byte & 0xf0) === 0x40) return byte & 8 ? 64 : bits;
    else if (![0x67, 0xf0, 0xf2, 0xf3, 0x64, 0x65, 0x2e, 0x36, 0x3e, 0x26].includes(byte)) break;
  }
  return bits;
}
