/** Single updates of whatever a frame is (mmu_update), and pins: which rule applies, what is stored, which counts move. */
import { beforeEach, describe, expect, test } from "vitest";
import { Errno } from "../../../src/abi/errno.ts";
import { PageType } from "../../../src/hypervisor/mm/frame-table.ts";
import { RESTART } from "../../../src/hypervisor/mm/page-types.ts";
import { A, D, P, RW, USER, World } from "./world.ts";

let world: World;
beforeEach(() => {
  world = new World();
});
const update = (pfn: number, slot: number, lo: number, hi = 0, preserveAd = false) =>
  world.memory.tables.update(pfn, slot, lo, hi, preserveAd);
const lo = (frame: number, flags: number) => (world.mfn(frame) << 12) | flags;
const counts = (pfn: number) => [world.memory.frames.type(pfn), world.memory.frames.typeCount(pfn)];

describe("an update of a frame that is no page table", () => {
  test("is simply stored, and leaves no use and no reference behind", () => {
    const refs = world.memory.frames.refs(20);
    expect(update(20, 3, 0x1234_5678, 0x9abc)).toBe(0);
    expect([world.read(20, 3), counts(20), world.memory.frames.refs(20)]).toEqual([
      0x9abc_1234_5678n,
      [PageType.writable, 0],
      refs,
    ]);
  });

  test("that is in use as writable is stored too", () => {
    expect(world.memory.getPageAndType(world.mfn(20), PageType.writable)).toBe(0);
    expect([update(20, 3, 7), world.read(20, 3), counts(20)]).toEqual([0, 7n, [PageType.writable, 1]]);
  });

  test("that is a descriptor page is refused while it is one, and not afterwards", () => {
    expect(world.memory.getPageAndType(world.mfn(20), PageType.segDesc)).toBe(0);
    expect(update(20, 3, 7)).toBe(-Errno.EINVAL);
    expect([world.memory.refusals.last!.rule, world.read(20, 3)]).toEqual(["wrong-type", 0n]);
    world.memory.putPageAndType(world.mfn(20));
    expect([update(20, 3, 7), world.read(20, 3)]).toEqual([0, 7n]);
  });

  test("that the hypervisor shares to be read is refused", () => {
    const mfn = world.memory.allocHeapFrame("readonly");
    expect(update(mfn - world.base, 0, 7)).toBe(-Errno.EINVAL);
    expect([world.memory.refusals.last!.rule, world.read(mfn - world.base, 0)]).toEqual(["wrong-type", 0n]);
  });

  test("that is not the domain's is refused", () => {
    expect([update(-1, 0, 7), world.memory.refusals.last!.rule]).toEqual([-Errno.EINVAL, "foreign-frame"]);
  });
});

describe("an update of an L1", () => {
  beforeEach(() => world.boot());

  test("keeps ACCESSED and DIRTY when asked to, be the new entry present or not", () => {
    expect(update(4, 20, lo(21, P | RW), 0, true)).toBe(0);
    expect(world.read(4, 20) & BigInt(A | D)).toBe(BigInt(A | D));
    expect(update(4, 20, lo(21, RW), 0, true)).toBe(0);
    expect(world.read(4, 20)).toBe((BigInt(world.mfn(21)) << 12n) | BigInt(RW | A | D));
    expect(update(4, 21, lo(22, P | RW), 0)).toBe(0);
    expect(world.read(4, 21) & BigInt(A | D)).toBe(0n);
    expect(update(4, 22, 0x10, 0)).toBe(0);
    expect(world.read(4, 22)).toBe(0x10n);
  });

  test("moves a reference and a use from the old frame to the new one", () => {
    const before = [world.memory.frames.typeCount(20), world.memory.frames.typeCount(21)];
    expect(update(4, 20, lo(21, P | RW | USER))).toBe(0);
    expect([world.memory.frames.typeCount(20), world.memory.frames.typeCount(21)]).toEqual([
      before[0]! - 1,
      before[1]! + 1,
    ]);
  });
});

