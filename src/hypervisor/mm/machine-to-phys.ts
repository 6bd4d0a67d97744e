/**
 * The machine-to-physical table: for each frame the pfn its owner knows it by, read-only for the guest at MACH2PHYS_VIRT_START.
 *
 * Entries below the domain's first frame, and those of alias frames, all come from one shared page of ~0; what lies above is not mapped. The table
 * and the page tables that map it are heap frames, and the L4 slot that leads to them is in every L4 that a kernel runs on.
 */
import { PTE } from "../../abi/arch-x86-64.ts";
import type { MemoryMap } from "./memory-map.ts";

/** What the table says of a frame that is nobody's pfn. */
const INVALID_M2P_ENTRY = -1;
const ENTRIES_PER_FRAME = 512;
const WORDS_PER_FRAME = 1024;
const PFN_LIMIT = 0x20_0000_0000_0000;
/** Tables and leaves alike: read-only, and accessed so that no walk has to write. Nobody executes there: NX at the top and below. */
const FLAGS = PTE.present | PTE.user | PTE.accessed;
const NX_HI = PTE.nxHi | 0;

export class MachineToPhys {
  readonly #map: MemoryMap;
  readonly #words: Int32Array;
  readonly #first: number;
  /** The entry for slot 256 of an L4. */
  readonly slotLo: number;
  readonly slotHi: number;
  /** An L3 for the hypervisor's own slots, which nobody gets through: to the M2P's tables. */
  readonly ownMfn: number;

  /** Builds the table and its page tables; `takeHeapFrame` gives zeroed frames (mfns). All entries are invalid. */
  constructor(map: MemoryMap, words: Int32Array, takeHeapFrame: () => number) {
    this.#map = map;
    this.#words = words;
    this.#first = this.#wordOf(map.m2pMfn);
    words.fill(INVALID_M2P_ENTRY, this.#first, this.#first + map.m2pFrames * WORDS_PER_FRAME);

    const invalid = takeHeapFrame();
    words.fill(INVALID_M2P_ENTRY, this.#wordOf(invalid), this.#wordOf(invalid) + WORDS_PER_FRAME);
    const below = map.baseMfn / ENTRIES_PER_FRAME;
    const pages = Math.ceil((map.aliasMfn + map.aliasFrames) / ENTRIES_PER_FRAME);
    const l3 = takeHeapFrame();
    const l2 = takeHeapFrame();
    this.#link(l3, 0, l2, 0);
    for (let page = 0, l1 = 0; page < pages; page++) {
      const slot = page % 512;
      if (slot === 0) {
        l1 = takeHeapFrame();
        this.#link(l2, page / 512, l1, 0);
      }
      const own = page - below;
      this.#link(l1, slot, own < 0 || own >= map.m2pFrames ? invalid : map.m2pMfn + own, NX_HI);
    }
    this.ownMfn = takeHeapFrame();
    this.#link(this.ownMfn, 0, l2, 0);
    this.slotLo = (l3 << 12) | FLAGS;
    this.slotHi = NX_HI | (l3 >>> 20);
  }

  #wordOf(mfn: number): number {
    return (this.#map.ramOffset >>> 2) + (mfn - this.#map.baseMfn) * WORDS_PER_FRAME;
  }

  #link(table: number, slot: number, mfn: number, hi: number): void {
    const word = this.#wordOf(table) + slot * 2;
    this.#words[word] = (mfn << 12) | FLAGS;
    this.#words[word + 1] = hi | (mfn >>> 20);
  }

  /** Stores what a guest says (MMU_MACHPHYS_UPDATE): the raw halves. `index` is mfn - baseMfn. */
  setRaw(index: number, lo: number, hi: number): void {
    const word = this.#first + index * 2;
    this.#words[word] = lo;
    this.#words[word + 1] = hi;
  }

  /** Copies a frame's entry into the same place of `into`, two words for each frame. */
  copyRaw(index: number, into: Uint32Array): void {
    const word = this.#first + index * 2;
    into[index * 2] = this.#words[word]!;
    into[index * 2 + 1] = this.#words[word + 1]!;
  }

  /** The first `pages` frames are the pfns of the same numbers, as at boot. */
  setIdentity(pages: number): void {
    for (let index = 0; index < pages; index++) this.setRaw(index, index, 0);
  }

  set(index: number, pfn: number): void {
    this.setRaw(index, pfn | 0, Math.floor(pfn / 0x1_0000_0000));
  }

  invalidate(index: number): void {
    this.setRaw(index, INVALID_M2P_ENTRY, INVALID_M2P_ENTRY);
  }

  /** The pfn of a frame; -1 when it has none. */
  get(index: number): number {
    const word = this.#first + index * 2;
    const pfn = (this.#words[word + 1]! >>> 0) * 0x1_0000_0000 + (this.#words[word]! >>> 0);
    return pfn < PFN_LIMIT ? pfn : -1;
  }
}
