/**
 * Bytes that no row chose: random prefixes, opcodes and operands, to find where the decoder and the processor part ways.
 *
 * The processor has much that the engine does not offer, so the two are compared in classes: an instruction the engine refuses is
 * `lacking`, one that only the processor refuses is `permissive`, anything else that differs is `wrong`.
 */

import { decodeInstruction } from "../../../src/engine/decoder.ts";
import { describeFailure, disassemble } from "./describe.ts";
import { drawTarget } from "./draft.ts";
import { EngineStepper } from "./engine-stepper.ts";
import { drawFx } from "./fx-image.ts";
import type { Judge } from "./judge.ts";
import { CODE_VA, PAGE } from "./layout.ts";
import { judgeOutcome } from "./leeway.ts";
import { runOnProcessor } from "./native-stepper.ts";
import { drawRegisters, Random } from "./random.ts";
import { unjudgedName } from "./scope.ts";
import { ARITHMETIC_FLAGS, Flag, type Vector } from "./vector.ts";

export interface WildResult {
  readonly same: number;
  /** Mnemonics (by objdump) that only the processor executes, with how often. */
  readonly lacking: ReadonlyMap<string, number>;
  readonly permissive: readonly string[];
  readonly wrong: readonly string[];
}

const PREFIXES = [0x66, 0x66, 0xf2, 0xf3, 0x67, 0x64, 0x65, 0x2e, 0xf0];
/** Opcodes that leave the stepper (system calls), hold its trap back (SS), or change what it cannot put back. */
const avoided = (code: readonly number[], opcodeAt: number): boolean => {
  const [a, b] = [code[opcodeAt], code[opcodeAt + 1]];
  if (a === 0x0f)
    return b === 0x05 || b === 0x34 || b === 0x01 || b === 0xae || b === 0xc7 || b === 0x31 || b === 0xa2 || b === 0x33;
  // Bytes that are a prefix themselves would be one more.
  if (PREFIXES.includes(a) || (a >= 0x40 && a < 0x50) || a === 0x26 || a === 0x36 || a === 0x3e) return true;
  // Also what is VEX, EVEX or XOP here.
  return a === 0xcd || a === 0xf1 || a === 0x8e || a === 0xc4 || a === 0xc5 || a === 0x62 || a === 0x8f || a === 0xcf;
};

function draw(random: Random): Vector | null {
  const seed = random.u32();
  const gpr = drawRegisters(seed);
  const bytes: number[] = [];
  while (random.chance(35) && bytes.length < 5) bytes.push(random.pick(PREFIXES));
  if (random.chance(40)) bytes.push(0x40 | random.below(16));
  const opcodeAt = bytes.length;
  if (random.chance(60)) bytes.push(0x0f);
  while (bytes.length < 14) bytes.push(random.below(256));
  if (avoided(bytes, opcodeAt)) return null;
  // Registers that point at memory, so that operands with small displacements land.
  const place = { random } as Parameters<typeof drawTarget>[0];
  for (let i = 0; i < 16; i++) if (random.chance(60)) gpr[i] = drawTarget(place, false, 8);
  const modrm = bytes[opcodeAt + (bytes[opcodeAt] === 0x0f ? 2 : 1)];
  if (modrm >> 6 === 2 && random.chance(80)) for (let i = 0; i < 3; i++) bytes[bytes.length - 1 - i] = 0;
  const rflags = Flag.if | 2 | (random.u32() & ARITHMETIC_FLAGS);
  const repeat = bytes.slice(0, opcodeAt).some((byte) => byte === 0xf2 || byte === 0xf3);
  if (repeat) gpr[1] = BigInt(random.below(20));
  const codeVa = CODE_VA + random.below(PAGE);
  const decoded = decodeInstruction(Uint8Array.from(bytes));
  if (typeof decoded !== "string") bytes.length = Math.min(bytes.length, decoded.length);
  return {
    row: "wild",
    code: Uint8Array.from(bytes),
    codeVa,
    seed,
    gpr,
    rflags,
    patches: [],
    fx: drawFx(seed),
    repeat,
    segments: true,
  };
}

export function judgeWild({ stepper, vendor }: Judge, count: number, seed: number): WildResult {
  const random = new Random(seed);
  const engine = new EngineStepper();
  const lacking = new Map<string, number>();
  const permissive: string[] = [];
  const wrong: string[] = [];
  let same = 0;
  for (let done = 0; done < count; done += 20_000) {
    const vectors = Array.from({ length: Math.min(20_000, count - done) }, () => draw(random)).filter(
      (vector) => vector !== null,
    );
    const outcomes = runOnProcessor(stepper, vectors);
    for (const [i, vector] of vectors.entries()) {
      const expected = outcomes[i];
      // An INT3 here is the one behind an instruction that held the trap back.
      if (!expected || expected.fault?.vector === 3) continue;
      const got = engine.step(vector);
      const decoded = decodeInstruction(vector.code);
      const row = typeof decoded === "string" ? null : decoded.row;
      // With F3 these are TZCNT and LZCNT where the processor has them.
      if (row && (unjudgedName(row.name) || (/^bs[fr]$/.test(row.name) && vector.code.includes(0xf3)))) continue;
      const named = { ...vector, row: row?.name ?? "wild" };
      const { unfair: differences } = judgeOutcome(row, named, vendor, expected, got, row ? 0 : ARITHMETIC_FLAGS);
      if (differences.length === 0) same++;
      else if (got.fault?.vector === 6) {
        const text = disassemble(
          vector.code.subarray(0, expected.fault ? undefined : Number(expected.rip) - vector.codeVa),
          vector.codeVa,
        );
        const name = text
          .split(";")[0]
          .replace(/^((rex\S*|lock|rep\w*|data16|addr32|[cdefgs]s|bnd|notrack|x[a-z]+) )+/, "")
          .split(" ")[0];
        lacking.set(name, (lacking.get(name) ?? 0) + 1);
        if (process.env.SHOW_LACKING === name) console.log(describeFailure(vector, differences, engine.log));
      } else if (expected.fault?.vector === 6) permissive.push(describeFailure(vector, differences, engine.log));
      else wrong.push(describeFailure({ ...vector, row: `wild: ${row?.name}` }, differences, engine.log));
    }
  }
  return { same, lacking, permissive, wrong };
}
