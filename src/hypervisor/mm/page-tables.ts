/**
 * Changes of page tables in use: pins, and updates of single entries. Every way a guest can change an entry of a validated table
 * (mmu_update, update_va_mapping, an emulated store) ends here, so counts and entries always move together.
 */
import { Errno } from "../../abi/errno.ts";
import type { Explanations } from "./explanations.ts";
import { type FrameTable, PageType, PINNED, TYPE_MASK, TYPE_SHIFT } from "./frame-table.ts";
import { FIRST_XEN_SLOT, LAST_XEN_SLOT } from "./hypervisor-slots.ts";
import {
  ACCESSED,
  adjustL1Hi,
  adjustL1Lo,
  DIRTY,
  entryText,
  L1_DISALLOWED,
  PRESENT,
  PSE,
  sameMapping,
  UPPER_DISALLOWED,
  upperFlags,
} from "./page-entry.ts";
import type { PageTypes } from "./page-types.ts";

const KEPT_BY_PRESERVE_AD = ACCESSED | DIRTY;

export class PageTables {
  readonly #frames: FrameTable;
  readonly #types: PageTypes;
  readonly #why: Explanations;

  constructor(types: PageTypes) {
    this.#frames = types.frames;
    this.#types = types;
    this.#why = types.why;
  }

