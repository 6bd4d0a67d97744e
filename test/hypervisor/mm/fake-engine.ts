/**
 * What memory management needs of an engine, without one: a plain page walk on every translation, and a TLB model that remembers
 * write translations until it is told to forget them, so that tests see who forgot to say so.
 */
import type { MemoryMap } from "../../../src/hypervisor/mm/memory-map.ts";
import type { CpuTables, TranslationCaches } from "../../../src/hypervisor/mm/translation-caches.ts";

export class FakeCpu implements CpuTables {
  cr3Kernel = 0;
  cr3User = 0;
  gdt: { mfns: readonly number[]; entries: number } = { mfns: [], entries: 0 };
  ldt: { base: number; entries: number } = { base: 0, entries: 0 };
  setGdt(mfns: readonly number[], entries: number): void {
    this.gdt = { mfns, entries };
  }
  setLdt(base: number, entries: number): void {
    this.ldt = { base, entries };
  }
}

export class FakeEngine implements TranslationCaches {
  readonly vcpus: readonly FakeCpu[];
  readonly #map: MemoryMap;
  readonly #words: Int32Array;
  /** Frames with a write translation that some vCPU may still use. */
  readonly cachedWrites = new Set<number>();
  /** Every call in order, as text. */
  readonly calls: string[] = [];
  invalidations = 0;

  constructor(map: MemoryMap, buffer: ArrayBufferLike) {
    this.#map = map;
    this.#words = new Int32Array(buffer);
    this.vcpus = Array.from({ length: map.vcpus }, () => new FakeCpu());
  }

  flushTlb(vcpu: number | "all"): void {
    this.calls.push(`flushTlb ${vcpu}`);
  }
  flushPage(vcpu: number | "all", va: number): void {
    this.calls.push(`flushPage ${vcpu} ${va}`);
  }
  dropWriteTranslations(mfn: number): void {
    this.cachedWrites.delete(mfn);
  }
  dropAllTranslations(mfn: number): void {
    this.cachedWrites.delete(mfn);
  }
  setUncached(mfn: number, uncached: boolean): void {
    this.calls.push(`setUncached ${mfn} ${uncached}`);
  }
  invalidateCode(): void {
    this.invalidations++;
  }

  translate(vcpu: number, va: number, access: "read" | "write" | "execute"): number {
    const { baseMfn, totalFrames, ramOffset } = this.#map;
    if (!(va >= -(2 ** 47) && va < 2 ** 47)) return -1;
    let mfn = this.vcpus[vcpu]!.cr3Kernel;
    const address = BigInt.asUintN(48, BigInt(va));
    for (let level = 4; level >= 1; level--) {
      if (mfn < baseMfn || mfn >= baseMfn + totalFrames) return -1;
      const slot = Number((address >> BigInt(12 + 9 * (level - 1))) & 511n);
      const word = (ramOffset + (mfn - baseMfn) * 4096) / 4 + slot * 2;
      const lo = this.#words[word]!;
      if ((lo & 5) !== 5 || (access === "write" && (lo & 2) === 0)) return -1;
      mfn = (this.#words[word + 1]! & 0xfffff) * 2 ** 20 + (lo >>> 12);
    }
    if (access === "write") this.cachedWrites.add(mfn);
    return ramOffset + (mfn - baseMfn) * 4096 + Number(address & 4095n);
  }
}
