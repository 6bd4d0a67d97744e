/** The frame table by itself, at its borders: what a mutant that is off by one gets wrong. */
import { beforeEach, describe, expect, test } from "vitest";
import {
  FrameTable,
  PARTIAL,
  PageType,
  PINNED,
  REF_COUNT,
  TYPE_SHIFT,
  VALIDATED,
  XEN_HEAP,
} from "../../../src/hypervisor/mm/frame-table.ts";
import { BASE_MFN, type MemoryMap, memoryMap, SPARE_FRAMES } from "../../../src/hypervisor/mm/memory-map.ts";

const PAGES = 64;
let map: MemoryMap;
let frames: FrameTable;
beforeEach(() => {
  map = memoryMap({ pages: PAGES, maxPages: PAGES, vcpus: 1, engineBytes: 65536 });
  frames = new FrameTable(map, 7);
});

describe("frame numbers", () => {
  test.each([
    ["the first", BASE_MFN, 0],
    ["the one before", BASE_MFN - 1, -1],
    ["zero", 0, -1],
    ["all ones", 0xff_ffff_ffff, -1],
  ])("%s", (_what, mfn, index) => {
    expect(frames.indexOfMfn(mfn)).toBe(index);
    expect(frames.indexOf((mfn % 2 ** 20) * 4096, Math.floor(mfn / 2 ** 20))).toBe(index);
  });

  test("the last, and the one behind it", () => {
    const end = BASE_MFN + map.totalFrames;
    expect([end - 1, end].map((mfn) => frames.indexOfMfn(mfn))).toEqual([map.totalFrames - 1, -1]);
    expect([end - 1, end].map((mfn) => frames.indexOf(mfn << 12, 0))).toEqual([map.totalFrames - 1, -1]);
  });

  test("bits beyond what a frame can have are no other frame", () => {
    const lo = (BASE_MFN + 1) << 12;
    expect([0, 1, 2, 0x1000, 0xf_ffff, 0x8000_0000 | 0].map((hi) => frames.indexOf(lo, hi))).toEqual([
      1, -1, -1, -1, -1, 1,
    ]);
    // A memory that reaches beyond 2^20 frames has entries with one more bit.
    const large = new FrameTable({ ...map, totalFrames: 2 ** 20 }, 7);
    expect([0, 1, 2].map((hi) => large.indexOf(0, hi))).toEqual([-1, 2 ** 20 - BASE_MFN, -1]);
  });

  test.each([
    [0, "io"],
    [0xff, "io"],
    [0x100, "other-owner"],
    [BASE_MFN - 1, "other-owner"],
    [BASE_MFN, "free"],
    [BASE_MFN + PAGES, "free"],
    [2 ** 30, "no-such-frame"],
  ])("what %i is to a guest that does not own it: %s", (mfn, kind) => {
    expect(frames.foreignKind(mfn)).toBe(kind);
  });

  test("and what a frame of the hypervisor's is", () => {
    frames.assignHeap(map.heapMfn - BASE_MFN, "private");
    expect(frames.foreignKind(map.heapMfn)).toBe("hypervisor");
    expect(BASE_MFN + map.totalFrames).toBe(map.aliasMfn);
    expect(frames.foreignKind(map.aliasMfn)).toBe("other-owner");
    expect(frames.foreignKind(map.aliasMfn + map.aliasFrames - 1)).toBe("other-owner");
    expect(frames.foreignKind(map.aliasMfn + map.aliasFrames)).toBe("no-such-frame");
  });
});

