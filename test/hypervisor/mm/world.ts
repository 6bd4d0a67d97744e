/** A small domain with page tables, for tests: memory, a fake engine, and words to write page tables with. */

import { DomainMemory } from "../../../src/hypervisor/mm/domain-memory.ts";
import { type MemoryMap, memoryMap } from "../../../src/hypervisor/mm/memory-map.ts";
import type { TranslationCaches } from "../../../src/hypervisor/mm/translation-caches.ts";
import { FakeEngine } from "./fake-engine.ts";

export interface WorldOptions {
  readonly pages?: number;
  readonly maxPages?: number;
  readonly vcpus?: number;
  /** Translations by something else than the fake engine. */
  readonly makeCaches?: ((map: MemoryMap, memory: WebAssembly.Memory) => TranslationCaches) | undefined;
}

/** Room for a real engine too. It is address space, not memory. */
const ENGINE_BYTES = 32 << 20;

export const P = 1;
export const RW = 2;
export const USER = 4;
export const A = 0x20;
export const D = 0x40;

export class World {
  readonly memory: DomainMemory;
  readonly caches: TranslationCaches;
  /** The same where it is the fake one. */
  readonly engine: FakeEngine | null;
  readonly base: number;

  constructor({ pages = 64, maxPages = pages, vcpus = 2, makeCaches }: WorldOptions = {}) {
    const map = memoryMap({ pages, maxPages, vcpus, engineBytes: ENGINE_BYTES });
    const memory = new WebAssembly.Memory({ initial: map.wasmPages, maximum: map.wasmPages, shared: true });
    this.engine = makeCaches ? null : new FakeEngine(map, memory.buffer);
    this.caches = this.engine ?? makeCaches!(map, memory);
    this.memory = new DomainMemory({ memory, map, domid: 7, caches: this.caches, now: () => 42 });
    this.base = map.baseMfn;
  }

  mfn(pfn: number): number {
    return this.base + pfn;
  }

  /** Writes an entry behind the hypervisor's back, as a guest writes a page it owns. `frame` is a pfn. */
  write(table: number, slot: number, frame: number, flags: number): void {
    this.raw(table, slot, BigInt(this.mfn(frame)) * 4096n + BigInt(flags));
  }

  raw(table: number, slot: number, value: bigint): void {
    const word = this.memory.types.wordOf(table, slot);
    this.memory.words[word] = Number(value & 0xffff_ffffn) | 0;
    this.memory.words[word + 1] = Number(value >> 32n) | 0;
  }

  read(table: number, slot: number): bigint {
    const word = this.memory.types.wordOf(table, slot);
    return (BigInt(this.memory.words[word + 1]! >>> 0) << 32n) | BigInt(this.memory.words[word]! >>> 0);
  }

  /**
   * L4 at pfn 1, L3 at 2, L2 at 3, L1 at 4 that maps pfns below `mapped` at virtual 0, as far as there are: page tables read-only, the
   * others writable. Not pinned, not loaded.
   */
  build(readonly: readonly number[] = [1, 2, 3, 4], mapped = 512): void {
    this.write(1, 0, 2, P | RW | USER);
    this.write(2, 0, 3, P | RW | USER);
    this.write(3, 0, 4, P | RW | USER);
    for (let pfn = 0; pfn < Math.min(mapped, this.memory.map.pages); pfn++) {
      this.write(4, pfn, pfn, P | A | D | USER | (readonly.includes(pfn) ? 0 : RW));
    }
  }

  /** Builds, pins the L4 and makes it vCPU 0's root. */
  boot(readonly?: readonly number[], mapped?: number): void {
    this.build(readonly, mapped);
    for (const rc of [this.memory.tables.pin(this.mfn(1), 4), this.memory.vcpuTables.setKernelRoot(0, this.mfn(1))]) {
      if (rc !== 0) throw new Error(`boot: ${rc}: ${this.memory.refusals.last?.text}`);
    }
  }
}
