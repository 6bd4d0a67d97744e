import { beforeEach, describe, expect, test } from "vitest";
import { Errno } from "../../../src/abi/errno.ts";
import { PageType } from "../../../src/hypervisor/mm/frame-table.ts";
import { exchangeFrames, giveFrame, takeFrames } from "../../../src/hypervisor/mm/reservation.ts";
import { audit } from "./audit.ts";
import { World } from "./world.ts";

describe("the reservation", () => {
  test("hands out every spare frame once, then no more", () => {
    const world = new World({ pages: 16, maxPages: 64 });
    const taken = new Set(Array.from({ length: 48 }, () => takeFrames(world.memory, 0)));
    expect(taken.size).toBe(48);
    expect(taken.has(-1)).toBe(false);
    expect(takeFrames(world.memory, 0)).toBe(-1);
    expect(world.memory.refusals.last?.rule).toBe("reservation");
    expect(audit(world.memory, world.engine)).toEqual([]);
  });

  test("hands out aligned runs, and finds those that come back", () => {
    const world = new World({ pages: 16, maxPages: 1040 });
    const first = takeFrames(world.memory, 9);
    expect(first % 512).toBe(0);
    expect(takeFrames(world.memory, 9)).toBe(first + 512);
    expect(takeFrames(world.memory, 9)).toBe(-1);
    for (let i = 0; i < 512; i++) expect(giveFrame(world.memory, first + i)).toBe(true);
    expect(takeFrames(world.memory, 9)).toBe(first);
    expect(audit(world.memory, world.engine)).toEqual([]);
  });

  test("gives the same frames again and again without growing", () => {
    const world = new World({ pages: 16, maxPages: 32 });
    for (let i = 0; i < 1000; i++) {
      const mfn = takeFrames(world.memory, i % 4);
      for (let j = 0; j < 1 << (i % 4); j++) expect(giveFrame(world.memory, mfn + j)).toBe(true);
    }
    expect(world.memory.frames.ownPages).toBe(16);
    expect(audit(world.memory, world.engine)).toEqual([]);
  });

  test("a frame comes back scrubbed", () => {
    const world = new World({ pages: 16, maxPages: 32 });
    const mfn = takeFrames(world.memory, 0);
    world.raw(mfn - world.base, 5, 0x1234n);
    giveFrame(world.memory, mfn);
    expect(takeFrames(world.memory, 0)).toBe(mfn);
    expect(world.read(mfn - world.base, 5)).toBe(0n);
  });
});

describe("a frame that is given back", () => {
  test("is the domain's own, not of the heap, and what is refused says so", () => {
    const { memory, base } = new World();
    const heap = memory.allocHeapFrame("writable");
    for (const mfn of [5, base - 1, heap, memory.map.aliasMfn]) {
      const before = memory.refusals.count;
      expect([giveFrame(memory, mfn), memory.refusals.count]).toEqual([false, before + 1]);
      expect(memory.refusals.last).toMatchObject({ rule: "foreign-frame", mfn: `0x${mfn.toString(16)}` });
    }
    expect([giveFrame(memory, base), memory.frames.isFree(0)]).toEqual([true, true]);
  });

  test("keeps its pin, and goes when that is taken off", () => {
    const world = new World();
    world.build();
    expect(world.memory.tables.pin(world.mfn(1), 4)).toBe(0);
    expect(giveFrame(world.memory, world.mfn(1))).toBe(true);
    expect([1, 2, 3, 4].map((pfn) => world.memory.frames.typeCount(pfn))).toEqual([1, 1, 1, 1]);
    expect(world.memory.tables.unpin(world.mfn(1))).toBe(0);
    world.memory.types.settle();
    expect([world.memory.frames.isFree(1), world.memory.frames.typeCount(2)]).toEqual([true, 0]);
    expect(audit(world.memory, world.engine)).toEqual([]);
  });

  test("is kept while a page table maps it", () => {
    const world = new World();
    world.boot();
    expect(giveFrame(world.memory, world.mfn(20))).toBe(true);
    expect([world.memory.frames.isFree(20), giveFrame(world.memory, world.mfn(20))]).toEqual([false, true]);
  });
});

test("a run that cannot be had is refused with its reason", () => {
  const { memory } = new World({ pages: 16, maxPages: 2048 });
  memory.maxPages = 4096;
  for (let i = 0; i < 4; i++) expect(takeFrames(memory, 9)).toBeGreaterThan(0);
  expect([takeFrames(memory, 9), memory.refusals.last?.text]).toEqual([-1, "no 512 contiguous frames are left"]);
});

describe("an exchange (XENMEM_exchange)", () => {
  let world: World;
  beforeEach(() => {
    world = new World();
  });
  const exchange = (give: number[], count = give.length, order = 0) => exchangeFrames(world.memory, give, count, order);

  test("gives new frames for old ones", () => {
    expect(exchange([world.mfn(0), world.mfn(20)])).toEqual([world.mfn(64), world.mfn(65)]);
    expect([0, 20].map((pfn) => world.memory.frames.isFree(pfn))).toEqual([true, true]);
    expect(world.memory.frames.ownPages).toBe(64);
  });

  test("is of frames that nobody uses or refers to, each once", () => {
    const { memory } = world;
    expect(memory.getPage(world.mfn(21))).toBe(true);
    expect(memory.getPageAndType(world.mfn(22), PageType.writable)).toBe(0);
    memory.frames.putAllocated(23);
    const heap = memory.allocHeapFrame("writable");
    const end = world.base + memory.frames.total;
    for (const bad of [
      world.mfn(21),
      world.mfn(22),
      world.mfn(23),
      heap,
      world.base - 1,
      5,
      end,
      end + 1,
      world.mfn(20),
    ]) {
      expect([bad, exchange([world.mfn(20), bad])]).toEqual([bad, -Errno.EINVAL]);
      expect(memory.refusals.last).toMatchObject({ rule: "reservation", mfn: `0x${bad.toString(16)}` });
    }
    expect(memory.frames.refs(20)).toBe(1);
  });

  test("of a table that is yet to be taken apart is refused", () => {
    const { memory } = world;
    world.build();
    expect(memory.tables.pin(world.mfn(1), 4)).toBe(0);
    memory.tables.dropPin(1);
    memory.frames.putPage(1);
    expect(exchange([world.mfn(1)])).toBe(-Errno.EINVAL);
    memory.frames.getPage(1);
    memory.types.settle();
    expect(exchange([world.mfn(1)])).toEqual([world.mfn(64)]);
  });

  test("that finds no room leaves all as it was", () => {
    const before = world.memory.frames.used;
    expect(exchange([world.mfn(20)], 3, 9)).toBe(-Errno.ENOMEM);
    expect([world.memory.frames.used, world.memory.frames.ownPages, world.memory.frames.isFree(20)]).toEqual([
      before,
      64,
      false,
    ]);
    expect(audit(world.memory, world.engine)).toEqual([]);
  });
});
