/** A vector in the making, and the memory around it: where operands land and what stands there. */

import type { Row, Size } from "../../../src/engine/ops/row.ts";
import { BORDER_VA, CODE_BYTES, dataPages, frameOffset, HIGH_VA, LOW_VA, PAGE } from "./layout.ts";
import type { Random } from "./random.ts";
import type { Patch } from "./vector.ts";

export const Reg = { rax: 0, rcx: 1, rdx: 2, rbx: 3, rsp: 4, rbp: 5, rsi: 6, rdi: 7 } as const;

/** What the generator knows of the vector it is making; `tuning.ts` bends it for rows with wishes of their own. */
export interface Draft {
  readonly row: Row;
  readonly name: string;
  readonly random: Random;
  readonly size: Size;
  readonly gpr: BigUint64Array;
  /** Registers that hold part of an address: changing them would move it. */
  readonly pinned: Set<number>;
  readonly patches: Patch[];
  /** Memory operand's address, or null when there is none that can be known. */
  target: bigint | null;
  readonly targetBytes: number;
  /** ModRM fields with their REX bits; -1 without ModRM, or `rm` of a memory form. */
  readonly regField: number;
  readonly rmField: number;
  readonly addr32: boolean;
  readonly repeat: "none" | "rep" | "repne";
  immediate: bigint;
  rflags: number;
  fx: Uint8Array | undefined;
}

const writablePages = dataPages.flatMap((page, index) => (page?.writable ? [index] : []));
const readOnlyPages = dataPages.flatMap((page, index) => (page && !page.writable ? [index] : []));
const absentPages = dataPages.flatMap((page, index) => (page ? [] : [index]));

/** A linear address for an access of some bytes. `low`: one that 32-bit addresses can name (or nearly: the border at 4 GiB). */
export function drawTarget(state: Draft, low: boolean, bytes: number): bigint {
  const { random } = state;
  const base = low || random.chance(50) ? LOW_VA : HIGH_VA;
  const kind = random.below(100);
  const aligned = bytes >= 16 ? random.chance(85) : random.chance(50);
  const align = bytes >= 16 ? 16 : bytes;
  const inPage = () => {
    const offset = random.below(PAGE - bytes + 1);
    return aligned ? offset - (offset % align) : offset;
  };
  if (kind < 62) return BigInt(base + random.pick(writablePages) * PAGE + inPage());
  // The last bytes of a page and the first of the next one, whatever pages those are.
  if (kind < 78)
    return BigInt(base + random.between(1, dataPages.length - 1) * PAGE - random.between(1, Math.max(1, bytes - 1)));
  if (kind < 84) return BigInt(base + random.between(1, dataPages.length - 1) * PAGE - bytes);
  if (kind < 89) return BigInt(base + random.pick(readOnlyPages) * PAGE + inPage());
  if (kind < 93) return BigInt(base + random.pick(absentPages) * PAGE + inPage());
  // Operands of 10 bytes and more are read in parts, each cut to 32 bits on its own: not across 4 GiB.
  if (kind < 96 && bytes <= 8) return BigInt(BORDER_VA + PAGE - random.between(0, bytes + 2));
  if (low) return BigInt(random.u32());
  const edges = [
    0x8000_0000_0000n,
    0x7fff_ffff_fff8n,
    0xffff_8000_0000_0000n,
    0xffff_ffff_ffff_fff0n,
    0xffff_7fff_ffff_fff8n,
    1n << 63n,
  ];
  return random.chance(50) ? BigInt.asUintN(64, random.pick(edges) + BigInt(random.below(16))) : random.bits64() & ~7n;
}

/** Bytes at a linear address, as far as pages are there. */
export function putBytes(state: Draft, va: bigint, bytes: Uint8Array): void {
  if (va < 0n || va > 0x7fff_ffff_ffffn) return;
  let start = 0;
  while (start < bytes.length) {
    const at = Number(va) + start;
    const count = Math.min(bytes.length - start, PAGE - (at % PAGE));
    const offset = frameOffset(at);
    // Never the code pages: a vector's own bytes are put there.
    if (offset >= CODE_BYTES) state.patches.push({ offset, bytes: bytes.slice(start, start + count) });
    start += count;
  }
}

/** A number of some bytes at a linear address. */
export function putNumber(state: Draft, va: bigint, value: bigint, count: number): void {
  putBytes(
    state,
    va,
    Uint8Array.from({ length: count }, (_, i) => Number((value >> BigInt(i * 8)) & 0xffn)),
  );
}
