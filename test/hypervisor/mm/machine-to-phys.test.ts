/** The machine-to-physical table, and the page tables through which the guest reads it (xen/arch-x86/xen-x86_64.h). */
import { beforeEach, expect, test } from "vitest";
import { MachineToPhys } from "../../../src/hypervisor/mm/machine-to-phys.ts";
import { type MemoryMap, memoryMap } from "../../../src/hypervisor/mm/memory-map.ts";

const NX_HI = 0x8000_0000 | 0;
/** Present, USER and ACCESSED, not writable. */
const FLAGS = 0x25;

let map: MemoryMap;
let words: Int32Array;
let table: MachineToPhys;
let invalid: number;
beforeEach(() => {
  map = memoryMap({ pages: 2000, maxPages: 2000, vcpus: 1, engineBytes: 65536 });
  words = new Int32Array(map.bytes / 4);
  let next = map.heapMfn;
  invalid = next;
  table = new MachineToPhys(map, words, () => next++);
});

const entry = (mfn: number, slot: number): [number, number] => {
  const at = map.ramOffset / 4 + (mfn - map.baseMfn) * 1024 + slot * 2;
  return [words[at]!, words[at + 1]!];
};
/** The leaf for the part of the table that says what frame `mfn` is; null where nothing is mapped. */
function leafOf(mfn: number): [number, number] | null {
  const page = Math.floor(mfn / 512);
  let [lo, hi] = [table.slotLo, table.slotHi];
  for (const slot of [0, Math.floor(page / 512), page % 512]) {
    if ((lo & 1) === 0) return null;
    expect(lo & 0xfff).toBe(FLAGS);
    [lo, hi] = entry(lo >>> 12, slot);
  }
  return (lo & 1) === 0 ? null : [lo, hi];
}

test("the domain's frames have their part of it, every other number one page that knows none", () => {
  const end = map.baseMfn + map.m2pFrames * 512;
  const part = (mfn: number) => [(mfn << 12) | FLAGS, NX_HI];
  expect(leafOf(map.baseMfn)).toEqual(part(map.m2pMfn));
  expect(leafOf(end - 1)).toEqual(part(map.m2pMfn + map.m2pFrames - 1));
  for (const mfn of [0, map.baseMfn - 1, end, end + 512, map.aliasMfn + map.aliasFrames - 1])
    expect([mfn, leafOf(mfn)]).toEqual([mfn, part(invalid)]);
  expect(leafOf(2 ** 23)).toBeNull();
  for (let slot = 0; slot < 512; slot++) expect(entry(invalid, slot)).toEqual([-1, -1]);
});

test("tables on the way are no more than present, USER and ACCESSED: NX is the leaf's and the first entry's", () => {
  expect(table.slotHi).toBe(NX_HI);
  expect(entry(table.slotLo >>> 12, 0)[1]).toBe(0);
});

test("says what pfn a frame is, as far as numbers are exact, and that it is none", () => {
  expect(table.get(5)).toBe(-1);
  for (const pfn of [0, 7, 0xffff_ffff, 0x1_0000_0000, 2 ** 53 - 1]) {
    table.set(5, pfn);
    expect(table.get(5)).toBe(pfn);
  }
  table.setRaw(5, 0, 0x20_0000);
  expect(table.get(5)).toBe(-1);
  table.invalidate(5);
  expect([table.get(5), entry(map.m2pMfn, 5)]).toEqual([-1, [-1, -1]]);
  expect([entry(map.m2pMfn, 4), entry(map.m2pMfn, 6)]).toEqual([
    [-1, -1],
    [-1, -1],
  ]);
});

test("is the identity at boot, and copied entry by entry as it stands", () => {
  table.setIdentity(3);
  expect([0, 1, 2, 3].map((index) => table.get(index))).toEqual([0, 1, 2, -1]);
  table.setRaw(1, 0x1234_5678, -2);
  const copy = new Uint32Array(6);
  table.copyRaw(1, copy);
  table.copyRaw(2, copy);
  expect([...copy]).toEqual([0, 0, 0x1234_5678, 0xffff_fffe, 2, 0]);
});
