/**
 * The frame table: who owns a frame, how many references it has, and what it is used as.
 *
 * The invariants of everything in this folder:
 *
 *  1. A frame has one owner. Only frames with an owner have references; the last reference frees the frame.
 *  2. A frame has one type at a time, and a count of its uses as that type. The type changes only while the count is 0, so a
 *     frame is never writable and a page table (or a descriptor table) at once. Each use holds a general reference as well.
 *  3. A page table is VALIDATED before its first use ends: every entry is present only if the frame it names is owned by the
 *     domain and holds a reference for it: L1 entries one reference (and a writable use if RW), upper entries a use as a
 *     table one level below. Entries of a validated table change only through `PageTables`, which moves the references.
 *  4. Before a frame that was writable becomes anything else, no TLB of any vCPU has a write translation of it; before a frame is
 *     freed, no TLB has any. What the guest may read through a stale translation it did not flush is only its own memory.
 *  5. An L4 in use has what the hypervisor wants between slots 256 and 271 (hypervisor-slots.ts), and no guest can get through any
 *     of it but slot 256, the machine-to-physical table.
 *  6. A frame between two states says so: PARTIAL with a count is a validation to be resumed (and holds that one use and a
 *     reference); PARTIAL without one is a table whose entries are still to be put. Neither can be written.
 *
 * These numbers are what the hypervisor trusts, so they live here, out of reach of generated code.
 * Frames are named by index here: mfn - map.baseMfn.
 */
import { DOMID } from "../../abi/xen.ts";
import { Bug } from "../bug.ts";
import { type MemoryMap, MMIO_END_MFN } from "./memory-map.ts";

/** What a frame is used as (Xen's PGT_*). Page tables are their level. */
export const PageType = { none: 0, l1: 1, l2: 2, l3: 3, l4: 4, segDesc: 5, writable: 7 } as const;
export type PageType = (typeof PageType)[keyof typeof PageType];

const typeNames = [
  "nothing",
  "an L1 page table",
  "an L2 page table",
  "an L3 page table",
  "an L4 page table",
  "a descriptor page",
  "?",
  "a writable page",
];
export const typeName = (type: number): string => typeNames[type]!;

/** typeInfo: count in bits 23:0, type in 26:24, then flags. */
export const TYPE_COUNT = 0x00ff_ffff;
export const TYPE_SHIFT = 24;
export const TYPE_MASK = 7 << TYPE_SHIFT;
export const VALIDATED = 1 << 27;
export const PINNED = 1 << 28;
export const PARTIAL = 1 << 29;

/** refInfo: count in bits 27:0, then flags. */
export const REF_COUNT = 0x0fff_ffff;
/** The owner's own reference, dropped when it gives the frame back. */
export const ALLOCATED = 1 << 28;
/** A frame of the hypervisor's heap: never part of the reservation. */
export const XEN_HEAP = 1 << 29;

/** A frame with any of these is in use as its type. */
const IN_USE = TYPE_COUNT | PARTIAL;

const NO_OWNER = 0xffff;

/** Contiguous frames are handed out in orders below this: 2 MiB at most. */
export const ORDERS = 10;

/** What a frame number means to a guest that does not own it. */
export type ForeignKind = "io" | "other-owner" | "free" | "hypervisor" | "no-such-frame";

export class FrameTable {
  readonly map: MemoryMap;
  readonly domid: number;
  readonly total: number;
  readonly baseMfn: number;
  /** Owner's domid, DOMID_XEN, or none. */
  readonly owner: Uint16Array;
  readonly refInfo: Int32Array;
  readonly typeInfo: Int32Array;
  /** Entries of a page table that hold references, while it is PARTIAL. */
  readonly entriesDone: Uint16Array;
  /** Linear page tables: entries of this table that name a table of its own level (> 0), or such entries that name it (< 0). */
  readonly linear: Int32Array;
  /** Frames of the reservation (tot_pages). */
  ownPages = 0;
  /** Frames with an owner, the hypervisor's included. A dying domain's memory may go when there are none. */
  used = 0;
  /** Called with the index of a frame whose last reference went, before it is free. */
  onFree: (index: number) => void = () => {};
  /** For each order: no aligned run of free frames begins below this. */
  readonly #freeFrom = new Int32Array(ORDERS);

  constructor(map: MemoryMap, domid: number) {
    this.map = map;
    this.domid = domid;
    this.total = map.totalFrames;
    this.baseMfn = map.baseMfn;
    this.owner = new Uint16Array(this.total).fill(NO_OWNER);
    this.refInfo = new Int32Array(this.total);
    this.typeInfo = new Int32Array(this.total);
    this.entriesDone = new Uint16Array(this.total);
    this.linear = new Int32Array(this.total);
    this.owner.fill(domid, 0, map.pages);
    this.refInfo.fill(ALLOCATED | 1, 0, map.pages);
    this.ownPages = map.pages;
    this.used = map.pages;
    for (let order = 0; order < ORDERS; order++) {
      const size = 1 << order;
      this.#freeFrom[order] = Math.ceil((map.pages + map.baseMfn) / size) * size - map.baseMfn;
    }
  }

  /** Index of the frame in an entry's halves, or -1 when it has no memory here. */
  indexOf(lo: number, hi: number): number {
    const top = hi & 0xf_ffff;
    if (top > 1) return -1;
    const index = ((top << 20) | (lo >>> 12)) - this.baseMfn;
    return index >= 0 && index < this.total ? index : -1;
  }

  /** Index of a machine frame number (any double), or -1. */
  indexOfMfn(mfn: number): number {
    const index = mfn - this.baseMfn;
    return index >= 0 && index < this.total ? index : -1;
  }

