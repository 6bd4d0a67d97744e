/**
 * Every shape of every row that the interpreter has code for, and the handler number of each.
 *
 * Rows that mean the same for a shape (`add r/m, r` and `add r, r/m` with two registers) share one handler: operands are told apart by kind and order
 * only, as the record's fields are. Handler numbers follow from the table alone, so every thread that loads the table agrees with the module.
 *
 * Numbers: pseudo records, hot shapes and fused pairs (places in the loop's br_table), then cold ones (places in the function table).
 */
import { isRegisterField, type Shape } from "./frame.ts";
import { type HotForm, kindOf, operandBytes, type Row, type Size } from "./ops/row.ts";
import { internalRows, rows } from "./ops/table.ts";
import { PSEUDO_COUNT } from "./record.ts";

/** Which code of a shape. */
export const Variant = { cold: 0, hotBase: 1, hotFull: 2, locked: 3 } as const;
export type Variant = (typeof Variant)[keyof typeof Variant];

const UNSIGNED = [2, 3, 6, 7];
const EQUAL = [4, 5];
const SIGN = [8, 9];
const SIGNED = [12, 13, 14, 15];
/** Conditions that are fused to a row's hot shapes, by its name and form. */
const fusing: Readonly<Record<string, readonly number[]>> = {
  "cmp r": [...UNSIGNED, ...EQUAL, ...SIGN, ...SIGNED],
  "cmp m": [...UNSIGNED, ...EQUAL, 12, 13, 14, 15],
  "test r": [...EQUAL, ...SIGN, 14, 15],
  "test m": EQUAL,
  "dec r": [...EQUAL, ...SIGN],
  "inc r": EQUAL,
  "add r": [...EQUAL, 2, 3],
  "sub r": [...EQUAL, ...SIGN, 2, 3],
  "and r": EQUAL,
  "or r": EQUAL,
  "bt r": [2, 3],
};

const LOG2: Record<Size, number> = { 1: 0, 2: 1, 4: 2, 8: 3 };

/** A hot shape and the conditional branch behind it, in one handler: it spares a dispatch, and does just what the two records say. */
export interface Fused {
  readonly shape: Shape;
  readonly condition: number;
}

export interface HandlerTable {
  readonly hot: readonly Shape[];
  readonly fused: readonly Fused[];
  readonly cold: readonly Shape[];
  /** The condition of a handler that is a conditional branch within the page, else -1. */
  readonly conditions: Int8Array;
  /** Number of the fused handler, by 16 times the first handler plus the condition. */
  readonly fusions: Uint16Array;
  /** Handler number by `handlerKey`; 0xffff where there is none. */
  readonly numbers: Uint16Array;
}
export const NO_HANDLER = 0xffff;

export function handlerKey(rowId: number, size: Size, memory: boolean, variant: Variant): number {
  return (rowId << 5) | (LOG2[size] << 3) | (memory ? 4 : 0) | variant;
}

function canonical(row: Row, size: Size, memory: boolean): string {
  const operands = row.operands.map((operand, i) => {
    if (operand === "1") return "I";
    const kind = kindOf(operand);
    if (kind === "J") return "J";
    const bytes = operandBytes(operand, size);
    if (kind === "I") return "I";
    if (isRegisterField(row, i, memory)) {
      if ("EGRZA".includes(kind)) return `R${bytes}`;
      if ("VWU".includes(kind)) return `X${bytes}`;
      if ("PQN".includes(kind)) return `P${bytes}`;
      return kind + bytes;
    }
    return "EWQMO".includes(kind) ? `M${bytes}` : kind + bytes;
  });
  return `${row.name} ${operands.join()} ${size}${memory ? "m" : ""}`;
}

/** Register and memory forms that a row has. For relative branches, "memory" means a target in another page, as that of 16 bits counts. */
function formsOf(row: Row, size: Size): boolean[] {
  const kinds = row.operands.map(kindOf);
  if (kinds.includes("J")) return size === 2 ? [true] : [false, true];
  if (kinds.includes("O")) return [true];
  if (row.mod === "mem") return [true];
  if (row.mod === "any" && kinds.some((k) => "EWQ".includes(k))) return [false, true];
  return [false];
}

