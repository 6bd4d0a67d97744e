import { beforeEach, describe, expect, test } from "vitest";
import { PageType } from "../../../src/hypervisor/mm/frame-table.ts";
import { audit } from "./audit.ts";
import { realEngine } from "./real-engine.ts";
import { A, D, P, RW, USER, World } from "./world.ts";

const EINVAL = -22;
const EPERM = -1;
const EBUSY = -16;

let world: World;
beforeEach(() => {
  world = new World();
});
const pin = (pfn: number, level: number) => world.memory.tables.pin(world.mfn(pfn), level);
const update = (pfn: number, slot: number, value: bigint, preserveAd = false) => {
  const rc = world.memory.tables.update(
    pfn,
    slot,
    Number(value & 0xffff_ffffn) | 0,
    Number(value >> 32n) | 0,
    preserveAd,
  );
  world.memory.types.settle();
  return rc;
};
const entry = (pfn: number, flags: number) => BigInt(world.mfn(pfn)) * 4096n + BigInt(flags);
const foreign = (mfn: number, flags: number) => BigInt(mfn) * 4096n + BigInt(flags);
const check = () => expect(audit(world.memory, world.engine)).toEqual([]);
const lastRule = () => world.memory.refusals.last?.rule;

describe("validation", () => {
  test("a whole tree is validated by pinning its L4", () => {
    world.build();
    expect(pin(1, 4)).toBe(0);
    check();
    expect([1, 2, 3, 4].map((pfn) => world.memory.frames.type(pfn))).toEqual([4, 3, 2, 1]);
    expect(world.memory.frames.type(9)).toBe(PageType.writable);
  });

  test("reserved slots are emptied, and the M2P appears in slot 256 when a kernel runs on the tables", () => {
    world.build();
    world.raw(1, 256, 0xdeadn);
    world.raw(1, 271, 0xdeadn);
    world.raw(1, 272, 0n);
    expect(pin(1, 4)).toBe(0);
    expect([world.read(1, 256), world.read(1, 271)]).toEqual([0n, 0n]);
    check();
    world.memory.vcpuTables.setKernelRoot(0, world.mfn(1));
    const offset = world.caches.translate(0, -(2 ** 47) + world.mfn(9) * 8, "read");
    expect(world.memory.words[offset / 4]).toBe(9);
    expect(world.caches.translate(0, -(2 ** 47) + world.mfn(9) * 8, "write")).toBe(-1);
    expect(world.memory.words[world.caches.translate(0, -(2 ** 47) + 8, "read") / 4]).toBe(-1);
    expect(world.caches.translate(0, -(2 ** 47) + 2 ** 30, "read")).toBe(-1);
  });

  test("what was an L4 keeps the hypervisor's slots, and no table with them is valid", () => {
    world.build();
    expect(pin(1, 4)).toBe(0);
    const [linear, own] = [world.read(1, 258), world.read(1, 262)];
    expect(linear).toBe(entry(1, P | RW | A | D) | (1n << 63n));
    expect(own & 0x67n).toBe(BigInt(P | RW | A | D));
    expect(world.memory.tables.unpin(world.mfn(1))).toBe(0);
    world.memory.types.settle();
    expect([world.read(1, 258), world.read(1, 262)]).toEqual([linear, own]);
    expect([3, 2, 1].map((level) => [pin(1, level), world.memory.types.settle()][0])).toEqual([EINVAL, EINVAL, EBUSY]);
    check();
  });

  test("no walk gets through the hypervisor's slots", () => {
    world = new World({ makeCaches: realEngine() });
    world.boot();
    for (let slot = 257n; slot < 272n; slot++) {
      for (const rest of [0n, 1n << 12n, 258n << 30n, (258n << 30n) | (258n << 21n), 0x7f_ffff_f000n]) {
        const va = Number(BigInt.asIntN(48, (slot << 39n) | rest));
        expect([world.caches.translate(0, va, "read"), world.caches.translate(0, va, "write")]).toEqual([-1, -1]);
      }
    }
  });

  test("an L2 that fails three tables deep is lost sight of, as on Xen, until it is one again", () => {
    world.build();
    world.write(1, 0, 0, 0);
    world.write(1, 1, 2, P | RW | USER);
    world.raw(3, 1, foreign(0x5000, P));
    expect([pin(1, 4), lastRule()]).toEqual([EINVAL, "foreign-frame"]);
    world.memory.types.settle();
    const { frames, types } = world.memory;
    expect([1, 2, 3, 4].map((pfn) => [frames.type(pfn), frames.typeCount(pfn)])).toEqual([
      [4, 0],
      [0, 0],
      [2, 1],
      [1, 1],
    ]);
    expect([[...types.lost], frames.refs(3)]).toEqual([[3], 4]);
    check();
    expect(update(3, 1, 0n)).toBe(EINVAL);
    // It fails again where it failed, and is taken apart; the reference stays.
    expect(pin(3, 2)).toBe(EINVAL);
    types.settle();
    expect([frames.typeCount(3), frames.typeCount(4), frames.refs(3)]).toEqual([0, 0, 2]);
    check();
    // However often: references are not counted up to where they would mean something else.
    expect([pin(1, 4), types.settle(), frames.typeCount(3), frames.refs(3)]).toEqual([EINVAL, true, 1, 4]);
    expect([pin(3, 2), types.settle(), frames.typeCount(3), frames.refs(3)]).toEqual([EINVAL, true, 0, 2]);
    check();
    expect(update(3, 1, 0n)).toBe(0);
    expect(pin(3, 2)).toBe(0);
    check();
    expect(world.memory.relinquish()).toBe(0);
  });

  test("a kernel's entries get USER and bit 52, a user's get GLOBAL", () => {
    world.build();
    world.write(4, 9, 9, P | RW);
    expect(pin(1, 4)).toBe(0);
    expect(world.read(4, 9)).toBe(entry(9, P | RW | USER) | (1n << 52n));
    expect(world.read(4, 10)).toBe(entry(10, P | RW | USER | A | D | 0x100));
  });

  test.each<[string, (w: World) => void, number, string]>([
    ["an L1 that maps itself writable", (w) => w.write(4, 4, 4, P | RW), EBUSY, "wrong-type"],
    ["an L1 that maps its own L3 writable", (w) => w.write(4, 2, 2, P | RW), EBUSY, "wrong-type"],
    ["an entry with PCD", (w) => w.write(4, 9, 9, P | 0x10), EINVAL, "flags"],
    ["an L1 entry with PAT", (w) => w.write(4, 9, 9, P | 0x80), EINVAL, "flags"],
    ["a superpage", (w) => w.write(3, 1, 9, P | 0x80), EINVAL, "flags"],
    ["GLOBAL in an L2", (w) => w.write(3, 0, 4, P | USER | 0x100), EINVAL, "flags"],
    ["an L2 entry that names a frame of someone else", (w) => w.raw(3, 1, foreign(0x5000, P)), EINVAL, "foreign-frame"],
    ["an L2 entry that names a free frame", (w) => w.write(3, 1, 64, P), EINVAL, "foreign-frame"],
    ["an L3 entry that names the L1", (w) => w.write(2, 1, 4, P | USER), EINVAL, "wrong-type"],
    ["an L1 that maps I/O memory", (w) => w.raw(4, 9, foreign(0xb8, P)), EPERM, "io-frame"],
    ["an L1 that maps a frame beyond memory", (w) => w.raw(4, 9, foreign(0x99_9999, P)), EPERM, "no-such-frame"],
    ["an L1 that maps a frame of someone else", (w) => w.raw(4, 9, foreign(0x5000, P)), EBUSY, "foreign-frame"],
    ["an L1 that maps no frame (all ones)", (w) => w.raw(4, 9, foreign(0xff_ffff_ffff, P)), EINVAL, "no-such-frame"],
    ["an L1 that maps the M2P", (w) => w.raw(4, 9, foreign(w.memory.map.m2pMfn, P)), EBUSY, "foreign-frame"],
    [
      "an L1 that maps the M2P's page table",
      (w) => w.raw(4, 9, foreign(w.memory.map.heapMfn, P)),
      EBUSY,
      "foreign-frame",
    ],
    ["an L4 that names itself writable", (w) => w.write(1, 5, 1, P | RW), EINVAL, "linear-table"],
  ])("refuses %s, and nothing stays", (_name, spoil, errno, rule) => {
    world.build();
    spoil(world);
    const rc = pin(1, 4);
    world.memory.types.settle();
    // What a lower level answers passes through the levels above.
    expect(rc).toBe(errno);
    expect(lastRule()).toBe(rule);
    expect(world.memory.refusals.last?.text).toMatch(/^frame 0x|^L\d slot/);
    check();
    expect([1, 2, 3, 4, 9].map((pfn) => world.memory.frames.typeCount(pfn))).toEqual([0, 0, 0, 0, 0]);
  });

  test("stops at its budget and goes on where it was", () => {
    world = new World({ pages: 600 });
    world.build();
    for (let i = 0; i < 40; i++) {
      world.write(3, i + 1, 20 + i, P | USER);
      world.write(4, 20 + i, 20 + i, P);
    }
    let calls = 1;
    world.memory.types.budget = 600;
    let rc = pin(1, 4);
    for (; rc === -85 && calls < 100; calls++) {
      check();
      expect(update(1, 3, 0n)).toBe(EINVAL);
      world.memory.types.budget = 600;
      rc = pin(1, 4);
    }
    expect(rc).toBe(0);
    expect(calls).toBeGreaterThan(10);
    world.memory.types.budget = Number.POSITIVE_INFINITY;
    check();
    expect(world.memory.tables.unpin(world.mfn(1))).toBe(0);
    world.memory.types.settle();
    check();
  });

  test("taking apart stops at its budget too", () => {
    world.build();
    for (let i = 0; i < 20; i++) {
      world.write(3, i + 1, 20 + i, P | USER);
      world.write(4, 20 + i, 20 + i, P);
    }
    expect(pin(1, 4)).toBe(0);
    world.memory.types.budget = 600;
    expect(world.memory.tables.unpin(world.mfn(1))).toBe(0);
    let rounds = 0;
    while (!world.memory.types.settle()) {
      rounds++;
      world.memory.types.budget = 600;
    }
    expect(rounds).toBeGreaterThan(10);
    check();
  });

  test("an unfinished validation is given up when the domain dies", () => {
    world.build();
    world.memory.types.budget = 1;
    expect(pin(1, 4)).toBe(-85);
    expect(world.memory.relinquish()).toBe(0);
    check();
  });
});

