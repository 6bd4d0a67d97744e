/** Guest memory as hypercalls read and write it: which addresses, how much of them, and what a fault half way leaves (XSA-212). */
import { beforeEach, describe, expect, test } from "vitest";
import { HYPERVISOR_VIRT_END, HYPERVISOR_VIRT_START } from "../../../src/abi/arch-x86-64.ts";
import { ALIAS_BASE, AliasFrames, aliasMemory } from "../../../src/engine/alias-frames.ts";
import { accessOk, GuestMemory } from "../../../src/hypervisor/mm/guest-memory.ts";
import { memoryMap } from "../../../src/hypervisor/mm/memory-map.ts";
import type { TranslationCaches } from "../../../src/hypervisor/mm/translation-caches.ts";

const map = memoryMap({ pages: 16, maxPages: 16, vcpus: 1, engineBytes: 65536 });
const ALIAS_PAGE = 8;
const MAPPED = 4;

test.each([
  ["the first", 0, true],
  ["the last of the lower half", 2 ** 47 - 2 ** -6, true],
  ["the first that is not canonical", 2 ** 47, false],
  ["the last that is not canonical", -(2 ** 47) - 2 ** -5, false],
  ["the first of the upper half, which is the hypervisor's", -(2 ** 47), false],
  ["the hypervisor's last", HYPERVISOR_VIRT_END - 2 ** -6, false],
  ["the first after the hypervisor's", HYPERVISOR_VIRT_END, true],
  ["a kernel's", -(2 ** 31), true],
])("%s address may be given to a hypercall, or not", (_what, va, allowed) => {
  expect(accessOk(va)).toBe(allowed);
});

/** Virtual pages below MAPPED are the frames of the same number, ALIAS_PAGE is another domain's, page 9 can only be read. */
let memory: GuestMemory;
let forgotten: number[];
const other = new SharedArrayBuffer(4096);
beforeEach(() => {
  forgotten = [];
  const aliases = new AliasFrames();
  aliases.set(0, aliasMemory(other), 0);
  const translate = (_vcpu: number, va: number, access: string) => {
    const page = Math.floor(va / 4096);
    if (page === ALIAS_PAGE) return ALIAS_BASE + (va & 4095);
    if (page === 9 && access === "read") return map.ramOffset + va;
    if (page >= 0 && page < MAPPED) return map.ramOffset + va;
    // The hypervisor's addresses translate for the hypervisor.
    return va < 0 ? map.ramOffset : -1;
  };
  const caches = { translate, invalidateCode: (mfn: number) => void forgotten.push(mfn - map.baseMfn) };
  const buffer = new WebAssembly.Memory({ initial: map.wasmPages, maximum: map.wasmPages, shared: true }).buffer;
  memory = new GuestMemory(buffer, map, caches as unknown as TranslationCaches, aliases);
  for (let i = 0; i < 16 * 4096; i++) memory.bytes[map.ramOffset + i] = (i * 7 + (i >> 8)) & 255;
  new Uint8Array(other).forEach((_byte, i, all) => {
    all[i] = i & 255;
  });
});

test("the hypervisor's range begins where the upper half does", () => {
  expect(HYPERVISOR_VIRT_START).toBe(-(2 ** 47));
});

test("frames with memory are where the map says, others nowhere", () => {
  const end = map.baseMfn + map.totalFrames;
  expect([map.baseMfn - 1, map.baseMfn, end - 1, end].map((mfn) => memory.hostOffset(mfn))).toEqual([
    -1,
    map.ramOffset,
    map.ramOffset + (map.totalFrames - 1) * 4096,
    -1,
  ]);
});

