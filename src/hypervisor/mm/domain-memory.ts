/**
 * All of a domain's memory management in one object: its frames and their types, its page tables, what its vCPUs point at, guest
 * memory through page tables, the machine-to-physical table, its heap, and why requests were refused.
 */
import { Errno } from "../../abi/errno.ts";
import { AliasFrames } from "../../engine/alias-frames.ts";
import { Bug } from "../bug.ts";
import { Explanations } from "./explanations.ts";
import { ForeignFrames } from "./foreign-frames.ts";
import { FrameTable } from "./frame-table.ts";
import { GuestMemory } from "./guest-memory.ts";
import { MachineToPhys } from "./machine-to-phys.ts";
import type { MemoryMap } from "./memory-map.ts";
import { PageTables } from "./page-tables.ts";
import { PageTypes } from "./page-types.ts";
import { Refusals } from "./refusals.ts";
import type { TranslationCaches } from "./translation-caches.ts";
import { VcpuTables } from "./vcpu-tables.ts";

/** Entries that a hypercall may look at before it becomes a continuation: about a millisecond of work. */
export const PREEMPT_BUDGET = 65_536;

export interface DomainMemoryParts {
  readonly memory: { readonly buffer: ArrayBufferLike };
  readonly map: MemoryMap;
  readonly domid: number;
  readonly caches: TranslationCaches;
  /** System time in ns. */
  readonly now: () => number;
  /** What the engine has of alias frames. Default: an object of its own, which no engine sees. */
  readonly aliases?: AliasFrames;
}

export interface E820Range {
  readonly start: number;
  readonly size: number;
  readonly type: number;
}

export class DomainMemory extends GuestMemory {
  readonly map: MemoryMap;
  readonly frames: FrameTable;
  readonly types: PageTypes;
  readonly tables: PageTables;
  readonly vcpuTables: VcpuTables;
  readonly m2p: MachineToPhys;
  readonly refusals: Refusals;
  readonly why: Explanations;
  readonly caches: TranslationCaches;
  /** Frames of other domains that it maps. */
  readonly foreign: ForeignFrames;
  /** Frames (mfn) that others may write without the engine seeing it: how many mappings do. */
  readonly #writers = new Map<number, number>();
  /** Ceiling of the reservation in frames. */
  maxPages: number;
  /** The physical memory map the guest is shown (XENMEM_memory_map); bytes. */
  e820: readonly E820Range[];
  #nextHeapFrame = 0;
  readonly #freeHeap: number[] = [];
  #dying = false;
  #untouched = false;

  constructor({ memory, map, domid, caches, now, aliases = new AliasFrames() }: DomainMemoryParts) {
    super(memory.buffer, map, caches, aliases);
    this.map = map;
    this.caches = caches;
    this.maxPages = map.maxPages;
    this.e820 = [{ start: 0, size: map.maxPages * 4096, type: 1 }];
    this.refusals = new Refusals(now);
    this.frames = new FrameTable(map, domid);
    this.frames.onFree = (index) => this.#freed(index);
    this.why = new Explanations(this.frames, this.refusals);
    this.foreign = new ForeignFrames(map, caches, aliases);
    this.types = new PageTypes(this.frames, this.words, caches, this.why, this.foreign);
    this.tables = new PageTables(this.types);
    this.vcpuTables = new VcpuTables(this.types, this.tables, caches, map.vcpus);
    for (let frame = 0; frame < map.m2pFrames; frame++)
      this.frames.assignHeap(map.m2pMfn - map.baseMfn + frame, "private");
    this.m2p = new MachineToPhys(map, this.words, () => this.allocHeapFrame("private"));
    this.m2p.setIdentity(map.pages);
    this.types.slots.lead(this.m2p.slotLo, this.m2p.slotHi, this.m2p.ownMfn);
  }

