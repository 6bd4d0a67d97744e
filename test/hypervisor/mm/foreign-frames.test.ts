/** Alias frames by themselves: what stands for a frame of another domain, for how long, and when its owner gets it back (XSA-224, XSA-234). */
import { beforeEach, describe, expect, test } from "vitest";
import { AliasFrames } from "../../../src/engine/alias-frames.ts";
import { ForeignFrames } from "../../../src/hypervisor/mm/foreign-frames.ts";
import { memoryMap } from "../../../src/hypervisor/mm/memory-map.ts";
import type { TranslationCaches } from "../../../src/hypervisor/mm/translation-caches.ts";

const RW = 2;
const map = memoryMap({ pages: 64, maxPages: 64, vcpus: 1, engineBytes: 65536 });
const FRAME = { domid: 5, shard: 1, mfn: 0x4321 };
const OTHER = { domid: 5, shard: 1, mfn: 0x4322 };
const buffer = new SharedArrayBuffer(8192);

let engine: AliasFrames;
let dropped: string[];
let put: string[];
let frames: ForeignFrames;
beforeEach(() => {
  engine = new AliasFrames();
  dropped = [];
  put = [];
  const caches = {
    dropAllTranslations: (mfn: number) => void dropped.push(`all of ${mfn - map.aliasMfn}`),
    dropWriteTranslations: (mfn: number) => void dropped.push(`writes of ${mfn - map.aliasMfn}`),
  };
  frames = new ForeignFrames(map, caches as unknown as TranslationCaches, engine);
  frames.onPut = ({ domid, mfn }, writable) => void put.push(`${domid}:${mfn.toString(16)} ${writable ? "rw" : "ro"}`);
});
const refer = (frame = FRAME, start = 0) => frames.refer(frame, start, buffer) - map.aliasMfn;
const mfn = (index: number) => map.aliasMfn + index;
const reads = (index: number) => engine.read(index * 4096, new DataView(new ArrayBuffer(8)), 0, 8);

describe("an alias frame", () => {
  test("is one for a frame, however many refer to it; another frame has another", () => {
    expect([refer(), refer(), refer(OTHER, 4096), refer({ ...FRAME, domid: 6 })]).toEqual([0, 0, 1, 2]);
    expect([frames.count, frames.get(mfn(1)), frames.get(mfn(3))]).toMatchObject([3, OTHER, undefined]);
  });

  test("stands for it until the last handle and the last entry are gone; its number is used again", () => {
    refer();
    refer();
    frames.addEntry(mfn(0), false);
    frames.forget(mfn(0));
    frames.forget(mfn(0));
    expect([frames.count, frames.refersTo(5)]).toEqual([1, true]);
    reads(0);
    frames.removeEntry(mfn(0), false);
    expect([frames.count, frames.refersTo(5), frames.get(mfn(0))]).toEqual([0, false, undefined]);
    expect(() => reads(0)).toThrow();
    expect([refer(OTHER), refer()]).toEqual([0, 1]);
  });

  test("the entry may be the first to go, the handle the last", () => {
    refer();
    frames.addEntry(mfn(0), true);
    frames.removeEntry(mfn(0), true);
    expect(frames.count).toBe(1);
    frames.forget(mfn(0));
    expect(frames.count).toBe(0);
  });

  test("a domain is referred to until the last of its frames is not", () => {
    refer();
    refer(OTHER, 4096);
    frames.forget(mfn(0));
    expect([frames.refersTo(5), frames.refersTo(6)]).toEqual([true, false]);
    frames.forget(mfn(1));
    expect(frames.refersTo(5)).toBe(false);
  });

  test("that nobody has is nobody's to put", () => {
    refer();
    expect(() => frames.removeEntry(mfn(0), false)).toThrow();
    expect(() => frames.forget(mfn(7))).toThrow();
    expect(frames.putEntry(mfn(7), RW)).toBe(false);
    expect(frames.putEntry(map.aliasMfn - 1, RW)).toBe(false);
  });
});

describe("translations go before the owner gets its frame back", () => {
  test("write translations with the last writable entry, all of them with the last", () => {
    refer();
    for (const writable of [true, true, false, false, false]) frames.addEntry(mfn(0), writable);
    frames.removeEntry(mfn(0), true);
    frames.removeEntry(mfn(0), false);
    expect(dropped).toEqual([]);
    frames.removeEntry(mfn(0), true);
    frames.removeEntry(mfn(0), false);
    expect(dropped).toEqual(["writes of 0"]);
    frames.removeEntry(mfn(0), false);
    expect(dropped).toEqual(["writes of 0", "all of 0"]);
  });

  test("an entry that goes without a grant operation is put as what it was", () => {
    refer();
    frames.addEntry(mfn(0), true);
    frames.addEntry(mfn(0), false);
    expect(frames.putEntry(mfn(0), RW | 1)).toBe(true);
    expect([put, dropped]).toEqual([["5:4321 rw"], ["writes of 0"]]);
    expect(frames.putEntry(mfn(0), 1)).toBe(true);
    expect([put, dropped]).toEqual([
      ["5:4321 rw", "5:4321 ro"],
      ["writes of 0", "all of 0"],
    ]);
  });
});
