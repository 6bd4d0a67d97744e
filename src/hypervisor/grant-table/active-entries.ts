/**
 * What the hypervisor remembers of grants in use. The entries of the table are the guest's and may change at any time: what was found when
 * a grant was first used is kept here, and counts until its last use ends.
 */

/** Uses of a grant, four counters of 8 bits: mapped (or copied) for writing and for reading, the same as device mappings. */
export const PIN = {
  hostWrite: 1,
  hostRead: 1 << 8,
  deviceWrite: 1 << 16,
  deviceRead: 1 << 24,
} as const;
const WRITES = 0x00ff_00ff;
/** From a counter's one to the bit that says it is full. */
const FULL_SHIFT = 7;

export interface ActiveEntry {
  /** `PIN` counters. Never 0 here. */
  pin: number;
  /** Whom it is granted to. */
  readonly domid: number;
  /** The frame, a number of the domain that it is of. */
  readonly mfn: number;
  /** The granted bytes of it. */
  readonly start: number;
  readonly length: number;
  /** Only for copying: part of a page, or a grant of a third domain passed on. */
  readonly isSubPage: boolean;
  /** A grant passed on: the third domain and its reference. */
  readonly transitive?: { readonly domid: number; readonly ref: number };
}

/** Whether one of the counters in `more` may not be counted up again. */
export const isFull = (pin: number, more: number): boolean => (pin & (more << FULL_SHIFT)) !== 0;
export const hasWriters = (pin: number): boolean => (pin & WRITES) !== 0;
