/** Entries of page tables: what Xen 4.17 makes of a 64-bit PV guest's flags (adjust_guest_l1e and _l4e), and which changes touch no count. */
import { expect, test } from "vitest";
import { PTE } from "../../../src/abi/arch-x86-64.ts";
import {
  adjustL1Hi,
  adjustL1Lo,
  GUEST_KERNEL_HI,
  mfnOfEntry,
  sameMapping,
  upperFlags,
} from "../../../src/hypervisor/mm/page-entry.ts";

const { present: P, rw: RW, user: U, global: G, accessed: A, dirty: D } = PTE;

test.each([
  ["the guest's user's: GLOBAL, for both of its modes see the same", P | U, 0, P | U | G, 0],
  ["the guest's kernel's: USER, and marked as the kernel's", P | RW, 0, P | RW | U, GUEST_KERNEL_HI],
  ["the kernel's that says so: stays the kernel's", P | U, GUEST_KERNEL_HI, P | U, GUEST_KERNEL_HI],
  ["the kernel's with a frame number above 2^20", P, 3, P | U, GUEST_KERNEL_HI | 3],
])("an L1 entry is %s", (_whose, lo, hi, storedLo, storedHi) => {
  expect([adjustL1Lo(lo, hi), adjustL1Hi(lo, hi)]).toEqual([storedLo, storedHi]);
});

test("upper entries are USER; an L4's are ACCESSED too", () => {
  expect([2, 3, 4].map(upperFlags)).toEqual([U, U, U | A]);
});

test.each([
  ["nothing", 0, 0, true],
  ["A, D, G, USER and the available bits", A | D | G | U | PTE.avail, 0, true],
  ["NX and the bits above the frame number", 0, 0x8000_0000 | GUEST_KERNEL_HI, true],
  ["RW", RW, 0, false],
  ["PRESENT", P, 0, false],
  ["the frame number, low", 0x1000, 0, false],
  ["the frame number, high", 0, 1, false],
  ["the frame number's highest bit", 0, 0x8_0000, false],
  ["PAT", PTE.pat, 0, false],
  ["PCD", PTE.pcd, 0, false],
])("an entry that differs in %s maps the same, or does not", (_what, lo, hi, same) => {
  const [oldLo, oldHi] = [0x1234_5000 | P, 0];
  expect(sameMapping(oldLo, oldHi, oldLo ^ lo, oldHi ^ hi)).toBe(same);
});

test("a frame number has 40 bits", () => {
  expect(mfnOfEntry(0xffff_f000 | 0, 0xffff_ffff | 0)).toBe(2 ** 40 - 1);
  expect(mfnOfEntry(0x1fff, 1)).toBe(2 ** 20 + 1);
});
