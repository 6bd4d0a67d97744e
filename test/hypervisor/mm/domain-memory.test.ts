/** What a domain's memory does beside its page tables: heap frames, references from outside, frames that go, budgets, the end. */
import { beforeEach, describe, expect, test } from "vitest";
import { Errno } from "../../../src/abi/errno.ts";
import { DOMID } from "../../../src/abi/xen.ts";
import { PREEMPT_BUDGET } from "../../../src/hypervisor/mm/domain-memory.ts";
import { PageType } from "../../../src/hypervisor/mm/frame-table.ts";
import { RESTART } from "../../../src/hypervisor/mm/page-types.ts";
import { P, RW, USER, World } from "./world.ts";

let world: World;
beforeEach(() => {
  world = new World();
});

const bytesOf = (mfn: number) => new Uint8Array(world.memory.buffer, world.memory.hostOffset(mfn), 4096);
const isZero = (mfn: number) => bytesOf(mfn).every((byte) => byte === 0);
const index = (mfn: number) => mfn - world.base;
const calls = () => world.engine!.calls.filter((text) => text.startsWith("setUncached"));

describe("heap frames", () => {
  test("are zero when they are handed out, whatever was there before, each time", () => {
    const { memory } = world;
    bytesOf(memory.map.heapMfn + memory.map.heapFrames - 1).fill(0xaa);
    for (let mfn = memory.map.heapMfn; mfn < memory.map.heapMfn + memory.map.heapFrames; mfn++)
      if (memory.frames.isFree(index(mfn))) bytesOf(mfn).fill(0xaa);
    const first = memory.allocHeapFrame("writable");
    expect(isZero(first)).toBe(true);
    bytesOf(first).fill(0x55);
    memory.freeHeapFrame(first);
    const again = memory.allocHeapFrame("private");
    expect([again, isZero(again), memory.frames.owner[index(again)]]).toEqual([first, true, DOMID.xen]);
    expect(memory.frames.refs(index(again))).toBe(1);
    expect(memory.allocHeapFrame("private")).not.toBe(again);
  });

  test("are in use while anyone but the hypervisor refers to them", () => {
    const mfn = world.memory.allocHeapFrame("writable");
    expect(world.memory.heapFrameInUse(mfn)).toBe(false);
    expect(world.memory.getPage(mfn)).toBe(true);
    expect(world.memory.heapFrameInUse(mfn)).toBe(true);
  });
});

test("a frame is read uncached while anybody outside may write it: from the first writer to the last", () => {
  const { memory } = world;
  const mfn = world.mfn(20);
  memory.addWriter(mfn);
  memory.addWriter(mfn);
  expect(calls()).toEqual([`setUncached ${mfn} true`]);
  memory.removeWriter(mfn);
  expect(calls().length).toBe(1);
  memory.removeWriter(mfn);
  expect(calls()).toEqual([`setUncached ${mfn} true`, `setUncached ${mfn} false`]);
  expect(() => memory.removeWriter(mfn)).toThrow();
  memory.addWriter(mfn);
  expect(calls().at(-1)).toBe(`setUncached ${mfn} true`);
});

describe("references from outside", () => {
  test("are of frames that there are, the first one too; what is refused is explained", () => {
    const { memory } = world;
    expect([memory.getPage(world.base), memory.getPage(world.base - 1)]).toEqual([true, false]);
    expect(memory.getPageAndType(world.base, PageType.writable)).toBe(0);
    expect(memory.refusals.count).toBe(0);
    expect(memory.getPageAndType(5, PageType.writable)).toBe(-Errno.EINVAL);
    expect(memory.refusals.last).toMatchObject({ rule: "foreign-frame", mfn: "0x5" });
    expect(memory.frames.refs(0)).toBe(3);
    memory.putPage(world.base);
    expect(memory.frames.refs(0)).toBe(2);
  });

  test("to a page table hold the tables below; when they are put, so are those", () => {
    const { memory } = world;
    world.build();
    expect(memory.getPageAndType(world.mfn(1), PageType.l4)).toBe(0);
    const uses = () => [1, 2, 3, 4].map((pfn) => memory.frames.typeCount(pfn));
    expect(uses()).toEqual([1, 1, 1, 1]);
    memory.putPageAndType(world.mfn(1));
    expect(uses()).toEqual([0, 0, 0, 0]);
    expect(memory.types.settled).toBe(true);
  });
});

