/**
 * Types and counts of frames: taking and putting a use, validating page tables, and taking them apart again.
 *
 * Validation of L2 to L4 can stop when the budget is used up (`RESTART`) and goes on where it was when the same use is asked for
 * again. Taking apart never recurses: a table whose last use goes is put in limbo, and `settle` puts its entries, which may put
 * its children in limbo. Whoever puts types settles before a guest runs again.
 */
import { Errno } from "../../abi/errno.ts";
import { Bug } from "../bug.ts";
import { checkDescriptor } from "./descriptor-check.ts";
import type { Explanations } from "./explanations.ts";
import type { ForeignFrames } from "./foreign-frames.ts";
import {
  type FrameTable,
  PARTIAL,
  PageType,
  TYPE_COUNT,
  TYPE_MASK,
  TYPE_SHIFT,
  typeName,
  VALIDATED,
} from "./frame-table.ts";
import { FIRST_XEN_SLOT, HypervisorSlots, LAST_XEN_SLOT } from "./hypervisor-slots.ts";
import {
  adjustL1Hi,
  adjustL1Lo,
  entryText,
  L1_DISALLOWED,
  mfnOfEntry,
  PRESENT,
  RW,
  UPPER_DISALLOWED,
  upperFlags,
} from "./page-entry.ts";
import type { TranslationCaches } from "./translation-caches.ts";

/** Not finished: ask again with the same arguments. */
export const RESTART = -Errno.ERESTART;

const ENTRIES = 512;
/** The frame number of all ones: what a guest writes for "no frame". */
export const NO_MFN = 0xff_ffff_ffff;
const WORDS_PER_FRAME = 1024;

export class PageTypes {
  readonly frames: FrameTable;
  readonly why: Explanations;
  /** The whole linear memory, as 32-bit words. */
  readonly words: Int32Array;
  readonly #ramWord: number;
  readonly #caches: TranslationCaches;
  /** Entries that may be looked at before preemptible work returns RESTART. */
  budget = Number.POSITIVE_INFINITY;
  /** The hypervisor's slots of every L4. */
  readonly slots: HypervisorSlots;
  /** Tables without uses whose entries still hold references; each holds a reference while it is here. */
  readonly #limbo: number[] = [];
  /** The table whose validation failed last with entries done, while the tables above it fail too; -1 for none. */
  #failed = -1;
  /** Frames (indices) that Xen has lost sight of (`#lose`): each holds a reference here. */
  readonly lost = new Set<number>();
  readonly foreign: ForeignFrames;

  constructor(
    frames: FrameTable,
    words: Int32Array,
    caches: TranslationCaches,
    why: Explanations,
    foreign: ForeignFrames,
  ) {
    this.foreign = foreign;
    this.frames = frames;
    this.words = words;
    this.#ramWord = frames.map.ramOffset >>> 2;
    this.#caches = caches;
    this.why = why;
    this.slots = new HypervisorSlots(words);
  }

  /** Word index of an entry. */
  wordOf(index: number, slot: number): number {
    return this.#ramWord + index * WORDS_PER_FRAME + slot * 2;
  }

  /** Stores an entry of any frame, as a hypervisor write: decoded code in that frame is forgotten. */
  storeEntry(index: number, slot: number, lo: number, hi: number): void {
    const word = this.wordOf(index, slot);
    this.words[word] = lo;
    this.words[word + 1] = hi;
    this.#caches.invalidateCode(index + this.frames.baseMfn);
  }

  /**
   * Takes a use of a frame as `type`; the caller holds a reference to the frame. 0, -EINVAL (it is something else, or cannot be
   * validated), or RESTART for L2 to L4 while there is a budget. A refusal's reason is recorded when `why` is given.
   */
  getType(index: number, type: number, explain = true): number {
    const { typeInfo } = this.frames;
    let info = typeInfo[index]!;
    const count = info & TYPE_COUNT;
    if (count === 0) {
      if ((info & PARTIAL) !== 0) {
        this.#takeApart(index);
        info = typeInfo[index]!;
      }
      const held = (info & TYPE_MASK) >> TYPE_SHIFT;
      if (held !== type) {
        if (held === PageType.writable) this.#caches.dropWriteTranslations(index + this.frames.baseMfn);
        info = type << TYPE_SHIFT;
      }
      if (type === PageType.writable) info |= VALIDATED;
      typeInfo[index] = info + 1;
      if ((info & VALIDATED) !== 0) return 0;
      this.frames.entriesDone[index] = 0;
      return this.#validate(index, type);
    }
    if ((info & TYPE_MASK) >> TYPE_SHIFT !== type) {
      if (explain) this.why.wrongType(index, type);
      return -Errno.EINVAL;
    }
    if (count === TYPE_COUNT) {
      if (explain) this.why.frame("too-many-references", index, "", "has as many uses as can be counted");
      return -Errno.EINVAL;
    }
    if ((info & VALIDATED) !== 0) {
      typeInfo[index] = info + 1;
      return 0;
    }
    if ((info & PARTIAL) === 0) throw new Bug(`frame ${index} used as ${typeName(type)} while it is being validated`);
    // The use and the reference that the unfinished validation held become the caller's, or its own again.
    typeInfo[index] = info & ~PARTIAL;
    this.frames.putPage(index);
    return this.#validate(index, type);
  }

