/** Rare things that generated code asks TypeScript to do: the `what` of the `service` import. */
export const Service = {
  /** An instruction that the table lacks is about to raise #UD: one log line. */
  logUndefined: 1,
  /** argument: segment register << 16 | selector, and BY_MOV. Result 1, or 0 with the fault recorded. */
  loadSegment: 2,
  farJump: 3,
  farCall: 4,
  farReturn: 5,
  iret: 6,
  /** argument: selector. Result 1 with the value in hostArg, 0 (ZF), or 2 with a fault recorded. */
  lar: 7,
  lsl: 8,
  verr: 9,
  verw: 10,
  /** Floating point in software. argument: see soft/sse.ts and soft/x87.ts. Result: what the row does next. */
  sse: 11,
  x87: 12,
  /**
   * Alias frames: bytes at `State.aliasAddress` into the bounce buffer. argument: bytes | offset in the buffer << 8. `aliasModify` keeps
   * them as the original of an update too.
   */
  aliasRead: 13,
  aliasModify: 14,
  /** The bounce buffer's bytes to `State.aliasAddress`. argument as for `aliasRead`. */
  aliasWrite: 15,
  /** A locked update of `argument` bytes. Result 1 when others were first: the bounce buffer has what is there now. */
  aliasExchange: 16,
  /** An operand at `State.watchAddress` is about to be used. argument: bytes, and 0x10000 for a write. */
  watch: 17,
} as const;

/** In the argument of `loadSegment`: by MOV, behind which a load of SS keeps debug exceptions off for an instruction. */
export const BY_MOV = 1 << 24;
