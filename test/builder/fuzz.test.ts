/** Whatever a file contains: an answer, never an exception, and never a write outside of the domain's own frames. */
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { fc } from "@fast-check/vitest";
import { expect, test } from "vitest";
import { ELFNOTE } from "../../src/abi/elfnote.ts";
import { StartInfo } from "../../src/abi/xen.ts";
import { inspectKernel } from "../../src/builder/build.ts";
import { TestDomain } from "./guest-memory.ts";
import { makeKernel, number, pvNotes, text } from "./make-kernel.ts";

const SEED = Number(process.env.BUILDER_FUZZ_SEED ?? 20240229);
const RUNS = Number(process.env.BUILDER_FUZZ_RUNS ?? 800);
const PAGES = 1100;

const BASE = 0xffff_ffff_8000_0000n;
const page = (fill: number) => new Uint8Array(4096).fill(fill);
const rich = {
  entry: BASE + 0x1000n,
  segments: [
    { paddr: BASE + 0x1000n, data: page(1), memsz: 0x3000n },
    { paddr: BASE + 0x8000n, data: page(2) },
  ],
  notes: pvNotes([
    [ELFNOTE.virtBase, number(BASE)],
    [ELFNOTE.paddrOffset, number(BASE)],
    [ELFNOTE.hypercallPage, number(BASE + 0x2000n)],
    [ELFNOTE.initP2m, number(0x8000000000n)],
    [ELFNOTE.modStartPfn, number(1n)],
    [ELFNOTE.features, text("!writable_page_tables|pae_pgdir_above_4gb")],
  ]),
};
const kernels: readonly (readonly [string, Uint8Array, headBytes: number])[] = [
  ["notes in a segment", makeKernel(rich), 1024],
  ["notes in a section", makeKernel({ ...rich, placement: "section" }), 1024],
  ["a legacy section", makeKernel({ legacy: "XEN_VER=xen-3.0,LOADER=generic,VIRT_BASE=0x0,HYPERCALL_PAGE=0x1" }), 1024],
  ["the demo kernel", readFileSync(new URL("../../src/builder/demo-kernel/demo.elf", import.meta.url)), 512],
  ["a gzip file", gzipSync(makeKernel(rich)), 200],
];

/** Values that break arithmetic more often than random ones. */
const evil = fc.constantFrom(
  0n,
  1n,
  0xffn,
  0xfffn,
  0x7fff_ffffn,
  0xffff_ffffn,
  1n << 32n,
  1n << 47n,
  (1n << 63n) - 1n,
  1n << 63n,
  (1n << 64n) - 1n,
  (1n << 64n) - 0x1000n,
  0xffff_8000_0000_0000n,
);

interface Mutation {
  readonly at: number;
  readonly bytes: Uint8Array;
}

function mutations(headBytes: number): fc.Arbitrary<Mutation[]> {
  const value = fc.oneof(
    fc.tuple(evil, fc.constantFrom(2, 4, 8)).map(([n, size]) => number(n, size)),
    fc.uint8Array({ minLength: 1, maxLength: 8 }),
  );
  return fc.array(fc.record({ at: fc.nat(headBytes), bytes: value }), { minLength: 1, maxLength: 4 });
}

test.each(kernels)(`mutated: %s (seed ${SEED})`, (what, kernel, headBytes) => {
  const domain = new TestDomain(PAGES);
  const ramdisk = page(9);
  let accepted = 0;
  fc.assert(
    fc.property(mutations(headBytes), fc.nat({ max: 20 }), (changes, cut) => {
      const file = new Uint8Array(kernel).slice(0, cut === 0 ? Math.floor(kernel.length / 3) : kernel.length);
      for (const { at, bytes } of changes) if (at + bytes.length <= file.length) file.set(bytes, at);
      new Uint8Array(domain.buffer, domain.at(0), PAGES * 4096).fill(0);
      const result = domain.build(file, { ramdisk });
      if (result.ok) {
        accepted++;
        const { mapped, tables } = domain.walk(result.l4Pfn);
        for (const { pfn, flags } of mapped.values()) if (tables.has(pfn)) expect(flags & 2).toBe(0);
      }
      return domain.guardsIntact() && result.ok !== undefined;
    }),
    { seed: SEED, numRuns: RUNS },
  );
  // A fuzzer that only ever meets refusals tests little; what breaks a gzip file breaks its checksum.
  if (what !== "a gzip file") expect(accepted).toBeGreaterThan(RUNS / 50);
});

test(`mutated: a ramdisk (seed ${SEED})`, () => {
  const domain = new TestDomain(PAGES);
  const content = Uint8Array.from({ length: 70_000 }, (_, i) => i * 7 + (i >> 8));
  const packed = new Uint8Array(gzipSync(content));
  const tail = packed.length - 8;
  const change = fc.tuple(
    fc.oneof(fc.nat(20), fc.integer({ min: tail, max: packed.length - 1 }), fc.nat(packed.length - 1)),
    fc.nat(255),
  );
  const sizes = new Set<number>();
  fc.assert(
    fc.property(fc.array(change, { maxLength: 4 }), fc.nat({ max: 6 }), (list, cut) => {
      const ramdisk = packed.slice(0, cut === 0 ? Math.floor(packed.length / 2) : packed.length);
      for (const [at, byte] of list) if (at < ramdisk.length) ramdisk[at] = byte;
      new Uint8Array(domain.buffer, domain.at(0), PAGES * 4096).fill(0);
      const result = domain.build(makeKernel(rich), { ramdisk });
      if (!domain.guardsIntact()) return false;
      if (!result.ok) return true;
      // The guest gets what the file holds, or the file itself; start_info says where and how much.
      const info = Number(BigInt.asUintN(64, BigInt(result.startInfoVa)) - BASE);
      const pfn = Number(domain.view.getBigUint64(domain.at(0) + info + StartInfo.modStart.offset, true));
      const size = Number(domain.view.getBigUint64(domain.at(0) + info + StartInfo.modLen.offset, true));
      sizes.add(size);
      const expected = size === content.length ? content : ramdisk;
      return size === expected.length && Buffer.from(domain.bytes(pfn, size)).equals(Buffer.from(expected));
    }),
    { seed: SEED, numRuns: RUNS / 4 },
  );
  expect(sizes.size).toBeGreaterThan(1);
});

test(`random bytes behind every magic number (seed ${SEED})`, () => {
  const magics = ["7f454c46", "7f454c460201", "1f8b08", "28b52ffd", "fd377a585a00", ""];
  fc.assert(
    fc.property(fc.constantFrom(...magics), fc.uint8Array({ maxLength: 600 }), (magic, rest) => {
      const result = inspectKernel(Buffer.concat([Buffer.from(magic, "hex"), rest]));
      return !result.ok;
    }),
    { seed: SEED, numRuns: RUNS },
  );
});
