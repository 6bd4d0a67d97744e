/**
 * The pre-decoded instruction: 32 bytes in linear memory, in block order, so the next instruction is at +32.
 *
 * Register fields are byte offsets into the vCPU block (AH is RAX + 1), or 16 times the number for xmm and mmx registers. A record knows its place in
 * its page, so rip is always `vpage + offset`, even after the record was poisoned.
 */
export const Rec = {
  /** u16: handler; hot ones are places in the loop's br_table, later ones functions. */
  handler: 0,
  /** u16: offset of the instruction in its page; 4096 behind the last one. */
  offset: 2,
  /** u8: instruction length. */
  length: 4,
  /** u8: the first and second register operand, in operand order. */
  regA: 5,
  regB: 6,
  /** u8: address parts; `State.zero` where there is none, `State.vpage` for rip-relative. */
  base: 7,
  index: 8,
  scale: 9,
  segment: 10,
  /** u8: RecFlag bits. */
  flags: 11,
  /** i32: record that a direct jump within the page goes to, or 0; for `cross`: the second page's code page. */
  link: 12,
  /** i64: displacement; for branches the target relative to `vpage`. */
  disp: 16,
  /** i64: immediate, zero-extended from the operand size. */
  imm: 24,
} as const;

export const RECORD_BYTES = 32;

export const RecFlag = {
  /** Address-size prefix: the effective address is cut to 32 bits before the segment base is added. */
  addr32: 1,
  /** The memory operand is in the stack segment: a non-canonical address is #SS. */
  stackSegment: 2,
  /** F3, F2 in front of a string instruction. */
  rep: 4,
  repne: 8,
} as const;

/** A frame's code page: 64 line pointers (each to 64 record pointers, one per byte), then the fields below. */
export const CodePage = {
  /** The `cross` record whose second half is this page, and the slot that points to it. */
  crossRecord: 256,
  crossSlot: 260,
  /** Lines that are there. */
  lines: 264,
  bytes: 272,
} as const;
export const LINE_TABLE_BYTES = 256;

/** Handlers that are no instruction. They are never counted. */
export const Pseudo = {
  /** Poison: look this address up again. */
  lookup: 0,
  /** Go on at a record elsewhere in the same page (`link`), or look up. */
  goto: 1,
  /** The block ran off the page's end. */
  nextPage: 2,
  /** The next record crosses into the next page: check that it is still the page it was decoded from. */
  cross: 3,
  /** One instruction was wanted, and it is done. */
  stop: 4,
} as const;
export const PSEUDO_COUNT = 5;
