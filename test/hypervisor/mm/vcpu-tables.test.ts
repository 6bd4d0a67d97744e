/** What a vCPU's processor points at: roots, GDT, LDT. What is loaded is held, what is not is let go of, and the processor knows. */
import { beforeEach, describe, expect, test } from "vitest";
import { Errno } from "../../../src/abi/errno.ts";
import { PageType } from "../../../src/hypervisor/mm/frame-table.ts";
import { P, RW, USER, World } from "./world.ts";

let world: World;
beforeEach(() => {
  world = new World();
});
const uses = (...pfns: number[]) => pfns.map((pfn) => world.memory.frames.typeCount(pfn));
const cpu = () => world.engine!.vcpus[0]!;
const flushes = () => world.engine!.calls.filter((text) => text === "flushTlb 0").length;
const lastRefusal = () => world.memory.refusals.last;

describe.each(["setKernelRoot", "setUserRoot"] as const)("%s", (name) => {
  const set = (mfn: number): number => {
    const rc = world.memory.vcpuTables[name](0, mfn);
    world.memory.types.settle();
    return rc;
  };
  const root = () => (name === "setKernelRoot" ? cpu().cr3Kernel : cpu().cr3User);

  test("refuses what is not the domain's, be it the first or not, and says so", () => {
    const heap = world.memory.allocHeapFrame("private");
    for (const mfn of [5, world.base - 1, heap]) {
      expect([set(mfn), lastRefusal()]).toMatchObject([
        -Errno.EINVAL,
        { rule: "foreign-frame", mfn: `0x${mfn.toString(16)}` },
      ]);
      expect(world.memory.refusals.count).toBeGreaterThan(0);
    }
    expect([root(), set(world.mfn(1)), root()]).toEqual([0, 0, world.mfn(1)]);
    expect([set(5), root()]).toEqual([-Errno.EINVAL, world.mfn(1)]);
    expect(uses(1)).toEqual([1]);
  });

  test("holds the new root, then lets go of the old one, the first frame too; the TLB is flushed", () => {
    expect([set(world.mfn(0)), uses(0, 1), flushes()]).toEqual([0, [1, 0], 1]);
    expect([set(world.mfn(1)), uses(0, 1), flushes()]).toEqual([0, [0, 1], 2]);
    expect([set(world.mfn(1)), uses(0, 1)]).toEqual([0, [0, 1]]);
  });
});

test("a user root may be none", () => {
  const { vcpuTables } = world.memory;
  expect([vcpuTables.setUserRoot(0, 0), vcpuTables.setUserRoot(0, world.mfn(1))]).toEqual([0, 0]);
  expect([vcpuTables.setUserRoot(0, 0), cpu().cr3User, uses(1)]).toEqual([0, 0, [0]]);
});

describe("a GDT", () => {
  const set = (mfns: number[], entries: number) => world.memory.vcpuTables.setGdt(0, mfns, entries);

  test("ends where the hypervisor's entries begin", () => {
    expect([set([], 7168), cpu().gdt.entries]).toEqual([0, 7168]);
    expect([set([], 7169), cpu().gdt.entries, lastRefusal()?.rule]).toEqual([-Errno.EINVAL, 7168, "bad-argument"]);
  });

  test("is of descriptor pages; one that cannot be such leaves the old one", () => {
    expect([set([world.mfn(0), world.mfn(20)], 1024), uses(0, 20)]).toEqual([0, [1, 1]]);
    expect(world.memory.getPageAndType(world.mfn(22), PageType.writable)).toBe(0);
    for (const bad of [world.mfn(22), 5]) {
      const before = world.memory.refusals.count;
      expect(set([world.mfn(21), bad], 1024)).toBe(-Errno.EINVAL);
      expect([uses(0, 20, 21), world.memory.refusals.count, cpu().gdt.mfns]).toEqual([
        [1, 1, 0],
        before + 1,
        [world.mfn(0), world.mfn(20)],
      ]);
    }
    expect(lastRefusal()).toMatchObject({ rule: "foreign-frame", mfn: "0x5" });
    expect([set([world.mfn(21)], 512), uses(0, 20, 21)]).toEqual([0, [0, 0, 1]]);
    expect([set([], 0), uses(21)]).toEqual([0, [0]]);
  });
});

