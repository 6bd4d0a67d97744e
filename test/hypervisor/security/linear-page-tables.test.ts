/**
 * Linear page tables (the classes of XSA-240 and XSA-286).
 *
 * A read-only entry of a page table may name a table of its own level, so that the guest sees its tables as an array at some address.
 * What the processor then walks through twice is at one time a table of level n and of level n - 1, and two things went wrong with it:
 *
 *  - Taking such a table apart means taking apart the table it names, of the same level, which may name a third. Whoever follows that by
 *    calling itself has a stack as deep as the guest likes (240). The invariant: a table that others of its level name names none itself,
 *    but for itself; so chains are one deep, and nothing here recurses anyway.
 *  - Whoever finds "the L1 table" of an address by walking, or through a cached walk (286), may have arrived at an L2, for the last
 *    step went through a linear entry. Entries stored there by an L1's rules could name any frame of the domain's as a page table:
 *    one that is writable, for instance. The invariant: an entry is stored by the rules of the type that its table holds.
 *
 * Without these checks a guest writes its own page tables, and with them reaches whatever its linear memory holds.
 */
import { beforeEach, expect, test } from "vitest";
import { Errno } from "../../../src/abi/errno.ts";
import { HypercallArgs } from "../../../src/hypervisor/hypercall/arguments.ts";
import { applyMmuUpdate } from "../../../src/hypervisor/hypercall/mmu-update.ts";
import type { HypercallContext } from "../../../src/hypervisor/hypercall/table.ts";
import { updateVaMapping } from "../../../src/hypervisor/hypercall/update-va-mapping.ts";
import { BASE_MFN } from "../../../src/hypervisor/mm/memory-map.ts";
import { audit } from "../mm/audit.ts";
import { P, RW, USER, World } from "../mm/world.ts";

let world: World;
beforeEach(() => {
  world = new World({ pages: 32 });
  world.boot([1, 2, 3, 4, 5, 6, 7], 24);
});

const entryOf = (pfn: number, flags: number) => BigInt(BASE_MFN + pfn) * 4096n + BigInt(flags);

/** mmu_update of a slot of the table at a pfn. */
function update(table: number, slot: number, entry: bigint): number {
  const pointer = (BASE_MFN + table) * 4096 + slot * 8;
  const rc = applyMmuUpdate(
    world.memory,
    0,
    pointer | 0,
    0,
    Number(entry & 0xffff_ffffn) | 0,
    Number(entry >> 32n) | 0,
  );
  world.memory.types.settle();
  expect(audit(world.memory, world.engine)).toEqual([]);
  return rc;
}

/** update_va_mapping of vCPU 0. */
function updateVa(va: number, entry: bigint): unknown {
  const args = new HypercallArgs();
  args.setNumber(0, va);
  args.set(1, Number(entry & 0xffff_ffffn) | 0, Number(entry >> 32n) | 0);
  const context = { domain: { memory: world.memory, vcpuCount: 2 }, vcpu: { id: 0 } } as unknown as HypercallContext;
  return updateVaMapping.run(context, args);
}

/** An L2 table at a pfn, empty and pinned. */
function emptyL2(pfn: number): void {
  for (const slot of [pfn]) expect(update(4, slot, 0n)).toBe(0);
  expect(world.memory.tables.pin(BASE_MFN + pfn, 2)).toBe(0);
}

test.each([
  ["itself", (table: number) => table],
  ["another of its level", () => 8],
])("a table may name %s, read-only", (_name, target) => {
  emptyL2(7);
  emptyL2(8);
  expect(update(7, 3, entryOf(target(7), P | USER))).toBe(0);
  expect(update(7, 4, entryOf(target(7), P | RW | USER))).toBe(-Errno.EINVAL);
});

test("a chain of three is refused, from either end", () => {
  for (const pfn of [7, 8, 9]) emptyL2(pfn);
  expect(update(7, 0, entryOf(8, P | USER))).toBe(0);
  // 8 is named already, and may name none; 7 names one, and may not be named.
  expect(update(8, 0, entryOf(9, P | USER))).toBe(-Errno.EINVAL);
  expect(update(9, 0, entryOf(7, P | USER))).toBe(-Errno.EINVAL);
  expect(world.memory.refusals.last?.rule).toBe("linear-table");
  expect(update(7, 0, 0n)).toBe(0);
  expect(update(8, 0, entryOf(9, P | USER))).toBe(0);
});

test("as many linear entries as there are slots are taken apart without a call for each", () => {
  emptyL2(7);
  emptyL2(8);
  for (let slot = 0; slot < 512; slot++) world.write(9, slot, slot % 2 === 0 ? 8 : 9, P | USER);
  expect(update(4, 9, 0n)).toBe(0);
  expect(world.memory.tables.pin(BASE_MFN + 9, 2)).toBe(0);
  expect(world.memory.frames.linear[9]).toBe(256);
  expect(world.memory.tables.unpin(BASE_MFN + 9)).toBe(0);
  world.memory.types.settle();
  expect(audit(world.memory, world.engine)).toEqual([]);
  expect(world.memory.frames.linear[8]).toBe(0);
});

test("update_va_mapping does not store an L1's entry in an L2 that a linear entry led to", () => {
  // Slot 5 of the L2 names the L2: virtual 10 MiB on is the L2's own entries, seen as pages.
  expect(update(3, 5, entryOf(3, P | USER))).toBe(0);
  const seenAsL1 = 5 * 2 ** 21;
  const before = world.read(3, 9);
  for (const entry of [entryOf(20, P | RW | USER), entryOf(20, P | USER), 0n]) {
    expect(updateVa(seenAsL1 + 9 * 4096, entry)).toBe(-Errno.EINVAL);
  }
  expect(world.read(3, 9)).toBe(before);
  expect(world.memory.refusals.last?.rule).toBe("not-mapped");
  // Nor is the L1 itself taken away by way of its page in the array.
  expect(updateVa(seenAsL1, 0n)).toBe(-Errno.EINVAL);
  expect(audit(world.memory, world.engine)).toEqual([]);
});