describe("an update of an upper table", () => {
  beforeEach(() => world.boot());

  test("an L4's entry is ACCESSED from the start, an L3's is not; those that are kept are asked for", () => {
    expect(update(1, 1, lo(2, P | RW))).toBe(0);
    expect(world.read(1, 1) & 0xfffn).toBe(BigInt(P | RW | USER | A));
    expect(update(2, 1, lo(3, P | RW))).toBe(0);
    expect(world.read(2, 1) & 0xfffn).toBe(BigInt(P | RW | USER));
    world.raw(2, 1, world.read(2, 1) | BigInt(A | D));
    expect(update(2, 1, lo(3, P | RW), 0, true)).toBe(0);
    expect(world.read(2, 1) & 0xfffn).toBe(BigInt(P | RW | USER | A | D));
    expect(update(2, 1, 0x10, 0, true)).toBe(0);
    expect(world.read(2, 1)).toBe(BigInt(0x10 | A | D));
  });

  test("GLOBAL is refused even where all else is as it was", () => {
    expect(update(2, 0, lo(3, P | RW | USER | 0x100))).toBe(-Errno.EINVAL);
    expect(world.memory.refusals.last!.rule).toBe("flags");
  });
});

test("an upper table's slots are the guest's, but for an L4's that are the hypervisor's", () => {
  world.boot();
  expect([update(2, 256, lo(3, P)), update(3, 256, lo(4, P))]).toEqual([0, 0]);
  for (const slot of [256, 271]) {
    expect(update(1, slot, lo(2, P))).toBe(-Errno.EINVAL);
    expect(world.memory.refusals.last!.rule).toBe("reserved-slot");
  }
  expect([update(1, 255, lo(2, P)), update(1, 272, lo(2, P))]).toEqual([0, 0]);
});

test("an entry that was exchanged is put when it was one: its reference, and its use as writable", () => {
  world.boot();
  const { tables, frames } = world.memory;
  const before = [frames.refs(20), frames.typeCount(20)];
  const old = tables.exchangeL1(4, 20, 0, 0);
  expect([world.read(4, 20), frames.refs(20)]).toEqual([0n, before[0]]);
  tables.putL1Entry(old);
  tables.putL1Entry(tables.exchangeL1(4, 20, 0, 0));
  expect([frames.refs(20), frames.typeCount(20)]).toEqual([before[0]! - 1, before[1]! - 1]);
});

describe("the walk for an address", () => {
  const find = (va: number, root = world.mfn(1)) => world.memory.tables.findLeaf(root, va);
  beforeEach(() => {
    // What stands before the first frame is nobody's page table.
    const before = world.memory.map.ramOffset / 4;
    for (let word = before - 1024; word < before; word += 2) world.memory.words[word] = lo(2, P);
  });

  test("ends in an L1's slot, in either half", () => {
    world.build();
    expect([find(0), find(0x1ff_fff), find(0x5000)]).toEqual([4 * 512, 4 * 512 + 511, 4 * 512 + 5]);
    world.write(1, 511, 2, P);
    world.write(2, 510, 3, P);
    world.write(3, 509, 4, P);
    const va = -(2 ** 39) + 510 * 2 ** 30 + 509 * 2 ** 21 + 7 * 4096;
    expect(find(va)).toBe(4 * 512 + 7);
  });

  test("goes through the first frame as through any other", () => {
    world.write(0, 0, 0, P);
    expect(find(0, world.mfn(0))).toBe(0);
  });

  test.each([
    ["a root of somebody else's", 0, () => {}],
    ["an L4's entry is not present", 2 ** 39, () => {}],
    ["an L3's entry is not present", 2 ** 30, () => {}],
    ["an L2's entry is not present", 2 ** 21, () => {}],
    ["an L2's entry is a superpage", 2 ** 21, () => world.write(3, 1, 4, P | 0x80)],
    ["an L2's entry names no frame of the domain's", 2 ** 21, () => world.raw(3, 1, 0x5001n)],
    ["an L3's entry names no frame of the domain's", 2 ** 30, () => world.raw(2, 1, 0x5001n)],
  ])("finds nothing where %s", (what, va, prepare) => {
    world.build();
    prepare();
    expect(find(va, what.startsWith("a root") ? 5 : world.mfn(1))).toBe(-1);
  });
});

