/**
 * A domain's grants: its table, which of them are in use and by whom, and the grants of others that it has mapped (xen/grant_table.h).
 *
 *  1. A grant is in use while its active entry has a pin; as long, GTF_reading, and GTF_writing if any use writes, are set in the table.
 *  2. Whoever has a frame mapped holds a reference to it, and a use as writable if it may write, for each mapping; `holds` counts them by
 *     domain. A mapping is an entry of a page table, or a device mapping.
 *  3. Pins end with the handles that they came with, references with the entries that they are for: a guest that overwrites an entry gives
 *     up the frame but still has the handle, and what is pinned stays so until the handle is unmapped or the domain dies.
 */
import { Errno } from "../../abi/errno.ts";
import { GNTST, GNTTAB_NR_RESERVED_ENTRIES, GTF } from "../../abi/grant-table.ts";
import { Bug } from "../bug.ts";
import type { DomainMemory } from "../mm/domain-memory.ts";
import { PageType } from "../mm/frame-table.ts";
import { MAX_GRANT_FRAMES } from "../mm/memory-map.ts";
import { type ActiveEntry, hasWriters } from "./active-entries.ts";
import { Maptrack } from "./maptrack.ts";
import { type GrantVersion, SharedEntries, STATUS_PER_FRAME } from "./shared-entries.ts";

/** Version 2 entries in a frame; a status frame is for 8 frames of them. */
const V2_PER_FRAME = 256;
const statusFramesFor = (frames: number): number => Math.ceil((frames * V2_PER_FRAME) / STATUS_PER_FRAME);

/** How often a domain holds a frame. */
interface Hold {
  refs: number;
  writable: number;
}

export class GrantTable {
  readonly #memory: DomainMemory;
  readonly entries: SharedEntries;
  /** Grants in use, by reference. */
  readonly active = new Map<number, ActiveEntry>();
  /** Grants of others that are mapped. */
  readonly maptrack = new Maptrack();
  /** For each domain that maps frames of this one, what it holds, by mfn. */
  readonly #holds = new Map<number, Map<number, Hold>>();

  constructor(memory: DomainMemory) {
    this.#memory = memory;
    this.entries = new SharedEntries(memory);
    this.grow(1);
  }

  get version(): GrantVersion {
    return this.entries.version;
  }

  /** Frames of the table (mfns). */
  get frames(): readonly number[] {
    return this.entries.frames;
  }

  get statusFrames(): readonly number[] {
    return this.entries.statusFrames;
  }