function buildTable(): HandlerTable {
  const all = [...rows, ...internalRows];
  const hot: Shape[] = [];
  const cold: Shape[] = [];
  const hotPlace = new Map<string, number>();
  const coldPlace = new Map<string, number>();
  const numbers = new Uint16Array((all.length + 1) << 5).fill(NO_HANDLER);
  const coldKeys: [number, number][] = [];
  // A form is hot for all rows that share it when it is hot for one.
  const hotNames = new Set<string>();
  const each = (visit: (row: Row, size: Size, memory: boolean, name: string) => void): void => {
    for (const row of all)
      for (const size of row.sizes)
        for (const memory of formsOf(row, size)) visit(row, size, memory, canonical(row, size, memory));
  };
  each((row, size, memory, name) => {
    if (row.hot.includes(`${memory ? "m" : "r"}${size}` as HotForm)) hotNames.add(name);
  });
  const hotNumber = (name: string, shape: Shape): number => {
    let place = hotPlace.get(name);
    if (place === undefined) {
      place = hot.push(shape) - 1;
      hotPlace.set(name, place);
    }
    return place + PSEUDO_COUNT;
  };
  const coldNumber = (name: string, shape: Shape): number => {
    let place = coldPlace.get(name);
    if (place === undefined) {
      place = cold.push(shape) - 1;
      coldPlace.set(name, place);
    }
    return place;
  };
  each((row, size, memory, name) => {
    const relative = row.operands.some((o) => kindOf(o) === "J");
    if (hotNames.has(name)) {
      const base = hotNumber(`${name} b`, { row, size, memory, locked: false, address: "base" });
      numbers[handlerKey(row.id, size, memory, Variant.hotBase)] = base;
      numbers[handlerKey(row.id, size, memory, Variant.hotFull)] =
        memory && !relative ? hotNumber(`${name} f`, { row, size, memory, locked: false, address: "full" }) : base;
    }
    const shape: Shape = { row, size, memory, locked: false, address: "full" };
    // What is hot in every form that can come up needs no function; memory forms do, for the address-size prefix.
    if (!hotNames.has(name) || (memory && !relative))
      coldKeys.push([handlerKey(row.id, size, memory, Variant.cold), coldNumber(name, shape)]);
    if (row.lockable && memory)
      coldKeys.push([
        handlerKey(row.id, size, memory, Variant.locked),
        coldNumber(`${name} lock`, { ...shape, locked: true }),
      ]);
  });
  const conditions = new Int8Array(PSEUDO_COUNT + hot.length).fill(-1);
  const fusions = new Uint16Array((PSEUDO_COUNT + hot.length) * 16).fill(NO_HANDLER);
  const fused: Fused[] = [];
  hot.forEach((shape, place) => {
    const { row, memory } = shape;
    const jcc = row.operands[0] === "Jb" && (row.opcode & 0xf0) === 0x70 && !memory;
    if (jcc) conditions[PSEUDO_COUNT + place] = row.opcode & 15;
    if (shape.address === "full") return;
    for (const condition of fusing[`${row.name} ${memory ? "m" : "r"}`] ?? []) {
      fusions[(PSEUDO_COUNT + place) * 16 + condition] = PSEUDO_COUNT + hot.length + fused.length;
      fused.push({ shape, condition });
    }
  });
  for (const [key, place] of coldKeys) numbers[key] = place + PSEUDO_COUNT + hot.length + fused.length;
  return { hot, fused, cold, conditions, fusions, numbers };
}

/** Handler for the first of two records when the second is a conditional branch that it can take over, or NO_HANDLER. */
export function fusion(first: number, second: number): number {
  const { conditions, fusions } = handlerTable();
  const condition = second < conditions.length ? conditions[second]! : -1;
  return condition < 0 || first >= conditions.length ? NO_HANDLER : fusions[first * 16 + condition]!;
}

let table: HandlerTable | undefined;
/** The one table, made at first use. */
export function handlerTable(): HandlerTable {
  table ??= buildTable();
  return table;
}

export function shapeName(shape: Shape): string {
  return `${canonical(shape.row, shape.size, shape.memory)}${shape.locked ? " lock" : ""}${shape.address === "base" ? " base" : ""}`;
}
