/** The hypervisor's slots of an L4, in the modes of VMASST_TYPE_m2p_strict (Xen 4.17's init_xen_l4_slots and fill_ro_mpt, zap_ro_mpt). */
import { beforeEach, expect, test } from "vitest";
import { FIRST_XEN_SLOT, HypervisorSlots, LAST_XEN_SLOT } from "../../../src/hypervisor/mm/hypervisor-slots.ts";

const M2P = [0x1234_5025, 0x8000_0007 | 0] as const;
const OWN_MFN = 0x30_0005;
const L4_MFN = 0x40_0006;
const LINEAR_SLOT = 258;
const NX = 0x8000_0000 | 0;
const COUNT = LAST_XEN_SLOT + 1 - FIRST_XEN_SLOT;

let words: Int32Array;
let slots: HypervisorSlots;
beforeEach(() => {
  words = new Int32Array(COUNT * 2 + 4).fill(7);
  slots = new HypervisorSlots(words);
  slots.lead(...M2P, OWN_MFN);
});
const slot = (n: number) => [words[2 + (n - FIRST_XEN_SLOT) * 2], words[3 + (n - FIRST_XEN_SLOT) * 2]];
const all = () => Array.from({ length: COUNT }, (_, i) => slot(FIRST_XEN_SLOT + i));
const frameOf = ([lo, hi]: readonly (number | undefined)[]) => (hi! & 0xf_ffff) * 2 ** 20 + (lo! >>> 12);

test("filled, they are all the hypervisor's, and nothing beside them is", () => {
  slots.fill(2, L4_MFN);
  expect([words[0], words[1], words.at(-2), words.at(-1)]).toEqual([7, 7, 7, 7]);
  for (const [lo, hi] of all()) expect([lo, hi].includes(7)).toBe(false);
  expect([frameOf(slot(LINEAR_SLOT)), slot(LINEAR_SLOT)[1]! & NX]).toEqual([L4_MFN, NX]);
  const own = all().filter((halves) => frameOf(halves) === OWN_MFN);
  expect(own.length).toBeGreaterThan(0);
  // Not all of them may be executed, and not none.
  expect(new Set(own.map(([, hi]) => hi! & NX))).toEqual(new Set([0, NX]));
  expect(slot(FIRST_XEN_SLOT)).toEqual([0, 0]);
});

test("the M2P is shown when a kernel runs on the table, once; a user's root is as it was", () => {
  slots.fill(2, L4_MFN);
  slots.enterUser(2);
  expect(slot(FIRST_XEN_SLOT)).toEqual([0, 0]);
  slots.enterKernel(2);
  expect(slot(FIRST_XEN_SLOT)).toEqual([...M2P]);
  slots.enterUser(2);
  expect(slot(FIRST_XEN_SLOT)).toEqual([...M2P]);
  for (const halves of [
    [5, 0],
    [0, 5],
  ]) {
    words.set(halves, 2);
    slots.enterKernel(2);
    expect(slot(FIRST_XEN_SLOT)).toEqual(halves);
  }
});

test("strict, it is there from the start, and leaves a user's root", () => {
  slots.m2pStrict = true;
  slots.fill(2, L4_MFN);
  expect(slot(FIRST_XEN_SLOT)).toEqual([...M2P]);
  slots.enterUser(2);
  expect(slot(FIRST_XEN_SLOT)).toEqual([0, 0]);
  slots.enterKernel(2);
  expect(slot(FIRST_XEN_SLOT)).toEqual([0, 0]);
});

test("what a slot may hold is what these have put there", () => {
  for (const strict of [false, true]) {
    slots.m2pStrict = strict;
    slots.fill(2, L4_MFN);
    for (let n = FIRST_XEN_SLOT; n <= LAST_XEN_SLOT; n++) expect(slots.expected(n, L4_MFN)).toContainEqual(slot(n));
  }
  expect(slots.expected(FIRST_XEN_SLOT, L4_MFN)).toContainEqual([...M2P]);
});
