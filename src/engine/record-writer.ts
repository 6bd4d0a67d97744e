/** A decoded instruction into a record: which handler, and where its operands are. */

import { Decoded, type Instruction, NO_REGISTER, RIP } from "./decoder.ts";
import { isRegisterField } from "./frame.ts";
import { PAGE_SIZE, State } from "./layout.ts";
import { kindOf, type Row, sizeNameOf } from "./ops/row.ts";
import { tooLongRow, undefinedRow } from "./ops/table.ts";
import { Rec, RecFlag } from "./record.ts";
import { handlerKey, handlerTable, NO_HANDLER, Variant } from "./shapes.ts";

/** Where a register operand comes from, and what its field says. */
const From = { reg: 0, rm: 1, accumulator: 2 } as const;
const As = { general: 0, byte: 1, xmm: 2, mmx: 3, number: 4 } as const;
interface Source {
  readonly from: number;
  readonly as: number;
}
interface Plan {
  readonly a: Source | undefined;
  readonly b: Source | undefined;
  readonly relative: boolean;
  /** Behind it the block goes on. */
  readonly goesOn: boolean;
  readonly string: boolean;
}

const plans = new Map<number, Plan>();
const numbers = handlerTable().numbers;

function planOf(row: Row, memory: boolean): Plan {
  const key = row.id * 2 + (memory ? 1 : 0);
  let plan = plans.get(key);
  if (plan === undefined) {
    plan = makePlan(row, memory);
    plans.set(key, plan);
  }
  return plan;
}
function makePlan(row: Row, memory: boolean): Plan {
  const sources = row.operands.flatMap((operand, i): Source[] => {
    if (operand === "1" || !isRegisterField(row, i, memory)) return [];
    const kind = kindOf(operand);
    const from = kind === "A" ? From.accumulator : "GVPS".includes(kind) ? From.reg : From.rm;
    const as = "VWU".includes(kind)
      ? As.xmm
      : "PQN".includes(kind)
        ? As.mmx
        : "ST".includes(kind)
          ? As.number
          : sizeNameOf(operand) === "b"
            ? As.byte
            : As.general;
    return [{ from, as }];
  });
  const conditional =
    row.flow === "branch" &&
    row.name !== "jmp" &&
    (row.name.startsWith("j") || row.name.startsWith("loop")) &&
    row.name !== "jmpf";
  return {
    a: sources[0],
    b: sources[1],
    relative: row.operands.some((o) => kindOf(o) === "J"),
    goesOn: row.flow === "next" || conditional,
    string: row.repeat !== "none",
  };
}

function field(insn: Instruction, source: Source | undefined): number {
  if (source === undefined) return State.zero;
  const n = source.from === From.accumulator ? 0 : source.from === From.reg ? insn.reg : insn.rm;
  switch (source.as) {
    case As.byte:
      return insn.rex === 0 && n >= 4 ? (n - 4) * 8 + 1 : n * 8;
    case As.xmm:
      return n * 16;
    case As.mmx:
      return (n & 7) * 16;
    case As.number:
      return n & 7;
    default:
      return n * 8;
  }
}

/**
 * Writes the record of what `decode` gave.
 * @returns whether the block goes on behind it
 */
export function writeRecord(
  u8: Uint8Array,
  u16: Uint16Array,
  i32: Int32Array,
  at: number,
  offset: number,
  insn: Instruction,
  result: Decoded,
): boolean {
  const w = at >> 2;
  u16[(at + Rec.offset) >> 1] = offset;
  i32[w + Rec.link / 4] = 0;
  if (result !== Decoded.ok) {
    const row = result === Decoded.tooLong ? tooLongRow : undefinedRow;
    u8[at + Rec.length] = insn.length;
    u8[at + Rec.flags] = 0;
    u16[(at + Rec.handler) >> 1] = numbers[handlerKey(row.id, 8, false, Variant.cold)]!;
    return false;
  }
  const { row } = insn;
  let memory = insn.memory;
  const plan = planOf(row, memory);
  u8[at + Rec.length] = insn.length;
  u8[at + Rec.regA] = field(insn, plan.a);
  u8[at + Rec.regB] = field(insn, plan.b);
  let flags = 0;
  if (insn.addr32) flags |= RecFlag.addr32;
  if (insn.segment === 2) flags |= RecFlag.stackSegment;
  if (insn.repeat === 0xf3) flags |= RecFlag.rep;
  else if (insn.repeat === 0xf2) flags |= RecFlag.repne;
  u8[at + Rec.flags] = flags;
  u8[at + Rec.segment] = insn.segment === 4 ? State.fsBase : insn.segment === 5 ? State.gsBase : State.zero;
  u8[at + Rec.base] = insn.base === NO_REGISTER ? State.zero : insn.base === RIP ? State.vpage : insn.base * 8;
  u8[at + Rec.index] = insn.index === NO_REGISTER ? State.zero : insn.index * 8;
  u8[at + Rec.scale] = insn.scale;
  i32[w + Rec.imm / 4] = insn.immLo;
  i32[w + Rec.imm / 4 + 1] = insn.immHi;
  let variant: Variant = insn.index !== NO_REGISTER || insn.segment >= 4 ? Variant.hotFull : Variant.hotBase;
  if (plan.relative || insn.base === RIP) {
    // Relative to the page: within it, or beyond it either way. Where a branch of 16 bits goes hangs on where the page is.
    const target = insn.dispLo + offset + insn.length;
    i32[w + Rec.disp / 4] = target;
    i32[w + Rec.disp / 4 + 1] = Math.floor(target / 4294967296);
    if (plan.relative) {
      memory = target < 0 || target >= PAGE_SIZE || insn.size === 2;
      variant = Variant.hotBase;
    }
  } else {
    i32[w + Rec.disp / 4] = insn.dispLo;
    i32[w + Rec.disp / 4 + 1] = insn.dispHi;
  }
  if (insn.lock) variant = Variant.locked;
  else if (insn.addr32 && memory && !plan.relative) variant = Variant.cold;
  let handler = numbers[handlerKey(row.id, insn.size, memory, variant)]!;
  if (handler === NO_HANDLER) handler = numbers[handlerKey(row.id, insn.size, memory, Variant.cold)]!;
  u16[(at + Rec.handler) >> 1] = handler;
  return plan.goesOn;
}
