/**
 * The page tables that a PV domain starts on: four levels of 4 KiB pages.
 *
 * Invariant: no table's frame is mapped writable, anywhere; the hypervisor validates these tables by type before the first
 * instruction, and refuses what breaks that.
 */
import { PTE } from "../abi/arch-x86-64.ts";

/** A table of `level` (4 to 1) that covers 512^level pages from virtual page `prefix` * 512^level. */
export interface PlannedTable {
  readonly level: number;
  readonly prefix: number;
}

/** Virtual pages [vpn, vpn + pages) onto frames from `pfn`, and the tables that are needed for it beyond those before. */
export interface BootMapping {
  readonly vpn: number;
  readonly pages: number;
  readonly pfn: number;
  /** In order of level, L4 first; table i is in frame `tablesPfn + i`. */
  readonly tables: readonly PlannedTable[];
  readonly tablesPfn: number;
}

const ENTRIES = 512;
const LEVELS = 4;
/** Xen's domain builder writes the same: USER is left to the hypervisor in an L1. */
const TABLE_FLAGS = PTE.present | PTE.rw | PTE.user | PTE.accessed | PTE.dirty;
const PAGE_FLAGS = PTE.present | PTE.rw | PTE.accessed;

const span = (level: number) => ENTRIES ** level;

/** The tables that mapping [vpn, vpn + pages) needs and `mappings` do not have yet. */
export function planTables(mappings: readonly BootMapping[], vpn: number, pages: number): PlannedTable[] {
  const tables: PlannedTable[] = [];
  for (let level = LEVELS; level >= 1; level--) {
    const last = Math.floor((vpn + pages - 1) / span(level));
    for (let prefix = Math.floor(vpn / span(level)); prefix <= last; prefix++) {
      const known = mappings.some(({ tables }) => tables.some((t) => t.level === level && t.prefix === prefix));
      if (!known) tables.push({ level, prefix });
    }
  }
  return tables;
}

/** Writes all tables. `frame` gives the 1024 words of a frame; `mfnOf` what an entry must hold for it. */
export function writeTables(
  mappings: readonly BootMapping[],
  frame: (pfn: number) => Uint32Array,
  mfnOf: (pfn: number) => number,
): void {
  const pfns = new Map<string, number>();
  const key = (level: number, prefix: number) => `${level}:${prefix}`;
  for (const { tables, tablesPfn } of mappings) {
    tables.forEach(({ level, prefix }, i) => {
      pfns.set(key(level, prefix), tablesPfn + i);
    });
  }
  const isTable = new Set(pfns.values());
  const store = (words: Uint32Array, index: number, pfn: number, flags: number) => {
    const mfn = mfnOf(pfn);
    words[index * 2] = ((mfn << 12) | flags) >>> 0;
    words[index * 2 + 1] = mfn >>> 20;
  };

  for (const { vpn, pages, pfn, tables, tablesPfn } of mappings) {
    tables.forEach(({ level, prefix }, i) => {
      if (level === LEVELS) return;
      const parent = frame(pfns.get(key(level + 1, Math.floor(prefix / ENTRIES))) as number);
      store(parent, prefix % ENTRIES, tablesPfn + i, TABLE_FLAGS);
    });
    const end = vpn + pages;
    for (let at = vpn; at < end; ) {
      const prefix = Math.floor(at / ENTRIES);
      const words = frame(pfns.get(key(1, prefix)) as number);
      const stop = Math.min(end, (prefix + 1) * ENTRIES);
      for (; at < stop; at++) {
        const target = pfn + at - vpn;
        store(words, at % ENTRIES, target, isTable.has(target) ? PAGE_FLAGS & ~PTE.rw : PAGE_FLAGS);
      }
    }
  }
}