  /** Puts a use. A table without uses goes to limbo: `settle` afterwards. */
  putType(index: number): void {
    const { typeInfo } = this.frames;
    const info = typeInfo[index]! - 1;
    if ((typeInfo[index]! & TYPE_COUNT) === 0) throw new Bug(`frame ${index}: a use put that nobody held`);
    typeInfo[index] = info;
    if ((info & TYPE_COUNT) !== 0) return;
    const type = (info & TYPE_MASK) >> TYPE_SHIFT;
    if (type >= PageType.l1 && type <= PageType.l4 && (info & VALIDATED) !== 0) {
      typeInfo[index] = (info & ~VALIDATED) | PARTIAL;
      this.frames.entriesDone[index] = ENTRIES;
      this.#toLimbo(index);
    }
  }

  /** A reference and a use. -EINVAL when the domain does not own the frame; else as `getType`. */
  getPageAndType(index: number, type: number, explain = true): number {
    if (!this.frames.getPage(index)) {
      if (explain) this.why.foreign("foreign-frame", index + this.frames.baseMfn, "", `a use as ${typeName(type)}`);
      return -Errno.EINVAL;
    }
    const rc = this.getType(index, type, explain);
    if (rc !== 0) this.frames.putPage(index);
    return rc;
  }

  putPageAndType(index: number): void {
    this.putType(index);
    this.frames.putPage(index);
  }

  /** Nothing waits to be taken apart. */
  get settled(): boolean {
    return this.#limbo.length === 0;
  }

  /** Takes tables in limbo apart, as long as the budget lasts. False when some are left. */
  settle(): boolean {
    for (;;) {
      const index = this.#limbo.pop();
      if (index === undefined) return true;
      if (inLimbo(this.frames.typeInfo[index]!)) this.#takeApart(index);
      this.frames.putPage(index);
      if (this.budget <= 0 && this.#limbo.length > 0) return false;
    }
  }

  /** Gives up a validation that was not finished, if there was one (a dying domain). */
  abandon(index: number): void {
    const info = this.frames.typeInfo[index]!;
    if ((info & PARTIAL) === 0 || (info & TYPE_COUNT) === 0) return;
    this.frames.typeInfo[index] = info - 1;
    this.#toLimbo(index);
    this.frames.putPage(index);
  }

  #toLimbo(index: number): void {
    this.frames.refInfo[index]!++;
    this.#limbo.push(index);
  }

