/** Descriptors that the processor may see: Xen 4.17's check_descriptor for 64-bit PV guests, row by row. */
import { expect, test } from "vitest";
import { FLAT } from "../../../src/abi/arch-x86-64.ts";
import { checkDescriptor } from "../../../src/hypervisor/mm/descriptor-check.ts";

const PRESENT = 0x8000;
const RING_3 = 0x6000;
const GATE = PRESENT | 0xc00;
const selector = (value: number) => (value << 16) | 0;

type Row = readonly [what: string, low: number, high: number, allowed: boolean, lowAfter: number, highAfter: number];
const rows: readonly Row[] = [
  ["one that is not present, whatever else", 0, 0x0fff, true, 0, 0x0fff],
  ["a ring-0 code segment, made ring 3", 0x1234, PRESENT | 0x1b00, true, 0x1234, PRESENT | 0x1b00 | RING_3],
  ["a data segment of ring 3", 0, PRESENT | 0x1200 | RING_3, true, 0, PRESENT | 0x1200 | RING_3],
  ["a system descriptor of type 0", 0, PRESENT, true, 0, PRESENT],
  ["a TSS", 0, PRESENT | 0x900, false, 0, PRESENT | 0x900],
  ["an LDT", 0, PRESENT | 0x200, false, 0, PRESENT | 0x200],
  ["an interrupt gate", 0, PRESENT | 0xe00, false, 0, PRESENT | 0xe00],
  ["a trap gate", 0, PRESENT | 0xf00, false, 0, PRESENT | 0xf00],
  ["a gate to the guest's own code: nobody's to use", selector(0x33), GATE | RING_3, true, selector(0x33), GATE],
  ["a gate with parameters", selector(0x33), GATE | 1, false, selector(0x33), GATE | 1],
  ["a gate with reserved bits", selector(0x33), GATE | 0x80, false, selector(0x33), GATE | 0x80],
  ["a gate to the last selector below Xen's", selector(0xdff8), GATE, true, selector(0xdffb), GATE],
  ["a gate to Xen's first selector", selector(0xe000), GATE, false, selector(0xe000), GATE],
  ["a gate to Xen's own code", selector(0xe008), GATE, false, selector(0xe008), GATE],
  ["a gate to the flat 64-bit code", selector(FLAT.cs64), GATE, true, selector(FLAT.cs64), GATE],
  ["a gate into the LDT, at a number that is Xen's in the GDT", selector(0xe004), GATE, true, selector(0xe007), GATE],
];
test.each(rows)("%s", (_what, low, high, allowed, lowAfter, highAfter) => {
  const words = Int32Array.of(7, low, high, 7);
  expect([checkDescriptor(words, 1), ...words]).toEqual([allowed, 7, lowAfter, highAfter, 7]);
});