  /** Makes the table at least `count` frames long. False beyond the limit. */
  grow(count: number): boolean {
    const { frames } = this.entries;
    if (count > MAX_GRANT_FRAMES) return false;
    while (frames.length < count) frames.push(this.#memory.allocHeapFrame("writable"));
    if (this.version === 2) this.#growStatus();
    return true;
  }

  #growStatus(): void {
    const { frames, statusFrames } = this.entries;
    while (statusFrames.length < statusFramesFor(frames.length))
      statusFrames.push(this.#memory.allocHeapFrame("writable"));
  }

  /** Writes an entry: how the toolstack grants the console and xenstore rings to Domain 0. */
  seed(ref: number, domid: number, mfn: number): void {
    this.entries.store(ref, { flags: GTF.permitAccess, domid, frame: mfn });
  }

  /**
   * GNTTABOP_set_version. 0; -EBUSY: grants are in use, but for those that the toolstack has reserved, or status frames are mapped;
   * -ERANGE: a reserved entry cannot be one of version 1. Entries that are not reserved are gone afterwards.
   */
  setVersion(version: GrantVersion): number {
    const { entries } = this;
    if (entries.version === version) return 0;
    for (const ref of this.active.keys()) if (ref >= GNTTAB_NR_RESERVED_ENTRIES) return -Errno.EBUSY;
    const reserved = Array.from({ length: GNTTAB_NR_RESERVED_ENTRIES }, (_, ref) => {
      const { flags, domid } = entries.header(ref);
      return { flags, domid, frame: entries.frame(ref), status: entries.status(ref) };
    });
    const kept = reserved.map(({ flags, domid, frame, status }) => {
      const permits = (flags & GTF.typeMask) === GTF.permitAccess;
      if (version === 2) return { flags, domid, frame };
      return permits ? { flags: flags | status, domid, frame } : { flags: 0, domid: 0, frame: 0 };
    });
    if (version === 1) {
      for (const { flags, frame } of reserved) {
        const type = flags & GTF.typeMask;
        if (type === GTF.transitive || (type === GTF.permitAccess && frame >= 2 ** 32)) return -Errno.ERANGE;
      }
      if (entries.statusFrames.some((mfn) => this.#memory.heapFrameInUse(mfn))) return -Errno.EBUSY;
      for (const mfn of entries.statusFrames.splice(0)) this.#memory.freeHeapFrame(mfn);
    }
    entries.clear();
    entries.version = version;
    if (version === 2) this.#growStatus();
    for (const [ref, entry] of kept.entries()) entries.store(ref, entry);
    return 0;
  }

  /** GNTTABOP_swap_grant_ref: a GNTST status. */
  swap(a: number, b: number): number {
    const { entries, active } = this;
    if (a >= entries.count || b >= entries.count) return GNTST.badGntref;
    if (a === b) return GNTST.okay;
    if (active.has(a) || active.has(b)) return GNTST.eagain;
    entries.swap(a, b);
    return GNTST.okay;
  }

  /** Ends a use of a grant: a PIN counter goes down, and the table's flags go with the last use of their kind. */
  unpin(ref: number, pin: number, wrote: boolean): void {
    const entry = this.active.get(ref);
    if (entry === undefined) throw new Bug(`grant ${ref} is not in use`);
    entry.pin -= pin;
    this.settle(ref, entry.pin, wrote);
  }

  /** Clears the flags of the table that a grant with that pin has no longer, and forgets one that is not in use. */
  settle(ref: number, pin: number, wrote: boolean): void {
    if (pin === 0) this.active.delete(ref);
    const flags = (pin === 0 ? GTF.reading : 0) | (wrote && !hasWriters(pin) ? GTF.writing : 0);
    if (flags !== 0) this.entries.clearStatus(ref, flags);
  }

  // What others hold of the domain's frames

  /** Takes a reference, and a use as writable, for a mapping of `domid`. False when the frame cannot be had so. */
  hold(domid: number, mfn: number, writable: boolean): boolean {
    const memory = this.#memory;
    if (memory.frames.indexOfMfn(mfn) < 0) return false;
    if (writable ? memory.getPageAndType(mfn, PageType.writable) !== 0 : !memory.getPage(mfn)) return false;
    // Entries of the domain's own tables give their frames back themselves.
    if (domid === memory.frames.domid) return true;
    let held = this.#holds.get(domid);
    if (held === undefined) {
      held = new Map();
      this.#holds.set(domid, held);
    }
    let hold = held.get(mfn);
    if (hold === undefined) {
      hold = { refs: 0, writable: 0 };
      held.set(mfn, hold);
    }
    hold.refs++;
    if (writable) {
      hold.writable++;
      memory.addWriter(mfn);
    }
    return true;
  }

  /** Puts what `hold` took. Nothing happens when the domain holds no such thing: it was lost, and all that it held put. */
  putHold(domid: number, mfn: number, writable: boolean): void {
    if (domid === this.#memory.frames.domid) {
      this.#put(mfn, writable);
      return;
    }
    const held = this.#holds.get(domid);
    const hold = held?.get(mfn);
    if (held === undefined || hold === undefined || (writable && hold.writable === 0)) return;
    hold.refs--;
    if (writable) hold.writable--;
    if (hold.refs === 0) held.delete(mfn);
    if (held.size === 0) this.#holds.delete(domid);
    if (writable) this.#memory.removeWriter(mfn);
    this.#put(mfn, writable);
  }

  #put(mfn: number, writable: boolean): void {
    if (writable) this.#memory.putPageAndType(mfn);
    else this.#memory.putPage(mfn);
  }

  /** Everything that others hold: for the audit. */
  *held(): IterableIterator<{ domid: number; mfn: number; refs: number; writable: number }> {
    for (const [domid, held] of this.#holds) for (const [mfn, hold] of held) yield { domid, mfn, ...hold };
  }

  /** A domain is gone without having given back what it used: its thread died. */
  releaseLost(domid: number): void {
    for (const [mfn, { refs, writable }] of [...(this.#holds.get(domid) ?? [])]) {
      for (let i = 0; i < refs; i++) this.putHold(domid, mfn, i < writable);
    }
    for (const [ref, entry] of [...this.active]) if (entry.domid === domid) this.settle(ref, 0, true);
  }
}
