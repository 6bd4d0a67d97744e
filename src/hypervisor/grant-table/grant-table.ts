/**
 * A domain's grant table: frames of the Xen heap that the guest fills with entries, each of which lets one other domain use one of
 * its frames (xen/grant_table.h). Version 1 of the entry layout.
 *
 * The entries are the guest's and may change at any time: each is read once for a use, and what was found then is what counts.
 */
import { GNTST, GrantEntryV1, GTF } from "../../abi/grant-table.ts";
import type { DomainMemory } from "../mm/domain-memory.ts";
import { PageType } from "../mm/frame-table.ts";
import { MAX_GRANT_FRAMES, PAGE_SIZE } from "../mm/memory-map.ts";

const ENTRIES_PER_FRAME = PAGE_SIZE / GrantEntryV1.size;

/** What a grant lets its user do with a frame. */
export interface GrantedFrame {
  readonly mfn: number;
  readonly readonly: boolean;
}

export class GrantTable {
  readonly #memory: DomainMemory;
  /** Frames of the table, in order (mfns). */
  readonly #frames: number[] = [];

  constructor(memory: DomainMemory) {
    this.#memory = memory;
    this.grow(1);
  }

  readonly version = 1;

  get frames(): readonly number[] {
    return this.#frames;
  }

  /** Makes the table at least `count` frames long. False beyond the limit. */
  grow(count: number): boolean {
    if (count > MAX_GRANT_FRAMES) return false;
    while (this.#frames.length < count) this.#frames.push(this.#memory.allocHeapFrame("writable"));
    return true;
  }

  /** Writes an entry: how the toolstack grants the console and xenstore rings to Domain 0. */
  seed(ref: number, domid: number, mfn: number): void {
    const view = this.#entry(ref);
    if (view === undefined) return;
    GrantEntryV1.domid.set(view, 0, domid);
    GrantEntryV1.frame.set(view, 0, mfn);
    GrantEntryV1.flags.set(view, 0, GTF.permitAccess);
  }

  /** The frame that `ref` grants to `user`; a GNTST status when it grants none. */
  lookUp(ref: number, user: number): GrantedFrame | number {
    const view = this.#entry(ref);
    if (view === undefined) return GNTST.badGntref;
    const flags = GrantEntryV1.flags.get(view, 0);
    if ((flags & GTF.typeMask) !== GTF.permitAccess) return GNTST.generalError;
    if (GrantEntryV1.domid.get(view, 0) !== user) return GNTST.generalError;
    return { mfn: GrantEntryV1.frame.get(view, 0), readonly: (flags & GTF.readonly) !== 0 };
  }

  /** GNTTABOP_swap_grant_ref: a GNTST status. */
  swap(a: number, b: number): number {
    const first = this.#entry(a);
    const second = this.#entry(b);
    if (first === undefined || second === undefined) return GNTST.badGntref;
    for (let i = 0; i < GrantEntryV1.size; i++) {
      const byte = first.getUint8(i);
      first.setUint8(i, second.getUint8(i));
      second.setUint8(i, byte);
    }
    return GNTST.okay;
  }

  /**
   * Copies between a frame of this domain and `bytes`. A GNTST status: the frame has to be the domain's, and for writing neither a
   * page table nor a descriptor page.
   */
  copyFrame(mfn: number, offset: number, bytes: Uint8Array, write: boolean): number {
    const memory = this.#memory;
    const start = memory.hostOffset(mfn);
    if (start < 0) return GNTST.badPage;
    const inMemory = memory.bytes.subarray(start + offset, start + offset + bytes.length);
    if (!write) {
      if (!memory.getPage(mfn)) return GNTST.badPage;
      bytes.set(inMemory);
      memory.putPage(mfn);
      return GNTST.okay;
    }
    if (memory.getPageAndType(mfn, PageType.writable) !== 0) return GNTST.generalError;
    inMemory.set(bytes);
    memory.caches.invalidateCode(mfn);
    memory.putPageAndType(mfn);
    return GNTST.okay;
  }

  #entry(ref: number): DataView | undefined {
    const frame = this.#frames[Math.floor(ref / ENTRIES_PER_FRAME)];
    if (frame === undefined) return undefined;
    const offset = this.#memory.hostOffset(frame) + (ref % ENTRIES_PER_FRAME) * GrantEntryV1.size;
    return new DataView(this.#memory.buffer, offset, GrantEntryV1.size);
  }
}
