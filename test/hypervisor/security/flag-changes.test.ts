/**
 * Flags that a page-table entry must never get (the classes of XSA-148 and XSA-182).
 *
 * An update that changes flags alone takes a short way: the frame is the same, so no count moves and nothing is validated again. Whatever
 * flag that way lets through is a hole. PSE on an L2 entry makes 512 pages of an L1 table's neighbourhood one writable superpage (148).
 * RW on a linear entry makes the table that it names writable (182). The invariant: only flags that no rule looks at may change without
 * validation (`sameMapping`), and a superpage never gets into a table, by whatever way.
 *
 * Without the check a guest with one L2 entry to spare reads and writes all page tables in 2 MiB around an L1 of its own.
 */
import { beforeEach, describe, expect, test } from "vitest";
import { Errno } from "../../../src/abi/errno.ts";
import { applyMmuUpdate } from "../../../src/hypervisor/hypercall/mmu-update.ts";
import { BASE_MFN } from "../../../src/hypervisor/mm/memory-map.ts";
import { audit } from "../mm/audit.ts";
import { A, D, P, RW, USER, World } from "../mm/world.ts";

const PSE = 0x80;
const GLOBAL = 0x100;
let world: World;
beforeEach(() => {
  world = new World({ pages: 32 });
  world.boot();
});

/** mmu_update of a slot of the table at a pfn, by command. */
function update(table: number, slot: number, pfn: number, flags: number, command = 0): number {
  const pointer = (BASE_MFN + table) * 4096 + slot * 8 + command;
  const rc = applyMmuUpdate(world.memory, 0, pointer | 0, 0, ((BASE_MFN + pfn) << 12) | flags, 0);
  world.memory.types.settle();
  expect(audit(world.memory, world.engine)).toEqual([]);
  return rc;
}

/** An upper table, its slot in use, and what that names. */
const upper: [string, number, number, number][] = [
  ["L4", 1, 0, 2],
  ["L3", 2, 0, 3],
  ["L2", 3, 0, 4],
];

describe.each(upper)("a present %s entry", (_level, table, slot, below) => {
  test.each([
    ["PSE", PSE],
    ["GLOBAL", GLOBAL],
    ["PWT", 0x8],
    ["PCD", 0x10],
  ])("does not get %s, by either command", (_flag, flag) => {
    const before = world.read(table, slot);
    for (const command of [0, 2]) {
      expect(update(table, slot, below, P | RW | USER | flag, command)).toBe(-Errno.EINVAL);
      expect(world.read(table, slot)).toBe(before);
    }
    expect(world.memory.refusals.last?.rule).toBe("flags");
  });

  test("may lose and get what no rule looks at", () => {
    for (const flags of [P | RW | USER | A, P | RW | USER | A | D, P | RW, P | RW | USER | 0x200]) {
      expect(update(table, slot, below, flags)).toBe(0);
    }
  });
});

test.each([
  ["L2", 2, 3],
  ["L3", 3, 2],
  ["L4", 4, 1],
])("a superpage in an %s keeps it from being validated", (_level, level) => {
  world.write(10, 7, 11, P | RW | USER | PSE);
  expect(update(4, 10, 10, 0)).toBe(0);
  expect(world.memory.tables.pin(BASE_MFN + 10, level)).toBe(-Errno.EINVAL);
  world.memory.types.settle();
  expect(audit(world.memory, world.engine)).toEqual([]);
});

test.each(upper)("a linear entry of an %s does not become writable", (_level, table) => {
  expect(update(table, 5, table, P | USER)).toBe(0);
  const before = world.read(table, 5);
  for (const command of [0, 2]) {
    expect(update(table, 5, table, P | RW | USER, command)).toBe(-Errno.EINVAL);
    expect(world.read(table, 5)).toBe(before);
  }
});

test.each([
  ["a page table", 3],
  ["the table that holds the entry", 4],
])("an L1 entry that maps %s does not become writable", (_what, pfn) => {
  const before = world.read(4, pfn);
  for (const command of [0, 2]) {
    expect(update(4, pfn, pfn, P | RW | USER | A | D, command)).toBe(-Errno.EBUSY);
    expect(world.read(4, pfn)).toBe(before);
  }
});