  type(index: number): number {
    return (this.typeInfo[index]! & TYPE_MASK) >> TYPE_SHIFT;
  }

  typeCount(index: number): number {
    return this.typeInfo[index]! & TYPE_COUNT;
  }

  refs(index: number): number {
    return this.refInfo[index]! & REF_COUNT;
  }

  /** Whether the domain has the frame in use as a `type` that has been validated. */
  inUseAs(index: number, type: PageType): boolean {
    return this.owned(index) && this.type(index) === type && this.isValidated(index);
  }

  /** Whether the frame is in use, and was validated as what it is. */
  isValidated(index: number): boolean {
    const info = this.typeInfo[index]!;
    return (info & VALIDATED) !== 0 && (info & TYPE_COUNT) !== 0;
  }

  owned(index: number): boolean {
    return this.owner[index] === this.domid;
  }

  isFree(index: number): boolean {
    return this.owner[index] === NO_OWNER;
  }

  /** Makes a free frame, which has no type, the domain's, with its owner's reference. */
  assign(index: number): void {
    if (!this.isFree(index)) throw new Bug(`frame ${index} has an owner already`);
    this.owner[index] = this.domid;
    this.refInfo[index] = ALLOCATED | 1;
    this.ownPages++;
    this.used++;
  }

  /** Makes a heap frame the hypervisor's (not the guest's business), or the domain's in the given use for good. */
  assignHeap(index: number, share: "writable" | "readonly" | "private"): void {
    if (!this.isFree(index)) throw new Bug(`heap frame ${index} has an owner already`);
    this.owner[index] = share === "private" ? DOMID.xen : this.domid;
    this.used++;
    this.refInfo[index] = XEN_HEAP | ALLOCATED | 1;
    const type = share === "writable" ? PageType.writable : PageType.none;
    this.typeInfo[index] = (type << TYPE_SHIFT) | VALIDATED | 1;
  }

  /** Takes a general reference. False when the frame (-1: none) is not the domain's, is being freed, or has too many. */
  getPage(index: number): boolean {
    if (this.owner[index] !== this.domid) return false;
    const refs = this.refInfo[index]! & REF_COUNT;
    if (refs === 0 || refs >= REF_COUNT - 1) return false;
    this.refInfo[index]!++;
    return true;
  }

  putPage(index: number): void {
    const info = this.refInfo[index]!;
    const refs = info & REF_COUNT;
    if (refs === 0) throw new Bug(`frame ${index}: a reference put that nobody held`);
    this.refInfo[index] = info - 1;
    if (refs === 1) this.#free(index, info - 1);
  }

  /** The owner gives its own reference back. False when it has already done so. */
  putAllocated(index: number): boolean {
    const info = this.refInfo[index]!;
    if ((info & ALLOCATED) === 0) return false;
    this.refInfo[index] = info & ~ALLOCATED;
    this.putPage(index);
    return true;
  }

  #free(index: number, info: number): void {
    if ((info & ALLOCATED) !== 0) throw new Bug(`frame ${index} freed with its owner's reference`);
    const type = this.typeInfo[index]!;
    if ((type & IN_USE) !== 0 && (info & XEN_HEAP) === 0) {
      throw new Bug(`frame ${index} freed while in use as ${typeName(this.type(index))}`);
    }
    this.onFree(index);
    this.owner[index] = NO_OWNER;
    this.refInfo[index] = 0;
    this.typeInfo[index] = 0;
    this.used--;
    if ((info & XEN_HEAP) === 0) {
      this.ownPages--;
      this.#lookAgainFrom(index);
    }
  }

  /**
   * First index of `1 << order` contiguous, aligned free RAM frames, now the domain's; -1 when there are none. Their bytes
   * are zero: frames are scrubbed as they are freed. `order` is below ORDERS.
   */
  allocate(order: number): number {
    const size = 1 << order;
    for (let index = this.#freeFrom[order]!; index + size <= this.map.ownFrames; index += size) {
      if (!this.#allFree(index, size)) continue;
      this.#freeFrom[order] = index + size;
      for (let i = 0; i < size; i++) this.assign(index + i);
      return index;
    }
    this.#freeFrom[order] = this.map.ownFrames;
    return -1;
  }

  #allFree(index: number, count: number): boolean {
    for (let i = 0; i < count; i++) if (!this.isFree(index + i)) return false;
    return true;
  }

  /** A RAM frame is free: runs that it makes whole begin at it or below. One that is cut off by the first frame is never found free. */
  #lookAgainFrom(index: number): void {
    for (let order = 0; order < ORDERS; order++) {
      const run = index - ((index + this.baseMfn) & ((1 << order) - 1));
      this.#freeFrom[order] = Math.min(this.#freeFrom[order]!, run);
    }
  }

  /** What a frame that the domain does not own is. `mfn` is any non-negative double. */
  foreignKind(mfn: number): ForeignKind {
    const index = this.indexOfMfn(mfn);
    if (index >= 0) return this.isFree(index) || this.owned(index) ? "free" : "hypervisor";
    if (mfn < MMIO_END_MFN) return "io";
    // Alias frames come right after those that have memory here.
    return mfn < this.map.aliasMfn + this.map.aliasFrames ? "other-owner" : "no-such-frame";
  }

  /** What the frame is held as, in words. */
  heldAs(index: number): string {
    const count = this.typeCount(index);
    const info = this.typeInfo[index]!;
    if (count === 0) return "nothing";
    const pinned = (info & PINNED) !== 0 ? ", pinned" : "";
    const partial = (info & PARTIAL) !== 0 ? ", not fully validated" : "";
    return `${typeName(this.type(index))} (${count} ${count === 1 ? "use" : "uses"}${pinned}${partial})`;
  }
}