describe("pins", () => {
  test("a pin lasts until it is unpinned", () => {
    world.build();
    expect(pin(1, 4)).toBe(0);
    expect(world.memory.tables.unpin(world.mfn(1))).toBe(0);
    world.memory.types.settle();
    check();
    expect(world.memory.frames.typeCount(1)).toBe(0);
  });

  test.each<[string, () => number, string]>([
    ["pinning twice", () => pin(1, 4), "already-pinned"],
    ["pinning as another level", () => pin(1, 3), "wrong-type"],
    ["pinning a frame of someone else", () => world.memory.tables.pin(5, 1), "foreign-frame"],
    ["unpinning what is not pinned", () => world.memory.tables.unpin(world.mfn(2)), "not-pinned"],
    ["unpinning a frame of someone else", () => world.memory.tables.unpin(5), "foreign-frame"],
  ])("refuses %s", (_name, act, rule) => {
    world.build();
    expect(pin(1, 4)).toBe(0);
    expect(act()).toBe(EINVAL);
    expect(lastRule()).toBe(rule);
    check();
  });
});

describe("updates of entries", () => {
  beforeEach(() => world.boot());

  test.each<[string, () => number, number]>([
    ["an L1 entry is cleared", () => update(4, 9, 0n), 0],
    ["a page table may be mapped read-only", () => update(4, 9, entry(2, P | USER)), 0],
    ["a page table may not be mapped writable", () => update(4, 9, entry(2, P | RW | USER)), EBUSY],
    ["an L1 entry may not map I/O memory", () => update(4, 9, foreign(0xb8, P)), EPERM],
    ["an L1 entry may not map a foreign frame", () => update(4, 9, foreign(0x4000, P)), EBUSY],
    [
      "NX and the available bits are the guest's",
      () => update(4, 9, entry(9, P | USER | 0xe00) | (0x8400_0000n << 32n)),
      0,
    ],
    ["an L1 entry with PWT is refused", () => update(4, 9, entry(9, P | 8)), EINVAL],
    ["a frame that is writable does not become an L1", () => update(3, 1, entry(9, P | USER)), EINVAL],
    ["a reserved slot is not the guest's", () => update(1, 256, 0n), EINVAL],
    ["slot 272 is", () => update(1, 272, entry(2, P | USER)), 0],
    ["a linear L4 entry is allowed read-only", () => update(1, 300, entry(1, P | USER)), 0],
    ["and refused writable", () => update(1, 300, entry(1, P | RW | USER)), EINVAL],
    ["a writable page may be updated as memory", () => update(9, 3, 0x1234_5678_9abcn), 0],
    ["a frame of someone else may not", () => update(world.memory.map.m2pMfn - world.base, 3, 1n), EINVAL],
  ])("%s", (_name, act, expected) => {
    expect(act()).toBe(expected);
    check();
  });

  test("a refused update leaves the entry as it was", () => {
    const before = world.read(4, 9);
    expect(update(4, 9, entry(1, P | RW))).toBe(EBUSY);
    expect(world.read(4, 9)).toBe(before);
  });

  test("a page that loses its last writable mapping may become a page table, and its write translations go", () => {
    expect(world.caches.translate(0, 9 * 4096, "write")).toBeGreaterThan(0);
    world.memory.words.fill(0, world.memory.types.wordOf(9, 0), world.memory.types.wordOf(10, 0));
    expect(update(4, 9, entry(9, P | USER))).toBe(0);
    expect(world.engine!.cachedWrites.has(world.mfn(9))).toBe(true);
    expect(update(3, 1, entry(9, P | USER))).toBe(0);
    expect(world.engine!.cachedWrites.has(world.mfn(9))).toBe(false);
    check();
    expect(update(4, 9, entry(9, P | RW | USER))).toBe(EBUSY);
    expect(update(3, 1, 0n)).toBe(0);
    expect(update(4, 9, entry(9, P | RW | USER))).toBe(0);
    check();
  });

  test("PRESERVE_AD keeps the accessed and dirty bits that the processor has set", () => {
    world.raw(4, 9, entry(9, P | USER | RW | A | D));
    expect(update(4, 9, entry(9, P | USER | RW), true)).toBe(0);
    expect(world.read(4, 9) & BigInt(A | D)).toBe(BigInt(A | D));
    expect(update(4, 9, entry(9, P | USER | RW))).toBe(0);
    expect(world.read(4, 9) & BigInt(A | D)).toBe(0n);
    check();
  });

  test("linear tables go one deep", () => {
    for (const pfn of [20, 21]) expect(update(4, pfn, 0n)).toBe(0);
    for (const pfn of [20, 21]) expect(pin(pfn, 3)).toBe(0);
    expect(update(20, 0, entry(21, P | USER))).toBe(0);
    check();
    expect(update(21, 1, entry(20, P | USER))).toBe(EINVAL);
    expect(lastRule()).toBe("linear-table");
    expect(update(2, 1, entry(20, P | USER))).toBe(EINVAL);
    check();
    expect(world.memory.relinquish()).toBe(0);
    check();
  });
});