  /** MMUEXT_PIN_Lx_TABLE: a use that lasts until it is unpinned. 0, -EINVAL or RESTART. */
  pin(mfn: number, level: number): number {
    const index = this.#frames.indexOfMfn(mfn);
    if (!this.#frames.getPage(index)) {
      this.#why.foreign("foreign-frame", mfn, "", `an L${level} pin`);
      return -Errno.EINVAL;
    }
    const rc = this.#types.getType(index, level);
    if (rc !== 0) {
      this.#frames.putPage(index);
      return rc;
    }
    if ((this.#frames.typeInfo[index]! & PINNED) !== 0) {
      this.#why.frame("already-pinned", index, "", "is pinned already");
      this.#types.putPageAndType(index);
      return -Errno.EINVAL;
    }
    this.#frames.typeInfo[index]! |= PINNED;
    return 0;
  }

  /** MMUEXT_UNPIN_TABLE. 0 or -EINVAL. Settle afterwards. */
  unpin(mfn: number): number {
    const index = this.#frames.indexOfMfn(mfn);
    if (!this.#frames.owned(index)) {
      this.#why.foreign("foreign-frame", mfn, "", "an unpin");
      return -Errno.EINVAL;
    }
    if (!this.dropPin(index)) {
      this.#why.frame("not-pinned", index, "", "is not pinned");
      return -Errno.EINVAL;
    }
    return 0;
  }

  /** Drops a frame's pin, if it has one. Settle afterwards. */
  dropPin(index: number): boolean {
    const info = this.#frames.typeInfo[index]!;
    if ((info & PINNED) === 0) return false;
    this.#frames.typeInfo[index] = info & ~PINNED;
    this.#types.putPageAndType(index);
    return true;
  }

  /**
   * MMU_NORMAL_PT_UPDATE and MMU_PT_UPDATE_PRESERVE_AD: stores an entry in whatever the frame is. An update of a validated table
   * goes by that table's rules; any other frame that may be writable is simply written. 0, -EINVAL (not the domain's frame, held
   * as something else, bad entry), -EPERM, -EBUSY (see `PageTypes.getFromL1`) or RESTART. Settle before the next.
   */
  update(index: number, slot: number, lo: number, hi: number, preserveAd: boolean): number {
    const frames = this.#frames;
    if (!frames.getPage(index)) {
      this.#why.foreign("foreign-frame", index + frames.baseMfn, entryText(lo, hi), "a page-table update");
      return -Errno.EINVAL;
    }
    const info = frames.typeInfo[index]!;
    let rc: number;
    if (frames.isValidated(index)) {
      const type = (info & TYPE_MASK) >> TYPE_SHIFT;
      if (type === PageType.l1) {
        rc = this.updateL1(index, slot, lo, hi, preserveAd);
      } else if (type <= PageType.l4 && type > PageType.none) {
        rc = this.updateUpper(type, index, slot, lo, hi, preserveAd);
      } else if (type === PageType.writable) {
        this.#types.storeEntry(index, slot, lo, hi);
        rc = 0;
      } else {
        this.#why.wrongType(index, PageType.writable);
        rc = -Errno.EINVAL;
      }
    } else {
      rc = this.#types.getType(index, PageType.writable);
      if (rc === 0) {
        this.#types.storeEntry(index, slot, lo, hi);
        this.#types.putType(index);
      }
    }
    frames.putPage(index);
    return rc;
  }

  /** Changes an entry of a validated L1 table. 0, -EINVAL, -EPERM or -EBUSY, and then nothing has changed. */
  updateL1(index: number, slot: number, lo: number, hi: number, preserveAd: boolean): number {
    const types = this.#types;
    const word = types.wordOf(index, slot);
    const oldLo = types.words[word]!;
    const oldHi = types.words[word + 1]!;
    if ((lo & PRESENT) === 0) {
      types.storeEntry(index, slot, preserveAd ? lo | (oldLo & KEPT_BY_PRESERVE_AD) : lo, hi);
      if ((oldLo & PRESENT) !== 0) types.putFromL1(oldLo, oldHi);
      return 0;
    }
    const kept = preserveAd ? oldLo & KEPT_BY_PRESERVE_AD : 0;
    const newLo = adjustL1Lo(lo, hi) | kept;
    const newHi = adjustL1Hi(lo, hi);
    if ((lo & L1_DISALLOWED) === 0 && sameMapping(oldLo, oldHi, lo, hi)) {
      types.storeEntry(index, slot, newLo, newHi);
      return 0;
    }
    const rc = types.getFromL1(lo, hi, index, slot);
    if (rc !== 0) return rc;
    types.storeEntry(index, slot, newLo, newHi);
    if ((oldLo & PRESENT) !== 0) types.putFromL1(oldLo, oldHi);
    return 0;
  }

  /** Whether a present entry, with flags that an L1 may have, would only change what no count depends on. */
  keepsMapping(index: number, slot: number, lo: number, hi: number): boolean {
    const word = this.#types.wordOf(index, slot);
    return sameMapping(this.#types.words[word]!, this.#types.words[word + 1]!, lo, hi);
  }

  /**
   * Stores an entry of a validated L1 table that a grant operation has made, as it stands: whatever it names is held already. The old
   * entry is returned, and what it held is the caller's.
   */
  exchangeL1(index: number, slot: number, lo: number, hi: number): readonly [lo: number, hi: number] {
    const types = this.#types;
    const word = types.wordOf(index, slot);
    const old = [types.words[word]!, types.words[word + 1]!] as const;
    types.storeEntry(index, slot, lo, hi);
    return old;
  }

  /** Puts what an entry from `exchangeL1` held, if it is present. */
  putL1Entry([lo, hi]: readonly [lo: number, hi: number]): void {
    if ((lo & PRESENT) !== 0) this.#types.putFromL1(lo, hi);
  }

  /** Changes an entry of a validated L2, L3 or L4 table. 0, -EINVAL or RESTART, and then nothing has changed. */
  updateUpper(level: number, index: number, slot: number, lo: number, hi: number, preserveAd: boolean): number {
    const types = this.#types;
    if (level === PageType.l4 && slot >= FIRST_XEN_SLOT && slot <= LAST_XEN_SLOT) {
      const text = `slot ${slot} of this L4 page table is the hypervisor's`;
      this.#why.frame("reserved-slot", index, entryText(lo, hi), text);
      return -Errno.EINVAL;
    }
    const word = types.wordOf(index, slot);
    const oldLo = types.words[word]!;
    const oldHi = types.words[word + 1]!;
    const kept = preserveAd ? oldLo & KEPT_BY_PRESERVE_AD : 0;
    if ((lo & PRESENT) === 0) {
      types.storeEntry(index, slot, lo | kept, hi);
    } else if ((lo & UPPER_DISALLOWED) === 0 && sameMapping(oldLo, oldHi, lo, hi)) {
      types.storeEntry(index, slot, lo | upperFlags(level) | kept, hi);
      return 0;
    } else {
      const rc = types.getFromUpper(level, lo, hi, index, slot);
      if (rc !== 0) return rc;
      types.storeEntry(index, slot, lo | upperFlags(level) | kept, hi);
    }
    if ((oldLo & PRESENT) !== 0) types.putFromUpper(level, oldLo, oldHi, index);
    return 0;
  }

  /**
   * Where the last entry of the walk for a guest's address stands, below an L4 root: index of its table * 512 + slot, or -1 when a level
   * above is not there. The table is an L1, or through a linear page table one of a higher level. `va` is a signed canonical address
   * outside the hypervisor's range.
   */
  findLeaf(rootMfn: number, va: number): number {
    const types = this.#types;
    let index = this.#frames.indexOfMfn(rootMfn);
    // Bits 47:12 of the address, as two numbers of at most 18 bits.
    const page = Math.floor(va / 4096);
    const high = Math.floor(page / 0x4_0000) & 0x3_ffff;
    const low = page - Math.floor(page / 0x4_0000) * 0x4_0000;
    for (let level = 4; level > 1; level--) {
      if (index < 0) return -1;
      const slot = level === 4 ? high >> 9 : level === 3 ? high & 511 : low >> 9;
      const word = types.wordOf(index, slot);
      const entry = types.words[word]!;
      if ((entry & PRESENT) === 0 || (entry & PSE) !== 0) return -1;
      index = this.#frames.indexOf(entry, types.words[word + 1]!);
    }
    return index < 0 ? -1 : index * 512 + (low & 511);
  }
}