  #validate(index: number, type: number): number {
    const { typeInfo, entriesDone } = this.frames;
    let rc = 0;
    if (type === PageType.l1) rc = this.#validateL1(index);
    else if (type <= PageType.l4) rc = this.#validateUpper(index, type);
    else if (type === PageType.segDesc) rc = this.#validateDescriptors(index);
    else throw new Bug(`no validation for ${typeName(type)}`);
    if (rc === 0) {
      typeInfo[index]! |= VALIDATED;
    } else if (rc === RESTART) {
      typeInfo[index]! |= PARTIAL;
      this.frames.refInfo[index]!++;
    } else if (entriesDone[index]! > 0) {
      if (type > PageType.l1) this.#failedAfter(index, entriesDone[index]!);
      typeInfo[index] = (typeInfo[index]! | PARTIAL) - 1;
      this.#toLimbo(index);
    } else {
      typeInfo[index] = 0;
    }
    return rc;
  }

  /** A table's validation failed at a slot behind entries that are done: it is what has to be taken apart now. */
  #failedAfter(index: number, slot: number): void {
    const word = this.wordOf(index, slot);
    const below = this.frames.indexOf(this.words[word]!, this.words[word + 1]!);
    if (this.#failed >= 0 && this.#failed !== below) this.#lose(this.#failed);
    this.#failed = index;
  }

  /**
   * Xen remembers one half-validated table for a vCPU. When an L2 fails behind its first entries, as the first entry of an L3, and the L3 is
   * not the first entry of its L4, the L4 is remembered instead: nobody is left to take the L2 apart. It stays an L2 with one use, until it is
   * asked for as an L2 again, and one reference to it stays for good (on Xen past the domain's end, whose memory then never goes; here until it).
   */
  #lose(index: number): void {
    if (this.#limbo.pop() !== index) throw new Bug(`frame ${index} failed and is not the last in limbo`);
    this.frames.typeInfo[index]!++;
    // Xen loses one each time; that is not to be counted up to the limit here, and no guest can tell.
    if (this.lost.has(index)) return;
    this.frames.refInfo[index]!++;
    this.lost.add(index);
  }

  /** Puts the references to lost tables (a dying domain). */
  forgetLost(): void {
    for (const index of this.lost) this.frames.putPage(index);
    this.lost.clear();
  }

  #validateL1(index: number): number {
    const { words } = this;
    const first = this.wordOf(index, 0);
    this.budget -= ENTRIES;
    for (let slot = 0; slot < ENTRIES; slot++) {
      const word = first + slot * 2;
      const lo = words[word]!;
      if ((lo & PRESENT) === 0) continue;
      const hi = words[word + 1]!;
      const rc = this.getFromL1(lo, hi, index, slot);
      if (rc !== 0) {
        this.frames.entriesDone[index] = slot;
        return rc;
      }
      words[word] = adjustL1Lo(lo, hi);
      words[word + 1] = adjustL1Hi(lo, hi);
    }
    this.#caches.invalidateCode(index + this.frames.baseMfn);
    return 0;
  }

  #validateUpper(index: number, level: number): number {
    const { words } = this;
    const { entriesDone } = this.frames;
    const first = this.wordOf(index, 0);
    const start = entriesDone[index]!;
    for (let slot = start; slot < ENTRIES; slot++) {
      if (this.budget <= 0 && slot > start) {
        entriesDone[index] = slot;
        return RESTART;
      }
      this.budget--;
      if (level === PageType.l4 && slot >= FIRST_XEN_SLOT && slot <= LAST_XEN_SLOT) continue;
      const word = first + slot * 2;
      const lo = words[word]!;
      if ((lo & PRESENT) === 0) continue;
      this.#failed = -1;
      const rc = this.getFromUpper(level, lo, words[word + 1]!, index, slot);
      if (rc !== 0) {
        entriesDone[index] = slot;
        return rc;
      }
      words[word] = lo | upperFlags(level);
    }
    if (level === PageType.l4) this.slots.fill(this.wordOf(index, FIRST_XEN_SLOT), index + this.frames.baseMfn);
    this.#caches.invalidateCode(index + this.frames.baseMfn);
    return 0;
  }

  #validateDescriptors(index: number): number {
    const { words } = this;
    const first = this.wordOf(index, 0);
    this.budget -= ENTRIES;
    for (let entry = 0; entry < ENTRIES; entry++) {
      const word = first + entry * 2;
      if (!checkDescriptor(words, word)) {
        const text = `has a descriptor ${entry} that the processor must not see`;
        this.why.frame("descriptor", index, entryText(words[word]!, words[word + 1]!), text);
        return -Errno.EINVAL;
      }
    }
    return 0;
  }

  /**
   * Takes what a present L1 entry needs. 0; -EINVAL for flags or a frame number of all ones; -EPERM for I/O memory and frames that
   * do not exist; -EBUSY for frames of other owners, and for frames that cannot be writable now.
   */
  getFromL1(lo: number, hi: number, table: number, slot: number): number {
    if ((lo & L1_DISALLOWED) !== 0) {
      this.why.flags(1, lo, hi, lo & L1_DISALLOWED, table, slot);
      return -Errno.EINVAL;
    }
    const { frames } = this;
    const index = frames.indexOf(lo, hi);
    if (!frames.getPage(index)) return this.#noL1Frame(lo, hi, table, slot);
    if ((lo & RW) !== 0 && this.getType(index, PageType.writable, false) !== 0) {
      const text = `${this.why.where(1, table, slot)} maps it writable, but it is held as ${frames.heldAs(index)}`;
      this.why.frame("wrong-type", index, entryText(lo, hi), text);
      frames.putPage(index);
      return -Errno.EBUSY;
    }
    return 0;
  }

  #noL1Frame(lo: number, hi: number, table: number, slot: number): number {
    const mfn = mfnOfEntry(lo, hi);
    const kind = this.frames.foreignKind(mfn);
    const rule = kind === "io" ? "io-frame" : kind === "no-such-frame" ? "no-such-frame" : "foreign-frame";
    this.why.foreign(rule, mfn, entryText(lo, hi), this.why.where(1, table, slot));
    if (rule === "foreign-frame") return -Errno.EBUSY;
    return mfn === NO_MFN ? -Errno.EINVAL : -Errno.EPERM;
  }

  /** Puts what a present L1 entry held. */
  putFromL1(lo: number, hi: number): void {
    const index = this.frames.indexOf(lo, hi);
    if (index < 0) {
      if (this.foreign.putEntry(mfnOfEntry(lo, hi), lo)) return;
      throw new Bug(`an L1 entry ${entryText(lo, hi)} held a frame that does not exist`);
    }
    if ((lo & RW) !== 0) this.putType(index);
    this.frames.putPage(index);
  }

  /** Takes what a present L2, L3 or L4 entry needs: a use of the table below. 0, -EINVAL or RESTART. */
  getFromUpper(level: number, lo: number, hi: number, table: number, slot: number): number {
    if ((lo & UPPER_DISALLOWED) !== 0) {
      this.why.flags(level, lo, hi, lo & UPPER_DISALLOWED, table, slot);
      return -Errno.EINVAL;
    }
    const { frames } = this;
    const index = frames.indexOf(lo, hi);
    if (!frames.owned(index)) {
      this.why.foreign("foreign-frame", mfnOfEntry(lo, hi), entryText(lo, hi), this.why.where(level, table, slot));
      return -Errno.EINVAL;
    }
    const rc = this.getPageAndType(index, level - 1, false);
    if (rc !== -Errno.EINVAL) return rc;
    if (this.#getLinear(level, lo, table, index)) return 0;
    if (frames.typeCount(index) > 0) {
      const rule = frames.type(index) === level ? "linear-table" : "wrong-type";
      const where = this.why.where(level, table, slot);
      const text = `${where} names it as ${typeName(level - 1)}, but it is held as ${frames.heldAs(index)}`;
      this.why.frame(rule, index, entryText(lo, hi), text);
    }
    return rc;
  }

  /** Puts what a present L2, L3 or L4 entry held. */
  putFromUpper(level: number, lo: number, hi: number, table: number): void {
    const { frames } = this;
    const index = frames.indexOf(lo, hi);
    if (index < 0) throw new Bug(`an L${level} entry ${entryText(lo, hi)} held a frame that does not exist`);
    if (index === table) return;
    if (frames.type(index) === level) {
      frames.linear[table]!--;
      frames.linear[index]!++;
    }
    this.putPageAndType(index);
  }

  /**
   * Linear page tables: a read-only entry may name a validated table of its own level, itself too, so that the guest sees its page
   * tables as an array. Not to any depth: a table that is named so must not name others so.
   */
  #getLinear(level: number, lo: number, table: number, index: number): boolean {
    const { frames } = this;
    if ((lo & RW) !== 0) return false;
    if (index === table) return true;
    const info = frames.typeInfo[index]!;
    if ((info & TYPE_MASK) >> TYPE_SHIFT !== level || (info & VALIDATED) === 0) return false;
    const count = info & TYPE_COUNT;
    if (count === TYPE_COUNT) return false;
    if (frames.linear[table]! < 0 || frames.linear[index]! > 0) return false;
    if (!frames.getPage(index)) return false;
    frames.typeInfo[index] = info + 1;
    frames.linear[table]!++;
    frames.linear[index]!--;
    return true;
  }

  /** Puts the entries of a table in limbo. Its children may go to limbo in turn. */
  #takeApart(index: number): void {
    const { frames, words } = this;
    const info = frames.typeInfo[index]!;
    if (!inLimbo(info)) throw new Bug(`frame ${index} is not in limbo`);
    frames.typeInfo[index] = info & ~PARTIAL;
    const level = (info & TYPE_MASK) >> TYPE_SHIFT;
    const done = frames.entriesDone[index]!;
    frames.entriesDone[index] = 0;
    this.budget -= done;
    const first = this.wordOf(index, 0);
    for (let slot = 0; slot < done; slot++) {
      if (level === PageType.l4 && slot >= FIRST_XEN_SLOT && slot <= LAST_XEN_SLOT) continue;
      const lo = words[first + slot * 2]!;
      if ((lo & PRESENT) === 0) continue;
      const hi = words[first + slot * 2 + 1]!;
      if (level === PageType.l1) this.putFromL1(lo, hi);
      else this.putFromUpper(level, lo, hi, index);
    }
  }
}

const inLimbo = (info: number): boolean => (info & PARTIAL) !== 0 && (info & TYPE_COUNT) === 0;
