import { describe, expect, test } from "vitest";
import { BASE_MFN, largestMaxPages, memoryMap, PAGE_SIZE } from "../../../src/hypervisor/mm/memory-map.ts";

const MiB = 1 << 20;

describe("the memory map", () => {
  test.each([
    ["the smallest domain", 1, 1],
    ["a domain of 256 MiB", 65536, 65536],
    ["room to balloon", 65536, 262144],
    ["3 GiB", 786432, 786432],
  ])("%s: parts follow each other without gaps", (_name, pages, maxPages) => {
    const map = memoryMap({ pages, maxPages, vcpus: 4, engineBytes: 40 * MiB + 1 });
    expect(map.baseMfn).toBe(BASE_MFN);
    expect(map.ownFrames).toBeGreaterThanOrEqual(maxPages);
    expect(map.heapMfn).toBe(map.baseMfn + map.ownFrames);
    expect(map.m2pMfn).toBe(map.heapMfn + map.heapFrames);
    expect(map.totalFrames).toBe(map.m2pMfn + map.m2pFrames - map.baseMfn);
    expect(map.m2pFrames * 512).toBeGreaterThanOrEqual(map.totalFrames);
    expect(map.ramOffset % 65536).toBe(0);
    expect(map.ramOffset).toBeGreaterThanOrEqual(40 * MiB + 1);
    expect(map.bytes).toBeGreaterThanOrEqual(map.ramOffset + map.totalFrames * PAGE_SIZE);
    expect(map.bytes).toBe(map.wasmPages * 65536);
  });

  test("the M2P has an entry for every frame, its own too, and no frame more than that takes", () => {
    for (let maxPages = 1; maxPages <= 1200; maxPages++) {
      const { totalFrames, m2pFrames } = memoryMap({ pages: 1, maxPages, vcpus: 1, engineBytes: MiB });
      expect(m2pFrames * 512).toBeGreaterThanOrEqual(totalFrames);
      expect((m2pFrames - 1) * 512).toBeLessThan(totalFrames - 1);
    }
  });

  test("does not depend on the pages given at boot", () => {
    const a = memoryMap({ pages: 1024, maxPages: 4096, vcpus: 1, engineBytes: MiB });
    const b = memoryMap({ pages: 4096, maxPages: 4096, vcpus: 1, engineBytes: MiB });
    expect({ ...a, pages: 0 }).toEqual({ ...b, pages: 0 });
  });

  test("the largest maximum fits, and one more does not", () => {
    const most = largestMaxPages(64 * MiB);
    expect(memoryMap({ pages: 1, maxPages: most, vcpus: 1, engineBytes: 64 * MiB }).wasmPages).toBeLessThanOrEqual(
      65536,
    );
    expect(() => memoryMap({ pages: 1, maxPages: most + 1, vcpus: 1, engineBytes: 64 * MiB })).toThrow(RangeError);
  });

  test.each([
    ["no pages", 0, 1, 1],
    ["a maximum below the reservation", 2, 1, 1],
    ["no vCPU", 1, 1, 0],
    ["a fraction of a page", 1.5, 2, 1],
    ["a fraction of a page as the maximum", 1, 2.5, 1],
    ["a fraction of a vCPU", 1, 1, 1.5],
  ])("refuses %s", (_name, pages, maxPages, vcpus) => {
    expect(() => memoryMap({ pages, maxPages, vcpus, engineBytes: MiB })).toThrow(RangeError);
  });
});
