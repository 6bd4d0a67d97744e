/**
 * The entries of a grant table as the guest wrote them, in frames of the Xen heap that it maps; in version 2 also the status words, in frames
 * of their own.
 *
 * The guest, and whoever it has granted such a frame to, may change all of it at any time. So a word is read once for a use, and flags are
 * changed by compare-and-exchange, a bounded number of times.
 */
import { GNTST, GrantEntryV1, GrantEntryV2, GTF } from "../../abi/grant-table.ts";
import type { DomainMemory } from "../mm/domain-memory.ts";
import { PAGE_SIZE } from "../mm/memory-map.ts";

export type GrantVersion = 1 | 2;

const ENTRY_BYTES = { 1: GrantEntryV1.size, 2: GrantEntryV2.size } as const;
const STATUS_BYTES = 2;
export const STATUS_PER_FRAME = PAGE_SIZE / STATUS_BYTES;
/** How often an entry may change under a compare-and-exchange. */
const TRIES = 5;

/** Flags and domid of an entry, which are one word. */
export interface EntryHeader {
  readonly word: number;
  readonly flags: number;
  readonly domid: number;
}

const headerOf = (word: number): EntryHeader => ({ word, flags: word & 0xffff, domid: word >>> 16 });

export class SharedEntries {
  readonly #memory: DomainMemory;
  readonly #view: DataView;
  readonly #halves: Uint16Array;
  /** Frames of the table, and of its status words (mfns), in order. */
  readonly frames: number[] = [];
  readonly statusFrames: number[] = [];
  version: GrantVersion = 1;

  constructor(memory: DomainMemory) {
    this.#memory = memory;
    this.#view = new DataView(memory.buffer);
    this.#halves = new Uint16Array(memory.buffer);
  }

  /** Entries of the table. */
  get count(): number {
    return (this.frames.length * PAGE_SIZE) / ENTRY_BYTES[this.version];
  }