test("a hypercall's budget is its own, and its refusals are its vCPU's", () => {
  const { memory } = world;
  const inside = memory.withBudget(1, () => {
    memory.getPageAndType(0, PageType.l1);
    return memory.types.budget;
  });
  expect([inside, memory.types.budget, memory.refusals.last!.vcpu]).toEqual([
    PREEMPT_BUDGET,
    Number.POSITIVE_INFINITY,
    1,
  ]);
  expect(() =>
    memory.withBudget(0, () => {
      throw new Error("no");
    }),
  ).toThrow();
  expect(memory.types.budget).toBe(Number.POSITIVE_INFINITY);
});

describe("a frame that goes", () => {
  test("is scrubbed and forgotten by translations and the M2P (XSA-1 classes: no page comes with another's data)", () => {
    const { memory, engine } = world;
    bytesOf(world.mfn(20)).fill(0x55);
    engine!.cachedWrites.add(world.mfn(20));
    memory.frames.putAllocated(20);
    expect([isZero(world.mfn(20)), engine!.cachedWrites.size, memory.m2p.get(20)]).toEqual([true, 0, -1]);
  });

  test("before the domain has run is only taken out of the M2P; the next one is scrubbed again", () => {
    const { memory, engine } = world;
    for (const pfn of [20, 21]) bytesOf(world.mfn(pfn)).fill(0x55);
    for (const pfn of [20, 21]) engine!.cachedWrites.add(world.mfn(pfn));
    memory.giveBackUnused(20);
    expect([isZero(world.mfn(20)), engine!.cachedWrites.size, memory.m2p.get(20)]).toEqual([false, 2, -1]);
    expect([memory.frames.isFree(20), memory.frames.ownPages]).toEqual([true, 63]);
    memory.frames.putAllocated(21);
    expect([isZero(world.mfn(21)), engine!.cachedWrites.size]).toEqual([true, 1]);
  });

  test("with its domain is left as it was: who is given the memory next scrubs it", () => {
    const { memory } = world;
    bytesOf(world.mfn(20)).fill(0x55);
    expect(memory.getPageAndType(world.mfn(20), PageType.writable)).toBe(0);
    expect(memory.relinquish()).toBe(1);
    expect(memory.frames.isFree(20)).toBe(false);
    memory.putPageAndType(world.mfn(20));
    expect([memory.frames.used, isZero(world.mfn(20)), memory.m2p.get(20)]).toEqual([0, false, 20]);
  });
});

describe("the end of a domain", () => {
  test("gives up a validation that was under way", () => {
    for (let slot = 0; slot < 200; slot++) world.write(1, slot, 2, P | RW | USER);
    world.memory.types.budget = 50;
    expect(world.memory.tables.pin(world.mfn(1), 4)).toBe(RESTART);
    expect(world.memory.frames.typeCount(1)).toBe(1);
    expect(world.memory.relinquish()).toBe(0);
    expect(world.memory.frames.used).toBe(0);
  });

  test("finishes taking apart what was under way, in one go", () => {
    const { memory } = world;
    world.build();
    expect(memory.tables.pin(world.mfn(1), 4)).toBe(0);
    memory.types.budget = 1;
    memory.tables.dropPin(1);
    memory.types.settle();
    expect(memory.types.settled).toBe(false);
    expect(memory.relinquish()).toBe(0);
    expect([memory.types.settled, memory.frames.used]).toEqual([true, 0]);
  });

  test("drops pins, roots and uses of every vCPU, once", () => {
    world.boot();
    expect(world.memory.vcpuTables.setKernelRoot(1, world.mfn(1))).toBe(0);
    expect([world.memory.relinquish(), world.memory.relinquish(), world.memory.frames.used]).toEqual([0, 0, 0]);
  });
});
