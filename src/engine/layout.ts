/**
 * Where everything of the engine lives in a domain's linear memory.
 *
 * From the bottom: one header page, a block per vCPU (registers, then its two TLBs), the frame table (a u32 a frame: its code page or 0),
 * the code arena. Guest frames begin at `ramOffset`, at or above `engineBytes()`.
 *
 * Invariant: address 0 is never a host address that generated code gets from a translation, so 0 says "fault".
 */

/** Where a domain's frames live in its linear memory. */
export interface EngineLayout {
  /** First machine frame number. MFNs [baseMfn, baseMfn + frames) are contiguous in memory; others are no memory. */
  baseMfn: number;
  frames: number;
  /** Byte offset of frame `baseMfn`; page aligned, at least `engineBytes(maxVcpus, codeArenaBytes)`. */
  ramOffset: number;
  maxVcpus: number;
  /** Bound of the decoded code in bytes; default 16 MiB. */
  codeArenaBytes?: number;
  /** Alias frames (alias-frames.ts): MFNs [aliasMfn, aliasMfn + aliasFrames), outside the others. Default none. */
  aliasMfn?: number;
  aliasFrames?: number;
}

export const PAGE_SIZE = 4096;

/** Most frames that a 32-bit memory can have. */
const MAX_FRAMES = 1 << 20;
const DEFAULT_ARENA_BYTES = 16 << 20;

/** Fields of the header page (byte offsets in linear memory). */
export const Header = {
  baseMfn: 16,
  frames: 20,
  ramOffset: 24,
  frameTable: 28,
  /** First vCPU block, and one past the last. */
  vcpusStart: 32,
  vcpusEnd: 36,
  /** The first alias frame, less `baseMfn`, and how many there are. */
  aliasFirst: 40,
  aliasFrames: 44,
  /** A line table without entries: 64 zeros. */
  nullLine: 256,
  /** A code page without lines. */
  nullPage: 1024,
  /** The code page of frames whose code is not kept: alias frames, and those that others may write. It never has lines either. */
  uncachedPage: 1536,
} as const;

/** What `translate` answers for an alias frame, whose address is then in `State.aliasAddress`. No host address. */
export const ALIAS_HOST = 1;

/** Entry numbers in a TLB, and bytes an entry: read tag, write tag, execute tag (i64 virtual pages), addend i32, code page i32. */
export const TLB_ENTRIES = 512;
export const TLB_ENTRY_BYTES = 32;
export const TLB_BYTES = TLB_ENTRIES * TLB_ENTRY_BYTES;

/** Fields of a vCPU block (byte offsets from its start). The first 256 bytes are what a record's u8 can name. */
export const State = {
  gpr: 0,
  /** Always zero: the base or index of an address that has none. */
  zero: 128,
  /** Virtual address of the page that executes now: rip-relative operands and rip itself are relative to it. */
  vpage: 136,
  fsBase: 144,
  /** The active GS base; the other mode's one is `gsBaseOther`. */
  gsBase: 152,
  gsBaseOther: 160,
  rip: 168,
  /** Lazy flags, see flags.ts. */
  flagRes: 176,
  flagAux: 184,
  /** The flags that are not arithmetic: TF IF DF IOPL NT AC ID, bit 1 set. */
  flagsOther: 192,
  kernelMode: 196,
  /** Address of the TLB in use: always the one of `kernelMode`. */
  tlb: 200,
  /** Root page-table frames (mfn) of kernel and user mode. */
  cr3Kernel: 204,
  cr3User: 208,
  /** CR0.TS. */
  tsFlag: 212,
  cr2: 216,
  exitKind: 224,
  exitVector: 228,
  exitErrorCode: 232,
  exitLength: 236,
  exitInsnRip: 240,
  vcpuIndex: 248,
  /** While a row's own function runs: budget left, in instructions. Such a row may spend some itself (string instructions). */
  budgetLeft: 252,
  /** Six of SEGMENT_BYTES each, in the order ES CS SS DS FS GS. */
  segments: 256,
  /** DR0-3, DR6, DR7. */
  debug: 400,
  instructions: 448,
  tlbMisses: 456,
  jumpTarget: 464,
  /** A page-crossing write in flight: host address of each part, bytes of the first. */
  splitFirst: 472,
  splitSecond: 476,
  splitAt: 480,
  splitSize: 484,
  gdtrBase: 488,
  idtrBase: 496,
  gdtrLimit: 504,
  idtrLimit: 506,
  ldtr: 508,
  tr: 510,
  /** A record that is about to be linked; TypeScript zeroes it when it empties the arena. */
  linkFrom: 1248,
  /** The FXSAVE image, except that register slots are physical (R0-R7), not ST-relative. */
  fx: 512,
  /** Where a page-crossing operand is put together. Odd, so that a locked update never takes it for an aligned one. */
  bounce: 1025,
  /** Records of an instruction that is executed alone. */
  step: 1088,
  /** Segment-load arguments and results for the host. */
  hostArg: 1216,
  /** Operands and result of floating-point work done in TypeScript: one image of up to 512 bytes, or A and B of 16 bytes each; A takes the result. */
  floatA: 1280,
  floatB: 1296,
  /** Where an alias frame was met: index of the frame << 12 | offset in the page. */
  aliasAddress: 1800,
  /** A write in flight (`splitFirst`): the same for each part, or -1 for a part in the domain's own memory. */
  aliasFirst: 1804,
  aliasSecond: 1808,
  /** The bytes that a write to an alias frame began with: what a locked update compares. */
  aliasOriginal: 1816,
  /** What is looked for in every access to memory: bits of `Watching` (breakpoints.ts). */
  watching: 1812,
  /** The operand that `Service.watch` is told of. */
  watchAddress: 1792,
  kernelTlb: 4096,
  userTlb: 4096 + TLB_BYTES,
} as const;

export const VCPU_BYTES = 4096 + 2 * TLB_BYTES;

/** Offsets in a segment register: selector, attributes (descriptor bits 40..55, so type/S/DPL/P then AVL/L/DB/G at bit 12), limit in bytes, base (unused for FS and GS). */
export const Segment = { selector: 0, attributes: 4, limit: 8, base: 16 } as const;
export const SEGMENT_BYTES = 24;

/** FXSAVE image offsets (Intel SDM vol. 1, table 10-2). */
export const Fx = {
  fcw: 0,
  fsw: 2,
  ftw: 4,
  fop: 6,
  fip: 8,
  fdp: 16,
  mxcsr: 24,
  mxcsrMask: 28,
  st: 32,
  xmm: 160,
} as const;

export interface Regions {
  vcpus: number;
  frameTable: number;
  arena: number;
  arenaEnd: number;
}

export function regionsOf(maxVcpus: number, codeArenaBytes = DEFAULT_ARENA_BYTES): Regions {
  const vcpus = PAGE_SIZE;
  const frameTable = vcpus + maxVcpus * VCPU_BYTES;
  const arena = frameTable + MAX_FRAMES * 4;
  const arenaEnd = (arena + codeArenaBytes + PAGE_SIZE - 1) & -PAGE_SIZE;
  return { vcpus, frameTable, arena, arenaEnd };
}

/**
 * Bytes of linear memory that the engine uses at the bottom, page aligned. Most of it is address space only: what is not used is never touched.
 * @param maxVcpus vCPUs the domain may ever have
 * @param codeArenaBytes bound of the decoded code; default 16 MiB
 */
export function engineBytes(maxVcpus: number, codeArenaBytes?: number): number {
  return regionsOf(maxVcpus, codeArenaBytes).arenaEnd;
}