  #offset(ref: number): number {
    const byte = ref * ENTRY_BYTES[this.version];
    return this.#memory.hostOffset(this.frames[Math.floor(byte / PAGE_SIZE)]!) + (byte % PAGE_SIZE);
  }

  /** Where the word with GTF_reading and GTF_writing is: the flags themselves in version 1. */
  #statusAt(ref: number): number {
    if (this.version === 1) return this.#offset(ref) / 2;
    const frame = this.statusFrames[Math.floor(ref / STATUS_PER_FRAME)]!;
    return this.#memory.hostOffset(frame) / 2 + (ref % STATUS_PER_FRAME);
  }

  header(ref: number): EntryHeader {
    return headerOf(Atomics.load(this.#memory.words, this.#offset(ref) / 4));
  }

  /** The frame that is granted, or that a transfer brought. */
  frame(ref: number): number {
    const at = this.#offset(ref);
    return this.version === 1
      ? GrantEntryV1.frame.get(this.#view, at)
      : GrantEntryV2.fullPage.frame.number(this.#view, at);
  }

  setFrame(ref: number, mfn: number): void {
    const at = this.#offset(ref);
    if (this.version === 1) GrantEntryV1.frame.set(this.#view, at, mfn);
    else GrantEntryV2.fullPage.frame.setNumber(this.#view, at, mfn);
  }

  /** Version 2: the part of the page that is granted. */
  subPage(ref: number): { offset: number; length: number } {
    const at = this.#offset(ref);
    const { pageOff, length } = GrantEntryV2.subPage;
    return { offset: pageOff.get(this.#view, at), length: length.get(this.#view, at) };
  }

  /** Version 2: the grant that is passed on. */
  transitive(ref: number): { domid: number; ref: number } {
    const at = this.#offset(ref);
    const { transDomid, gref } = GrantEntryV2.transitive;
    return { domid: transDomid.get(this.#view, at), ref: gref.get(this.#view, at) };
  }

  /** Whether GTF_reading and GTF_writing are set. */
  status(ref: number): number {
    return Atomics.load(this.#halves, this.#statusAt(ref)) & (GTF.reading | GTF.writing);
  }

  setStatus(ref: number, flags: number): void {
    Atomics.store(this.#halves, this.#statusAt(ref), flags);
  }

  clearStatus(ref: number, flags: number): void {
    Atomics.and(this.#halves, this.#statusAt(ref), ~flags & 0xffff);
  }

  /** GTF_transfer_completed, when the frame is there. */
  addFlags(ref: number, flags: number): void {
    Atomics.or(this.#halves, this.#offset(ref) / 2, flags);
  }

  /**
   * Sets GTF_reading, and GTF_writing for a use that writes. `allowed` says whether the entry grants it; not asked of a grant that is in
   * use (`pinned`), but for GTF_readonly. 0, or GNTST.generalError, and then nothing is set.
   */
  markUsed(ref: number, write: boolean, pinned: boolean, allowed: (header: EntryHeader) => boolean): number {
    return this.version === 1
      ? this.#markUsedV1(ref, write, pinned, allowed)
      : this.#markUsedV2(ref, write, pinned, allowed);
  }

  #markUsedV1(ref: number, write: boolean, pinned: boolean, allowed: (header: EntryHeader) => boolean): number {
    const { words } = this.#memory;
    const at = this.#offset(ref) / 4;
    let header = this.header(ref);
    for (let tries = 0; tries < TRIES; tries++) {
      if (!pinned && !allowed(header)) return GNTST.generalError;
      if (write && (header.flags & GTF.readonly) !== 0) return GNTST.generalError;
      const marked = header.word | GTF.reading | (write ? GTF.writing : 0);
      const seen = Atomics.compareExchange(words, at, header.word, marked);
      if (seen === header.word) return GNTST.okay;
      header = headerOf(seen);
    }
    return GNTST.generalError;
  }

  #markUsedV2(ref: number, write: boolean, pinned: boolean, allowed: (header: EntryHeader) => boolean): number {
    const grants = (header: EntryHeader): boolean =>
      (pinned || allowed(header)) && !(write && (header.flags & GTF.readonly) !== 0);
    if (!grants(this.header(ref))) return GNTST.generalError;
    const at = this.#statusAt(ref);
    Atomics.or(this.#halves, at, GTF.reading | (write ? GTF.writing : 0));
    // The guest takes a grant back by clearing the flags and then looking at the status: whoever comes second sees the other.
    const header = this.header(ref);
    if (pinned ? (header.flags & GTF.readonly) === 0 : grants(header)) return GNTST.okay;
    this.clearStatus(ref, pinned ? GTF.writing : GTF.reading | GTF.writing);
    return GNTST.generalError;
  }

  /** Exchanges two entries. */
  swap(a: number, b: number): void {
    const size = ENTRY_BYTES[this.version];
    const first = new Uint8Array(this.#memory.buffer, this.#offset(a), size);
    const second = new Uint8Array(this.#memory.buffer, this.#offset(b), size);
    const kept = first.slice();
    first.set(second);
    second.set(kept);
    if (this.version === 1) return;
    const status = Atomics.load(this.#halves, this.#statusAt(a));
    Atomics.store(this.#halves, this.#statusAt(a), Atomics.load(this.#halves, this.#statusAt(b)));
    Atomics.store(this.#halves, this.#statusAt(b), status);
  }

  /** Stores a whole entry of flags (GTF_reading and GTF_writing included), domid and frame. */
  store(ref: number, { flags, domid, frame }: { flags: number; domid: number; frame: number }): void {
    const at = this.#offset(ref);
    const own = this.version === 1 ? flags : flags & ~(GTF.reading | GTF.writing);
    this.setFrame(ref, frame);
    if (this.version === 2) this.setStatus(ref, flags & (GTF.reading | GTF.writing));
    Atomics.store(this.#memory.words, at / 4, own | (domid << 16));
  }

  /** Zeroes the table. */
  clear(): void {
    for (const mfn of this.frames) this.#memory.clearFrame(mfn);
  }
}