describe("a shared heap frame", () => {
  test("may be mapped writable but never becomes a page table", () => {
    world.boot();
    const mfn = world.memory.allocHeapFrame("writable");
    expect(update(4, 9, foreign(mfn, P | RW))).toBe(0);
    expect(world.memory.tables.pin(mfn, 1)).toBe(EINVAL);
    check();
  });

  test("that is read-only may not be mapped writable", () => {
    world.boot();
    const mfn = world.memory.allocHeapFrame("readonly");
    expect(update(4, 9, foreign(mfn, P | RW))).toBe(EBUSY);
    expect(update(4, 9, foreign(mfn, P))).toBe(0);
    check();
  });
});

describe("destroying", () => {
  test("brings every count back to zero", () => {
    world.boot();
    world.memory.vcpuTables.setUserRoot(1, world.mfn(1));
    world.memory.allocHeapFrame("writable");
    expect(world.memory.relinquish()).toBe(0);
    check();
    expect(world.memory.frames.ownPages).toBe(0);
    expect(world.memory.frames.typeInfo.every((info) => info === 0)).toBe(true);
    expect(world.memory.frames.refInfo.every((info) => info === 0)).toBe(true);
  });

  test("leaves what others still hold, until they let go", () => {
    world.boot();
    expect(world.memory.getPageAndType(world.mfn(9), PageType.writable)).toBe(0);
    expect(world.memory.relinquish()).toBe(1);
    world.memory.putPageAndType(world.mfn(9));
    expect(world.memory.frames.isFree(9)).toBe(true);
    check();
  });
});
