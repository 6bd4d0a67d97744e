/** One instruction, the state it starts from, and the state that the processor left. */

import type { Vendor } from "./vendor-differences.ts";

/** Bytes put over a frame's usual contents, or found there afterwards. `offset` counts from frame 0. */
export interface Patch {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

export interface Vector {
  /** Name of the op table's row that it belongs to. */
  readonly row: string;
  readonly code: Uint8Array;
  readonly codeVa: number;
  /** Seed of `drawRegisters`; `gpr` may differ from it. */
  readonly seed: number;
  /** Encoding order: RAX RCX RDX RBX RSP RBP RSI RDI R8..R15. */
  readonly gpr: BigUint64Array;
  readonly rflags: number;
  readonly patches: readonly Patch[];
  /** FXSAVE image before, for rows that touch it. */
  readonly fx?: Uint8Array | undefined;
  /** A repeated string instruction: it runs until RIP leaves it, at most MAX_STEPS times. */
  readonly repeat: boolean;
  /** The outcome shall tell the segment registers. */
  readonly segments: boolean;
}

export const MAX_STEPS = 200;

export interface Segments {
  readonly ds: number;
  readonly es: number;
  readonly fs: number;
  readonly gs: number;
  readonly fsBase: bigint;
  readonly gsBase: bigint;
}

export interface Outcome {
  /** null: the instruction completed. */
  readonly fault: { readonly vector: number; readonly errorCode: number; readonly cr2: bigint } | null;
  readonly gpr: BigUint64Array;
  readonly rip: bigint;
  readonly rflags: number;
  readonly changes: readonly Patch[];
  readonly fx?: Uint8Array | undefined;
  readonly segments?: Segments | undefined;
}

export const Flag = {
  cf: 1,
  pf: 4,
  af: 0x10,
  zf: 0x40,
  sf: 0x80,
  tf: 0x100,
  if: 0x200,
  df: 0x400,
  of: 0x800,
  rf: 0x10000,
  ac: 0x40000,
} as const;
/** The flags that arithmetic sets. */
export const ARITHMETIC_FLAGS = 0x8d5;

export const GPR_NAMES = "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15".split(" ");

/** A vector and what a processor did with it. */
export interface Judged {
  readonly vector: Vector;
  readonly outcome: Outcome;
  /** Who made the processor. */
  readonly vendor: Vendor;
}
