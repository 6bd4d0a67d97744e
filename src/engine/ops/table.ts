/** The op table: every row there is, in one list. A row's id is its place here. */
import { aluRows } from "./alu.ts";
import { atomicRows } from "./atomic.ts";
import { flowRows } from "./flow.ts";
import { fxsrRows } from "./fxsr.ts";
import { moveRows } from "./move.ts";
import { multiplyRows } from "./multiply.ts";
import { makeRow, type Row, type RowSpec } from "./row.ts";
import { shiftRows } from "./shift.ts";
import { sseArithmeticRows } from "./sse-arithmetic.ts";
import { sseConvertRows } from "./sse-convert.ts";
import { vectorIntegerRows } from "./sse-integer.ts";
import { mmxMoveRows, sseMoveRows } from "./sse-move.ts";
import { vectorShuffleRows } from "./sse-shuffle.ts";
import { stringRows } from "./string.ts";
import { systemRows, undefinedRowSpecs } from "./system.ts";
import { x87Rows } from "./x87.ts";

const specs: readonly RowSpec[] = [
  ...aluRows,
  ...moveRows,
  ...shiftRows,
  ...multiplyRows,
  ...atomicRows,
  ...stringRows,
  ...flowRows,
  ...systemRows,
  ...fxsrRows,
  ...sseMoveRows,
  ...mmxMoveRows,
  ...vectorIntegerRows,
  ...vectorShuffleRows,
  ...sseArithmeticRows,
  ...sseConvertRows,
  ...x87Rows,
];

export const rows: readonly Row[] = specs.map((spec, id) => makeRow(id, spec));

/** Rows that no bytes select; their ids follow those of the table. */
export const internalRows: readonly Row[] = undefinedRowSpecs.map((spec, i) => makeRow(rows.length + i, spec));
/** Bytes that are no instruction here: #UD and a log line. */
export const undefinedRow = internalRows[0]!;
/** More than 15 bytes: #GP(0). */
export const tooLongRow = internalRows[1]!;
/** 90, whatever its prefixes but REX.B without F3. */
export const nopRow = internalRows[2]!;