describe("uses of a frame", () => {
  test("of a table in limbo begin when it has been taken apart", () => {
    world.boot();
    const { tables, types, frames } = world.memory;
    for (const vcpu of [0, 1]) world.memory.vcpuTables.release(vcpu);
    tables.dropPin(1);
    expect(types.settled).toBe(false);
    expect(frames.typeCount(2)).toBe(1);
    expect(types.getPageAndType(1, PageType.writable)).toBe(0);
    expect([counts(1), frames.typeCount(2)]).toEqual([[PageType.writable, 1], 0]);
    types.settle();
    types.putPageAndType(1);
    expect([1, 2, 3, 4].map((pfn) => frames.refs(pfn))).toEqual([1, 1, 1, 1]);
  });

  test("end before they can not be counted", () => {
    const { types, frames, refusals } = world.memory;
    expect(types.getPageAndType(20, PageType.writable)).toBe(0);
    frames.typeInfo[20] = frames.typeInfo[20]! + 0xff_fffe;
    expect(types.getType(20, PageType.writable, false)).toBe(-Errno.EINVAL);
    expect(refusals.count).toBe(0);
    expect([types.getType(20, PageType.writable), refusals.last!.rule]).toEqual([-Errno.EINVAL, "too-many-references"]);
    expect(frames.typeCount(20)).toBe(0xff_ffff);
  });

  test("of a frame that is not the domain's are refused, and explained to those who ask", () => {
    const { memory } = world;
    const heap = memory.allocHeapFrame("private") - world.base;
    expect(memory.types.getPageAndType(heap, PageType.writable, false)).toBe(-Errno.EINVAL);
    expect(memory.refusals.count).toBe(0);
    expect(memory.types.getPageAndType(heap, PageType.writable)).toBe(-Errno.EINVAL);
    expect(memory.refusals.last!.rule).toBe("foreign-frame");
  });

  test("a stored entry is new code, if it is any", () => {
    const before = world.engine!.invalidations;
    world.memory.types.storeEntry(20, 0, 7, 0);
    expect(world.engine!.invalidations).toBe(before + 1);
  });
});

describe("a validation", () => {
  const { l4 } = PageType;
  const pin = (pfn: number, level: number) => world.memory.tables.pin(world.mfn(pfn), level);

  test("gives upper entries USER, an L4's ACCESSED, refuses nothing, and is new code", () => {
    world.write(1, 0, 2, P);
    world.write(2, 0, 3, P);
    world.write(3, 0, 4, P);
    const before = world.engine!.invalidations;
    expect(pin(1, 4)).toBe(0);
    expect([1, 2, 3].map((pfn) => world.read(pfn, 0) & 0xfffn)).toEqual([P | USER | A, P | USER, P | USER].map(BigInt));
    expect(world.memory.refusals.count).toBe(0);
    expect(world.engine!.invalidations).toBe(before + 4);
  });

  test("that is refused at its first entry leaves nothing to take apart", () => {
    world.raw(4, 0, 0x5001n);
    expect(pin(4, 1)).toBe(-Errno.EPERM);
    expect([world.memory.types.settled, world.memory.frames.typeInfo[4]]).toEqual([true, 0]);
    world.raw(20, 1, 0x0000_8900_0000_0000n);
    expect(world.memory.getPageAndType(world.mfn(20), PageType.segDesc)).toBe(-Errno.EINVAL);
    expect([world.memory.refusals.last!.rule, world.memory.frames.typeInfo[20]]).toEqual(["descriptor", 0]);
  });

  test("looks at as many entries as it may, at one at least, and goes on from there; it is no refusal", () => {
    const { types, frames, refusals } = world.memory;
    for (const [budget, done] of [
      [50, 50],
      [0, 51],
      [-7, 52],
    ] as const) {
      types.budget = budget;
      expect([pin(1, 4), frames.entriesDone[1], frames.typeCount(1)]).toEqual([RESTART, done, 1]);
    }
    types.budget = 512;
    expect([pin(1, 4), refusals.count, types.budget]).toEqual([0, 0, 52]);
  });

  test("of descriptors costs as much as that of a table", () => {
    world.memory.types.budget = 1000;
    expect(world.memory.types.getPageAndType(20, PageType.segDesc)).toBe(0);
    expect(world.memory.types.budget).toBe(1000 - 512);
  });

  test("of a table that was in limbo when it began is not taken for the one that ended", () => {
    const { types, frames, tables } = world.memory;
    world.build();
    expect(pin(1, 4)).toBe(0);
    tables.dropPin(1);
    types.budget = 520;
    expect(pin(1, 4)).toBe(RESTART);
    expect(frames.typeCount(1)).toBe(1);
    types.budget = Number.POSITIVE_INFINITY;
    types.settle();
    expect(frames.typeCount(1)).toBe(1);
    expect([pin(1, 4), frames.typeCount(2), frames.type(1)]).toEqual([0, 1, l4]);
  });

  test("of what was in limbo and is no table any more has nothing to take apart", () => {
    const { types, frames, tables } = world.memory;
    world.build();
    expect(pin(1, 4)).toBe(0);
    tables.dropPin(1);
    expect(types.getPageAndType(1, PageType.writable)).toBe(0);
    types.putPageAndType(1);
    types.settle();
    expect([1, 2, 3, 4].map((pfn) => frames.typeCount(pfn))).toEqual([0, 0, 0, 0]);
  });

  test("is given up where there is one, and nowhere else", () => {
    const { types, frames, tables } = world.memory;
    world.build([1, 2, 3, 4], 10);
    expect([pin(1, 4), types.getPageAndType(20, PageType.writable)]).toEqual([0, 0]);
    for (const pfn of [1, 20, 21]) types.abandon(pfn);
    expect([1, 20, 21].map((pfn) => frames.typeCount(pfn))).toEqual([1, 1, 0]);
    tables.dropPin(1);
    types.abandon(1);
    types.settle();
    expect([1, 2, 3, 4].map((pfn) => [frames.typeCount(pfn), frames.refs(pfn)])).toEqual(Array(4).fill([0, 1]));
  });
});