describe("a copy from the guest", () => {
  test.each([
    [0, 4],
    [0, 64],
    [0, 68],
    [1, 4],
    [2, 64],
    [4, 7],
    [3, 1],
    [4090, 12],
    [4092, 8],
    [4096 - 64, 128],
    [100, 9000],
  ])("of %i, %i bytes, is every byte, and none beside", (va, length) => {
    const into = new Uint8Array(length + 2).fill(0xee);
    expect(memory.copyFromGuest(0, va, into.subarray(1, length + 1))).toBe(true);
    const there = memory.bytes.slice(map.ramOffset + va, map.ramOffset + va + length);
    expect([...into]).toEqual([0xee, ...there, 0xee]);
  });

  test("of a page of another domain's is that page's", () => {
    const into = new Uint8Array(12).fill(0xee);
    expect(memory.copyFromGuest(0, ALIAS_PAGE * 4096, into.subarray(2, 10))).toBe(true);
    expect([...into]).toEqual([0xee, 0xee, 0, 1, 2, 3, 4, 5, 6, 7, 0xee, 0xee]);
  });

  test("ends where nothing is mapped, with what lies before", () => {
    const into = new Uint8Array(8);
    expect(memory.copyFromGuest(0, MAPPED * 4096 - 4, into)).toBe(false);
    expect([...into.subarray(0, 4)]).toEqual([...memory.bytes.slice(map.ramOffset + MAPPED * 4096 - 4).subarray(0, 4)]);
    expect([...into.subarray(4)]).toEqual([0, 0, 0, 0]);
    expect(memory.copyFromGuest(0, HYPERVISOR_VIRT_START, into)).toBe(false);
    expect([memory.readU32(0, MAPPED * 4096), memory.readU64(0, MAPPED * 4096)]).toEqual([-1, -1]);
  });
});

describe("a copy to the guest", () => {
  test.each([
    [0, 4],
    [4090, 12],
    [100, 9000],
  ])("of %i, %i bytes, is every byte, and none beside; code of those pages is decoded anew", (va, length) => {
    const before = memory.bytes.slice(map.ramOffset, map.ramOffset + 16 * 4096);
    const from = Uint8Array.from({ length }, (_, i) => (i * 11) & 255);
    expect(memory.copyToGuest(0, va, from)).toBe(true);
    before.set(from, va);
    expect(memory.bytes.slice(map.ramOffset, map.ramOffset + 16 * 4096)).toEqual(before);
    expect(forgotten).toEqual(
      Array.from({ length: Math.floor((va + length - 1) / 4096) + 1 }, (_, page) => page).slice(Math.floor(va / 4096)),
    );
  });

  test("to a page of another domain's is there, and no frame of this one's is forgotten", () => {
    expect(memory.copyToGuest(0, ALIAS_PAGE * 4096 + 16, Uint8Array.of(9, 8, 7, 6))).toBe(true);
    expect([...new Uint8Array(other, 15, 6)]).toEqual([15, 9, 8, 7, 6, 20]);
    expect(memory.copyToGuest(0, ALIAS_PAGE * 4096, Uint8Array.of(1))).toBe(true);
    expect(forgotten).toEqual([]);
  });

  test("ends where nothing may be written, with what lies before; the hypervisor's addresses are nobody's", () => {
    const from = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
    expect(memory.copyToGuest(0, MAPPED * 4096 - 4, from)).toBe(false);
    expect([...memory.bytes.slice(map.ramOffset + MAPPED * 4096 - 4).subarray(0, 4)]).toEqual([1, 2, 3, 4]);
    forgotten.length = 0;
    const before = memory.bytes.slice(map.ramOffset, map.ramOffset + 16);
    for (const va of [HYPERVISOR_VIRT_START, HYPERVISOR_VIRT_END - 8, 9 * 4096, MAPPED * 4096])
      expect(memory.copyToGuest(0, va, from)).toBe(false);
    expect(memory.bytes.slice(map.ramOffset, map.ramOffset + 16)).toEqual(before);
    expect(forgotten).toEqual([]);
  });
});

test("numbers are little-endian, unsigned, of 4 and 8 bytes", () => {
  expect(memory.writeU64(0, 32, 0x1f_ffff_8000_0001)).toBe(true);
  expect([memory.readU64(0, 32), memory.readU32(0, 32), memory.readU32(0, 36)]).toEqual([
    0x1f_ffff_8000_0001, 0x8000_0001, 0x1f_ffff,
  ]);
  expect(memory.writeU32(0, 32, 0xffff_fffe)).toBe(true);
  expect([memory.readU32(0, 32), memory.readU32(0, 36)]).toEqual([0xffff_fffe, 0x1f_ffff]);
});

test("a frame is cleared, or made like another, and decoded anew", () => {
  const frame = (index: number) => memory.bytes.slice(map.ramOffset + index * 4096, map.ramOffset + (index + 1) * 4096);
  const [one, two, three] = [frame(1), frame(2), frame(3)];
  memory.copyFrame(map.baseMfn + 2, map.baseMfn + 1);
  expect([frame(1), frame(2), frame(3)]).toEqual([one, one, three]);
  expect(two).not.toEqual(one);
  memory.clearFrame(map.baseMfn + 2);
  expect([frame(1), frame(2), frame(3)]).toEqual([one, new Uint8Array(4096), three]);
  expect(forgotten).toEqual([2, 2]);
});
