import type { Row } from "../../../src/engine/ops/row.ts";

/** A stable name of a row: mnemonic, opcode and operands. Row ids are places in a list and move. */
export function rowKey(row: Row): string {
  const maps = ["", "0f", "0f38", "0f3a"];
  const prefix = typeof row.prefix === "number" ? `${row.prefix.toString(16)}.` : row.prefix === "none" ? "np." : "";
  const opcode = `${prefix}${maps[row.map]}${row.opcode.toString(16).padStart(2, "0")}`;
  const field = row.digit !== undefined ? `/${row.digit}` : "";
  const rm = row.rm !== undefined ? `/rm${row.rm}` : "";
  const mod = row.mod === "reg" || row.mod === "mem" ? ` ${row.mod}` : "";
  const sizes = row.sizes.length === 1 ? ` s${row.sizes[0]}` : "";
  return `${row.name} ${opcode}${field}${rm} ${row.operands.join(",")}${mod}${sizes}`.replace(/ +/g, " ").trim();
}