describe("taking apart", () => {
  test("stops when the budget is used up and something is left; nothing left is the end", () => {
    const { types, tables } = world.memory;
    world.build();
    expect(tables.pin(world.mfn(1), 4)).toBe(0);
    tables.dropPin(1);
    types.budget = 512;
    expect([types.settle(), types.budget, types.settled]).toEqual([false, 0, false]);
    expect([types.settle(), types.settled]).toEqual([false, false]);
    types.budget = 10_000;
    expect([types.settle(), types.settled]).toEqual([true, true]);
    expect(tables.pin(world.mfn(30), 1)).toBe(0);
    tables.dropPin(30);
    types.budget = 1;
    expect([types.settle(), types.budget]).toEqual([true, 1 - 512]);
  });
});

describe("a linear entry", () => {
  const linear = () => update(5, 300, lo(1, P | USER));
  beforeEach(() => {
    expect(world.memory.tables.pin(world.mfn(5), 4)).toBe(0);
  });

  test("names a table that is validated, not one that is being so", () => {
    world.memory.types.budget = 10;
    expect(world.memory.tables.pin(world.mfn(1), 4)).toBe(RESTART);
    world.memory.types.budget = Number.POSITIVE_INFINITY;
    expect(linear()).toBe(-Errno.EINVAL);
    expect([world.memory.tables.pin(world.mfn(1), 4), linear()]).toEqual([0, 0]);
  });

  test("is refused when the table's uses cannot be counted any more (XSA-299 classes)", () => {
    expect(world.memory.tables.pin(world.mfn(1), 4)).toBe(0);
    world.memory.frames.typeInfo[1] = world.memory.frames.typeInfo[1]! + 0xff_fffe;
    expect(linear()).toBe(-Errno.EINVAL);
    expect(world.memory.frames.typeCount(1)).toBe(0xff_ffff);
  });
});

describe("pins", () => {
  test("are of the domain's frames, the first too, once, and taken off once", () => {
    const { tables, refusals } = world.memory;
    expect([tables.pin(world.mfn(0), 1), tables.pin(world.mfn(0), 1), refusals.last!.rule]).toEqual([
      0,
      -Errno.EINVAL,
      "already-pinned",
    ]);
    expect(counts(0)).toEqual([PageType.l1, 1]);
    expect([tables.unpin(world.mfn(0)), tables.unpin(world.mfn(0)), refusals.last!.rule]).toEqual([
      0,
      -Errno.EINVAL,
      "not-pinned",
    ]);
    expect([tables.pin(5, 1), refusals.last!.rule, refusals.last!.mfn]).toEqual([
      -Errno.EINVAL,
      "foreign-frame",
      "0x5",
    ]);
    expect([tables.unpin(5), refusals.last!.rule]).toEqual([-Errno.EINVAL, "foreign-frame"]);
    const heap = world.memory.allocHeapFrame("private");
    expect([tables.pin(heap, 1), tables.unpin(heap), refusals.last!.rule]).toEqual([
      -Errno.EINVAL,
      -Errno.EINVAL,
      "foreign-frame",
    ]);
  });
});
