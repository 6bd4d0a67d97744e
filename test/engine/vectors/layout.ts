/**
 * The address space in which every vector runs, on the processor and on the engine alike.
 *
 * A vector sees two code pages followed by nothing, and data pages of every kind side by side: writable, read-only and absent ones,
 * so that an operand near a page's border may cross into any of them. The same frames appear low (reachable by 32-bit addresses and
 * from RIP), high, and around 4 GiB, where truncation of addresses shows.
 */

export const PAGE = 4096;

/** First byte of the two code pages (frames 0 and 1); the page after them is absent. */
export const CODE_VA = 0x1000_0000;
export const CODE_BYTES = 2 * PAGE;

/** First bytes of the two places where `dataPages` stand. */
export const LOW_VA = 0x2000_0000;
export const HIGH_VA = 0x5a5a_0000_0000;
/** Two writable pages, one on either side of 4 GiB. */
export const BORDER_VA = 0xffff_f000;

export const FS_BASE = LOW_VA + 0x1238;
export const GS_BASE = HIGH_VA + 0x1a50;

/** Linux's flat selectors: the engine gets a GDT where they mean the same. */
export const SELECTOR_CS = 0x33;
export const SELECTOR_SS = 0x2b;

/** What each page of a data region shows: the frame behind it, or nothing. */
export const dataPages: readonly ({ readonly frame: number; readonly writable: boolean } | null)[] = [
  null,
  { frame: 2, writable: true },
  { frame: 3, writable: true },
  { frame: 4, writable: false },
  null,
  { frame: 5, writable: true },
  { frame: 6, writable: false },
  { frame: 7, writable: true },
  null,
];

export const FRAMES = 8;

export interface Mapping {
  readonly va: number;
  readonly frame: number;
  readonly writable: boolean;
  readonly executable: boolean;
}

export const mappings: readonly Mapping[] = [
  { va: CODE_VA, frame: 0, writable: false, executable: true },
  { va: CODE_VA + PAGE, frame: 1, writable: false, executable: true },
  ...[LOW_VA, HIGH_VA].flatMap((base) =>
    dataPages.flatMap((page, index) => (page ? [{ va: base + index * PAGE, ...page, executable: false }] : [])),
  ),
  { va: BORDER_VA, frame: 2, writable: true, executable: false },
  { va: BORDER_VA + PAGE, frame: 3, writable: true, executable: false },
];

const frameByPage = new Map(mappings.map((mapping) => [mapping.va / PAGE, mapping]));

/** Byte offset in the frames of an address, or -1 when nothing is mapped there. */
export function frameOffset(va: number): number {
  const mapping = frameByPage.get(Math.floor(va / PAGE));
  return mapping ? mapping.frame * PAGE + (va % PAGE) : -1;
}

/** What all frames hold before a vector's own bytes are put in: INT3 in the code frames, noise in the data frames. */
export function initialFrames(): Uint8Array {
  const bytes = new Uint8Array(FRAMES * PAGE).fill(0xcc, 0, CODE_BYTES);
  let state = 0x2545_f491;
  for (let i = CODE_BYTES; i < bytes.length; i++) {
    state = Math.imul(state ^ (state >>> 15), 0x2c1b_3c6d) + 0x9e37_79b9;
    bytes[i] = state >>> 13;
  }
  return bytes;
}
