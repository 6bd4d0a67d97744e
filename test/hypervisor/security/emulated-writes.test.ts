/**
 * Emulated writes to page tables (the class of XSA-286: a translation that outlives what it stood for).
 *
 * A kernel's store to an L1 table that it has mapped read-only is executed once with that mapping led to a copy, in a frame of the
 * hypervisor's (traps/emulate-pte-write.ts). While it is so led, whatever else the instruction touches goes through page tables that have
 * an entry nobody validated. The invariant: what was learnt then is forgotten before the guest goes on, at every address.
 *
 * Without that a guest that maps one L1 table twice, and stores by one address what it loads by the other (`enter` does both), keeps a
 * translation by which it may write to the hypervisor's frame for ever.
 */
import { expect, test } from "vitest";
import { VMASST_TYPE } from "../../../src/abi/xen.ts";
import { auditDomain } from "../audit-domain.ts";
import { BareGuest, CODE, movImm, STAY } from "../bare-guest.ts";

/** Page tables of a bare guest: L2 and L1. The L1 is mapped read-only at its own address. */
const L2 = 0x102;
const L1 = 0x103;
const TWO_MIB = 2 ** 21;

test.each([
  ["stores once, and loads by another address that maps the table", [0xc8, 0, 0, 2]],
  ["stores by one address and loads by another, eight bytes", [0xff, 0x75, 0]],
  ["stores and loads at the same address", [0x48, 0x87, 0x2c, 0x24]],
])("an instruction that %s leaves no translation of the copy behind", (_name, instruction) => {
  const guest = new BareGuest().handle(14);
  const { memory } = guest.domain;
  const mfn = (pfn: number) => memory.map.baseMfn + pfn;
  guest.domain.setAssist(VMASST_TYPE.writablePagetables, true);
  // The second 2 MiB are the first once more, by the same L1 table.
  expect(memory.tables.update(L2, 1, (mfn(L1) << 12) | 7, 0, false)).toBe(0);
  const slot = L1 * 4096 + 0x1e0 * 8;
  const code = [...movImm(4, slot + 8), ...movImm(5, slot + TWO_MIB), ...instruction, ...STAY];
  guest.code(CODE, code).run();
  expect(auditDomain(guest.domain)).toEqual([]);
});
