/**
 * Slots 256 to 271 of an L4, which are the hypervisor's. It fills them when a frame becomes an L4 and leaves them there when the frame is
 * one no longer: so what once was an L4 can become no other table until its owner has cleared it.
 *
 * Xen keeps its own mappings there; a guest may read the entries, and never go by them, for they lack USER. Here they lead to a table
 * that leads on to the machine-to-physical table, so that a walk below them ends in memory that exists, at a fault.
 */
import { PTE } from "../../abi/arch-x86-64.ts";

export const FIRST_XEN_SLOT = 256;
export const LAST_XEN_SLOT = 271;

/** The L4 itself: Xen's linear page tables. */
const LINEAR_SLOT = 258;
/** Per-domain mappings, Xen's code and data, and what it maps all memory by; NX or not. */
const OWN_SLOTS: readonly (readonly [slot: number, nx: boolean])[] = [
  [260, true],
  [261, false],
  [262, true],
];
const FLAGS = PTE.present | PTE.rw | PTE.accessed | PTE.dirty;
const NX_HI = PTE.nxHi | 0;

const wordOf = (slot: number): number => (slot - FIRST_XEN_SLOT) * 2;
/** Halves of the hypervisor's entry for a frame. */
const entryOf = (mfn: number, nx: boolean): readonly [lo: number, hi: number] => [
  (mfn << 12) | FLAGS,
  (nx ? NX_HI : 0) | (mfn >>> 20),
];

export class HypervisorSlots {
  /** VMASST_TYPE_m2p_strict: the M2P is in every L4 from the start, and leaves one that becomes a user's root. */
  m2pStrict = false;
  readonly #words: Int32Array;
  /** What the slots hold; the linear slot's frame is the L4's. */
  readonly #image = new Int32Array((LAST_XEN_SLOT + 1 - FIRST_XEN_SLOT) * 2);
  #m2pLo = 0;
  #m2pHi = 0;

  constructor(words: Int32Array) {
    this.#words = words;
  }

  /** What the M2P's slot holds (low and high half), and the frame that the hypervisor's own slots lead to. */
  lead(m2pLo: number, m2pHi: number, ownMfn: number): void {
    this.#m2pLo = m2pLo;
    this.#m2pHi = m2pHi;
    for (const [slot, nx] of OWN_SLOTS) this.#set(slot, ownMfn, nx);
  }

  #set(slot: number, mfn: number, nx: boolean): void {
    this.#image.set(entryOf(mfn, nx), wordOf(slot));
  }

  /** Fills the slots of frame `mfn`, which has become an L4; `first` is the word of its slot 256. */
  fill(first: number, mfn: number): void {
    this.#set(LINEAR_SLOT, mfn, true);
    this.#words.set(this.#image, first);
    if (this.m2pStrict) this.#showM2p(first);
  }

  /** The L4 becomes a kernel's root. */
  enterKernel(first: number): void {
    if (!this.m2pStrict && this.#words[first] === 0 && this.#words[first + 1] === 0) this.#showM2p(first);
  }

  /** The L4 becomes a user's root. */
  enterUser(first: number): void {
    if (this.m2pStrict) this.#words.fill(0, first, first + 2);
  }

  #showM2p(first: number): void {
    this.#words[first] = this.#m2pLo;
    this.#words[first + 1] = this.#m2pHi;
  }

  /** What slot `slot` of L4 `mfn` may hold: its halves, one pair or two. */
  expected(slot: number, mfn: number): readonly (readonly [lo: number, hi: number])[] {
    if (slot === FIRST_XEN_SLOT)
      return [
        [0, 0],
        [this.#m2pLo, this.#m2pHi],
      ];
    if (slot === LINEAR_SLOT) return [entryOf(mfn, true)];
    return [[this.#image[wordOf(slot)]!, this.#image[wordOf(slot) + 1]!]];
  }
}