describe("references", () => {
  test("are of the owner's frames alone", () => {
    expect([frames.getPage(0), frames.getPage(PAGES - 1), frames.getPage(PAGES), frames.getPage(-1)]).toEqual([
      true,
      true,
      false,
      false,
    ]);
    frames.assignHeap(map.heapMfn - BASE_MFN, "private");
    expect(frames.getPage(map.heapMfn - BASE_MFN)).toBe(false);
  });

  test("stop before they overflow", () => {
    frames.refInfo[3] = frames.refInfo[3]! + REF_COUNT - 3;
    expect([frames.getPage(3), frames.refs(3), frames.getPage(3)]).toEqual([true, REF_COUNT - 1, false]);
    expect(frames.refs(3)).toBe(REF_COUNT - 1);
  });

  test("are not taken of a frame that is being freed", () => {
    frames.refInfo[3] = frames.refInfo[3]! & ~REF_COUNT;
    expect(frames.getPage(3)).toBe(false);
  });

  test("the owner's is given back once; the last frees the frame, and a new owner finds nothing of it", () => {
    const freed: number[] = [];
    frames.onFree = (index) => freed.push(index);
    frames.getPage(3);
    expect([frames.putAllocated(3), frames.putAllocated(3), frames.isFree(3)]).toEqual([true, false, false]);
    frames.typeInfo[3] = PageType.l2 << TYPE_SHIFT;
    frames.putPage(3);
    expect([freed, frames.isFree(3), frames.typeInfo[3], frames.refInfo[3], frames.ownPages]).toEqual([
      [3],
      true,
      0,
      0,
      PAGES - 1,
    ]);
    expect(frames.used).toBe(PAGES - 1);
    frames.assign(3);
    expect(frames.used).toBe(PAGES);
    expect([frames.owned(3), frames.refs(3), frames.type(3), frames.ownPages]).toEqual([true, 1, PageType.none, PAGES]);
  });

  test("of the heap's frames do not count as the reservation's", () => {
    const heap = map.heapMfn - BASE_MFN;
    frames.assignHeap(heap, "writable");
    expect([frames.ownPages, frames.type(heap), frames.refInfo[heap]! & XEN_HEAP]).toEqual([
      PAGES,
      PageType.writable,
      XEN_HEAP,
    ]);
    frames.putAllocated(heap);
    expect([frames.isFree(heap), frames.ownPages]).toEqual([true, PAGES]);
    expect(() => frames.putPage(heap)).toThrow();
    expect(() => frames.assign(0)).toThrow();
    expect(() => frames.assignHeap(0, "private")).toThrow();
  });
});

test.each([
  [0, "nothing"],
  [(PageType.l2 << TYPE_SHIFT) | VALIDATED, "nothing"],
  [(PageType.l1 << TYPE_SHIFT) | VALIDATED | 1, "an L1 page table (1 use)"],
  [(PageType.writable << TYPE_SHIFT) | VALIDATED | 3, "a writable page (3 uses)"],
  [(PageType.l4 << TYPE_SHIFT) | VALIDATED | PINNED | 2, "an L4 page table (2 uses, pinned)"],
  [(PageType.l3 << TYPE_SHIFT) | PARTIAL | 1, "an L3 page table (1 use, not fully validated)"],
])("what a frame of type info %i is held as: %s", (info, text) => {
  frames.typeInfo[3] = info;
  expect(frames.heldAs(3)).toBe(text);
});

describe("allocation", () => {
  test.each([0, 1, 4, 9])("of order %i is aligned, contiguous, of free frames, and ends with them", (order) => {
    const size = 1 << order;
    const got: number[] = [];
    for (let index = frames.allocate(order); index >= 0; index = frames.allocate(order)) got.push(index);
    const first = Math.ceil((PAGES + BASE_MFN) / size) * size - BASE_MFN;
    const expected = Array.from(
      { length: Math.floor((PAGES + SPARE_FRAMES - first) / size) },
      (_, i) => first + i * size,
    );
    expect(got).toEqual(expected);
    for (const index of got) for (let i = 0; i < size; i++) expect(frames.owned(index + i)).toBe(true);
    expect(frames.owned(map.ownFrames)).toBe(false);
  });

  test("finds a run again when its last frame is freed, and not before", () => {
    while (frames.allocate(0) >= 0) frames.ownPages += 0;
    for (const index of [8, 9, 10]) frames.putAllocated(index);
    expect(frames.allocate(2)).toBe(-1);
    frames.putAllocated(11);
    expect([frames.allocate(2), frames.allocate(2), frames.allocate(0)]).toEqual([8, -1, -1]);
    frames.putAllocated(20);
    frames.putAllocated(5);
    expect([frames.allocate(0), frames.allocate(0), frames.allocate(0)]).toEqual([5, 20, -1]);
    frames.putAllocated(5);
    frames.putAllocated(20);
    expect([frames.allocate(0), frames.allocate(0), frames.allocate(0)]).toEqual([5, 20, -1]);
  });
});