describe("an LDT's pages", () => {
  const BASE = 20 * 4096;
  const { vcpuTables } = { vcpuTables: () => world.memory.vcpuTables };
  beforeEach(() => {
    world.boot([1, 2, 3, 4, 0, 20, 21]);
    world.write(4, 22, 22, 0);
    vcpuTables().setLdt(0, BASE, 2048);
  });
  const frame = (page: number) => vcpuTables().ldtFrame(0, page);

  test("are found by the kernel's page tables when they are first asked for, and held from then on", () => {
    expect([uses(20), frame(0), uses(20), frame(0), uses(20)]).toEqual([[0], world.mfn(20), [1], world.mfn(20), [1]]);
    expect([frame(1), uses(20, 21)]).toEqual([world.mfn(21), [1, 1]]);
    // Where they are held from, the page tables are not looked at again.
    world.raw(4, 21, 0n);
    expect(frame(1)).toBe(world.mfn(21));
  });

  test("may be the first frame", () => {
    vcpuTables().setLdt(0, 0, 512);
    expect([frame(0), uses(0)]).toEqual([world.mfn(0), [1]]);
  });

  test("are none where nothing is mapped, where it is writable, or in the hypervisor's range, or without a root", () => {
    expect([frame(2), frame(3)]).toEqual([-1, -1]);
    for (const base of [2 ** 40, -(2 ** 47), 2 ** 47]) {
      vcpuTables().setLdt(0, base, 512);
      expect(frame(0)).toBe(-1);
    }
    vcpuTables().setLdt(1, BASE, 512);
    expect(vcpuTables().ldtFrame(1, 0)).toBe(-1);
  });

  test("go with another LDT, and with another root, not with the same LDT", () => {
    frame(0);
    vcpuTables().setLdt(0, BASE, 2048);
    expect(uses(20)).toEqual([1]);
    vcpuTables().setLdt(0, BASE, 512);
    expect([uses(20), cpu().ldt]).toEqual([[0], { base: BASE, entries: 512 }]);
    frame(0);
    vcpuTables().setLdt(0, BASE + 4096, 512);
    expect(uses(20, 21)).toEqual([0, 0]);
    vcpuTables().setLdt(0, BASE, 512);
    frame(0);
    expect(vcpuTables().setKernelRoot(0, world.mfn(1))).toBe(0);
    expect(uses(20)).toEqual([0]);
  });
});

test("a vCPU that is released points at nothing, and holds nothing", () => {
  world.boot([0, 1, 2, 3, 4, 20, 21]);
  const { vcpuTables, types } = world.memory;
  world.write(30, 0, 2, P | RW | USER);
  for (const [rc] of [
    [vcpuTables.setUserRoot(0, world.mfn(1))],
    [vcpuTables.setGdt(0, [world.mfn(21)], 512)],
    [vcpuTables.setLdt(0, 20 * 4096, 512) ?? 0],
  ])
    expect(rc).toBe(0);
  vcpuTables.ldtFrame(0, 0);
  const before = flushes();
  expect(uses(1, 20, 21)).toEqual([3, 1, 1]);
  vcpuTables.release(0);
  types.settle();
  expect(uses(1, 20, 21)).toEqual([1, 0, 0]);
  expect([cpu().cr3Kernel, cpu().cr3User, cpu().gdt, cpu().ldt, flushes()]).toEqual([
    0,
    0,
    { mfns: [], entries: 0 },
    { base: 0, entries: 0 },
    before + 1,
  ]);
  vcpuTables.release(0);
  expect(uses(1)).toEqual([1]);
});