  /**
   * A zeroed frame of the Xen heap (mfn): "private" to the hypervisor, or shared with the guest, who may map it writable or only
   * read it. Given back by `freeHeapFrame`, or when the domain is destroyed. Throws Bug when the heap is used up: whoever hands frames out to
   * guests has a limit below it (MAX_GRANT_FRAMES).
   */
  allocHeapFrame(share: "writable" | "readonly" | "private"): number {
    const again = this.#freeHeap.pop();
    if (again !== undefined) {
      this.frames.assignHeap(again - this.map.baseMfn, share);
      return again;
    }
    if (this.#nextHeapFrame === this.map.heapFrames) throw new Bug("the domain's Xen heap is used up");
    const mfn = this.map.heapMfn + this.#nextHeapFrame++;
    this.frames.assignHeap(mfn - this.map.baseMfn, share);
    this.clearFrame(mfn);
    return mfn;
  }

  /** Whether anyone but the hypervisor refers to a heap frame. */
  heapFrameInUse(mfn: number): boolean {
    return this.frames.refs(mfn - this.map.baseMfn) > 1;
  }

  /** Gives back a frame that `heapFrameInUse` says nobody uses. */
  freeHeapFrame(mfn: number): void {
    this.frames.putAllocated(mfn - this.map.baseMfn);
    this.#freeHeap.push(mfn);
  }

  /** Someone outside may write the frame (mfn) from now on: Domain 0, or another domain. */
  addWriter(mfn: number): void {
    const writers = this.#writers.get(mfn) ?? 0;
    if (writers === 0) this.caches.setUncached(mfn, true);
    this.#writers.set(mfn, writers + 1);
  }

  removeWriter(mfn: number): void {
    const writers = (this.#writers.get(mfn) ?? 0) - 1;
    if (writers < 0) throw new Bug(`0x${mfn.toString(16)} has no writer elsewhere`);
    if (writers > 0) {
      this.#writers.set(mfn, writers);
      return;
    }
    this.#writers.delete(mfn);
    this.caches.setUncached(mfn, false);
  }

  /** A reference to a frame (mfn) and a use of it as `type` (PageType). 0 or -EINVAL. For L2 to L4, outside a hypercall's budget. */
  getPageAndType(mfn: number, type: number): number {
    const index = this.frames.indexOfMfn(mfn);
    if (index < 0) {
      this.why.foreign("foreign-frame", mfn, "", "the hypervisor's caller");
      return -Errno.EINVAL;
    }
    return this.types.getPageAndType(index, type);
  }

  /** Puts what `getPageAndType` took. */
  putPageAndType(mfn: number): void {
    this.types.putPageAndType(this.frames.indexOfMfn(mfn));
    this.types.settle();
  }

  /** A reference only, for reading. False when the frame is not the domain's. */
  getPage(mfn: number): boolean {
    return this.frames.getPage(this.frames.indexOfMfn(mfn));
  }

  putPage(mfn: number): void {
    this.frames.putPage(this.frames.indexOfMfn(mfn));
  }

  /** Runs preemptible work of a hypercall: `work` may see RESTART once it has looked at enough entries. */
  withBudget<T>(vcpu: number, work: () => T): T {
    this.refusals.vcpu = vcpu;
    this.types.budget = PREEMPT_BUDGET;
    try {
      return work();
    } finally {
      this.types.budget = Number.POSITIVE_INFINITY;
    }
  }

  /** A domain that has not run yet gives a frame back that nobody has touched: there is nothing to forget and nothing to clear. */
  giveBackUnused(index: number): void {
    this.#untouched = true;
    this.frames.putAllocated(index);
    this.#untouched = false;
  }

  #freed(index: number): void {
    if (this.#dying) return;
    this.m2p.invalidate(index);
    if (this.#untouched) return;
    const mfn = index + this.map.baseMfn;
    this.caches.dropAllTranslations(mfn);
    this.clearFrame(mfn);
  }

  /**
   * The domain dies: every root, GDT, pin and owner's reference is dropped, and tables are taken apart. Returns how many frames
   * are still held by others (mappings for Domain 0, grants); each goes when its holder puts it. Idempotent.
   * Frames are not scrubbed: whoever gives the memory to another domain does that.
   */
  relinquish(): number {
    this.#dying = true;
    const { frames, types } = this;
    types.budget = Number.POSITIVE_INFINITY;
    for (let vcpu = 0; vcpu < this.map.vcpus; vcpu++) this.vcpuTables.release(vcpu);
    for (let index = 0; index < this.map.ownFrames; index++) {
      this.tables.dropPin(index);
      types.abandon(index);
    }
    types.settle();
    types.forgetLost();
    let held = 0;
    for (let index = 0; index < frames.total; index++) {
      frames.putAllocated(index);
      if (!frames.isFree(index)) held++;
    }
    return held;
  }
}
