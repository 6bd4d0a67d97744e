/**
 * Validation that stops half way (the classes of XSA-299 and XSA-310).
 *
 * To validate an L3 or L4 may take longer than a hypercall should, so it stops, remembers how far it came, and goes on when the call is
 * made again. Meanwhile the guest runs. Entries below the mark hold references and those above do not; a use and a reference belong to
 * nobody but the half-done work. Each advisory was one more way to lose track of that: to take the table apart as if it were whole, to
 * put the extra reference twice, to use the table before it is done. The invariants: a PARTIAL table with a count is used by nobody,
 * written by nobody, given to no other type; whoever asks for the same type goes on with it; taking it apart puts what is below the
 * mark; a dying domain does that too.
 *
 * Without them a guest gets a page table whose entries nobody has looked at, or a count that comes down to zero too early, which makes
 * a frame in use free.
 */
import { beforeEach, describe, expect, test } from "vitest";
import { Errno } from "../../../src/abi/errno.ts";
import { applyMmuUpdate } from "../../../src/hypervisor/hypercall/mmu-update.ts";
import { PARTIAL, PageType, VALIDATED } from "../../../src/hypervisor/mm/frame-table.ts";
import { BASE_MFN } from "../../../src/hypervisor/mm/memory-map.ts";
import { RESTART } from "../../../src/hypervisor/mm/page-types.ts";
import { giveFrame } from "../../../src/hypervisor/mm/reservation.ts";
import { audit } from "../mm/audit.ts";
import { P, RW, USER, World } from "../mm/world.ts";

/** An L3 with four L2s below, each with an L1: none of them mapped, none validated. */
const L3 = 20;
const L2S = [21, 22, 23, 24];
const L1 = 25;
let world: World;

beforeEach(() => {
  world = new World({ pages: 48 });
  world.boot([1, 2, 3, 4], 20);
  L2S.forEach((l2, i) => {
    world.write(L3, i, l2, P | RW | USER);
    world.write(l2, 0, L1 + i, P | RW | USER);
    world.write(L1 + i, 0, 30, P | RW | USER);
  });
});

const mfn = (pfn: number) => BASE_MFN + pfn;
const sound = () => expect(audit(world.memory, world.engine)).toEqual([]);
const info = (pfn: number) => world.memory.frames.typeInfo[pfn]!;

/** One go at the pin, with a budget of so many entries. */
function pinFor(budget: number): number {
  const { types, tables } = world.memory;
  types.budget = budget;
  const rc = tables.pin(mfn(L3), PageType.l3);
  types.budget = Number.POSITIVE_INFINITY;
  types.settle();
  return rc;
}

/** Half-way there: a pin of the L3 that stopped. */
function stopped(): void {
  expect(pinFor(1500)).toBe(RESTART);
  expect(info(L3) & PARTIAL).not.toBe(0);
  sound();
}

test("goes on where it stopped, however small the steps", () => {
  let goes = 1;
  while (pinFor(520) === RESTART) {
    sound();
    goes++;
  }
  expect(goes).toBeGreaterThan(2);
  expect(info(L3) & (VALIDATED | PARTIAL)).toBe(VALIDATED);
  sound();
  expect(world.memory.tables.unpin(mfn(L3))).toBe(0);
  world.memory.types.settle();
  sound();
});

describe("while it has stopped", () => {
  beforeEach(stopped);

  test.each<[string, () => unknown, unknown]>([
    ["another type is refused", () => world.memory.tables.pin(mfn(L3), PageType.l2), -Errno.EINVAL],
    ["and a higher one", () => world.memory.tables.pin(mfn(L3), PageType.l4), -Errno.EINVAL],
    ["a writable use is refused", () => world.memory.getPageAndType(mfn(L3), PageType.writable), -Errno.EINVAL],
    ["a descriptor page is refused", () => world.memory.vcpuTables.setGdt(0, [mfn(L3)], 512), -Errno.EINVAL],
    ["there is no pin to take away yet", () => world.memory.tables.unpin(mfn(L3)), -Errno.EINVAL],
    ["its entries cannot be changed", () => applyMmuUpdate(world.memory, 0, mfn(L3) * 4096, 0, 0, 0), -Errno.EINVAL],
    [
      "an L1 entry cannot make it writable",
      () => applyMmuUpdate(world.memory, 0, mfn(4) * 4096 + 8 * 40, 0, (mfn(L3) << 12) | P | RW, 0),
      -Errno.EBUSY,
    ],
  ])("%s", (_name, attempt, answer) => {
    const before = world.read(L3, 0);
    expect(attempt()).toBe(answer);
    world.memory.types.settle();
    expect(world.read(L3, 0)).toBe(before);
    sound();
  });

  test("a table that is to hold it goes on with it", () => {
    expect(applyMmuUpdate(world.memory, 0, mfn(1) * 4096 + 8, 0, (mfn(L3) << 12) | P | RW | USER, 0)).toBe(0);
    world.memory.types.settle();
    expect(info(L3) & (VALIDATED | PARTIAL)).toBe(VALIDATED);
    sound();
  });

  test("giving the frame back does not free what the work still holds", () => {
    expect(giveFrame(world.memory, mfn(L3))).toBe(true);
    expect(world.memory.frames.isFree(L3)).toBe(false);
    sound();
    expect(pinFor(Number.POSITIVE_INFINITY)).toBe(0);
    sound();
    expect(world.memory.tables.unpin(mfn(L3))).toBe(0);
    world.memory.types.settle();
    expect(world.memory.frames.isFree(L3)).toBe(true);
    sound();
  });

  test("a bad entry above the mark undoes what is below it", () => {
    world.write(L3, 400, 1, P | RW | USER);
    expect(pinFor(Number.POSITIVE_INFINITY)).toBe(-Errno.EINVAL);
    expect(L2S.map((pfn) => world.memory.frames.typeCount(pfn))).toEqual([0, 0, 0, 0]);
    sound();
  });

  test("a domain that dies leaves nothing", () => {
    expect(world.memory.relinquish()).toBe(0);
    expect(world.memory.frames.typeInfo.every((value) => value === 0)).toBe(true);
    expect(world.memory.frames.refInfo.every((value) => value === 0)).toBe(true);
  });
});
