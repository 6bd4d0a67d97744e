/** Kernels as they come packed, alone and within a bzImage; and what a file that lies about it may cost. */
import { readFileSync } from "node:fs";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { fc } from "@fast-check/vitest";
import { describe, expect, test } from "vitest";
import { inspectKernel } from "../../src/builder/build.ts";
import { codecOf, decompress } from "../../src/builder/decompress.ts";
import { isWrapped, unwrapKernel } from "../../src/builder/unwrap-kernel.ts";
import { codeKernel } from "./code-kernel.ts";
import { bzImage, withSize } from "./make-bzimage.ts";
import { makeKernel } from "./make-kernel.ts";

const SEED = Number(process.env.BUILDER_FUZZ_SEED ?? 20240229);
const RUNS = Number(process.env.BUILDER_FUZZ_RUNS ?? 400);

const kernel = codeKernel();
const recorded = Object.entries(
  JSON.parse(readFileSync(new URL("../golden/compressed-kernels.json", import.meta.url), "utf8")) as Record<
    string,
    string
  >,
).map(([command, text]) => ({ command, packed: new Uint8Array(Buffer.from(text, "base64")) }));
const formatOf = (command: string) => command.split(" ")[0];
const payloadOf = (command: string, packed: Uint8Array) =>
  formatOf(command) === "gzip" ? packed : withSize(packed, kernel.length);

describe.each(recorded)("$command", ({ command, packed }) => {
  test("alone", () => {
    expect(isWrapped(packed)).toBe(true);
    const unwrapped = unwrapKernel(packed);
    expect(unwrapped).toMatchObject({ wrapping: formatOf(command) });
    expect(Buffer.from((unwrapped as { elf: Uint8Array }).elf).equals(kernel)).toBe(true);
  });

  test.each([0, 1, 39])("in a bzImage with %i setup sectors", (setupSects) => {
    const file = bzImage({ payload: payloadOf(command, packed), setupSects });
    expect(isWrapped(file)).toBe(true);
    const unwrapped = unwrapKernel(file);
    expect(unwrapped).toMatchObject({ wrapping: `bzImage, ${formatOf(command)}` });
    expect(Buffer.from((unwrapped as { elf: Uint8Array }).elf).equals(kernel)).toBe(true);
  });

  // The last bytes of some formats tell nothing that is needed.
  test.each([0.1, 0.5, 0.95])("cut after %f of it, it is damaged", (part) => {
    const cut = packed.subarray(0, Math.floor((packed.length - 20) * part));
    expect(inspectKernel(cut)).toMatchObject({ ok: false, code: "bad-compressed-data" });
  });

  test(`mutated: an answer, bounded, and never another kernel where there is a checksum (seed ${SEED})`, () => {
    const codec = codecOf(packed)!;
    const changes = fc.array(fc.tuple(fc.nat(packed.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 });
    const unchecked = /^lz|none|sha256|crc64/.test(command);
    fc.assert(
      fc.property(changes, (list) => {
        const file = packed.slice();
        for (const [at, byte] of list) file[at] = byte;
        const unpacked = decompress(codec, "It", file);
        if (!(unpacked instanceof Uint8Array)) return /^[\x20-\x7e]+\.$/.test(unpacked.detail);
        return (
          unpacked.length <= 16 << 20 && (unchecked || Buffer.from(unpacked).equals(kernel) || unpacked.length === 0)
        );
      }),
      { seed: SEED, numRuns: RUNS },
    );
  });
});

test("a bzImage may hold its kernel as it is", () => {
  expect(unwrapKernel(bzImage({ payload: kernel }))).toMatchObject({ wrapping: "bzImage" });
});

test(`a bzImage with a mutated header: an answer (seed ${SEED})`, () => {
  const good = bzImage({ payload: gzipSync(kernel) });
  const change = fc.tuple(
    fc.oneof(fc.integer({ min: 0x1f1, max: 0x208 }), fc.integer({ min: 0x248, max: 0x24f }), fc.nat(good.length - 1)),
    fc.nat(255),
  );
  let accepted = 0;
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (list) => {
      const file = good.slice();
      for (const [at, byte] of list) file[at] = byte;
      const result = inspectKernel(file);
      if (result.ok) accepted++;
      return result.ok || /^[\x20-\x7e]+\.$/.test(result.detail);
    }),
    { seed: SEED, numRuns: RUNS },
  );
  expect(accepted).toBeGreaterThan(0);
});

describe("bombs", () => {
  const zeros = (mib: number) => new Uint8Array(mib << 20);
  /** Of one literal and one endless match. */
  const lz4Bomb = () => {
    const lengthBytes = 32_000;
    const block = new Uint8Array([0x1f, 0, 1, 0, ...new Uint8Array(lengthBytes).fill(255), 0, 0x50, 0, 0, 0, 0, 0]);
    const size = new Uint8Array(new Uint32Array([block.length]).buffer);
    return Buffer.concat([Buffer.from("02214c18", "hex"), ...Array.from({ length: 8 }, () => [size, block]).flat()]);
  };
  /** 17 MiB of zeros by xz, bzip2 and lzma. */
  const packedZeros = JSON.parse(
    readFileSync(new URL("../golden/compressed-zeros.json", import.meta.url), "utf8"),
  ) as Record<string, string>;
  const rows: [string, Uint8Array][] = [
    ["gzip", gzipSync(zeros(17), { level: 9 })],
    ["zstd", zstdCompressSync(zeros(17))],
    ["lz4", lz4Bomb()],
    ...Object.entries(packedZeros).map(([name, text]): [string, Uint8Array] => [name, Buffer.from(text, "base64")]),
  ];
  test.each(rows)("%s: little that would be much is refused by name", (name, bomb) => {
    expect(bomb.length).toBeLessThan(300_000);
    expect(codecOf(bomb)?.name).toBe(name);
    const refusal = { ok: false, code: "decompressed-too-large", detail: expect.stringContaining("bomb") };
    expect(inspectKernel(bomb)).toMatchObject(refusal);
    expect(inspectKernel(bzImage({ payload: withSize(bomb, 17 << 20) }))).toMatchObject(refusal);
  });

  test("a small image of zeros is none, whatever its ratio", () => {
    const sparse = makeKernel({ segments: [{ paddr: 0x1000n, data: new Uint8Array(8 << 20) }] });
    expect(unwrapKernel(gzipSync(sparse))).toMatchObject({ wrapping: "gzip" });
  });

  test("bzip2: a run whose length would overflow is refused", () => {
    const bits = (value: bigint, count: number) => value.toString(2).padStart(count, "0");
    const oneOfSixteen = bits(0x8000n, 16);
    // Two tables alike, of three symbols: RUNA is 0, RUNB 10, the end 11.
    const table = "00001" + "0" + "100" + "0";
    const stream = [
      bits(BigInt(`0x${Buffer.from("BZh9").toString("hex")}`), 32),
      bits(0x314159265359n, 48),
      bits(0n, 32 + 1 + 24), // CRC, not randomized, origin
      oneOfSixteen + oneOfSixteen, // the byte 0 occurs
      `${bits(2n, 3)}${bits(1n, 15)}0`, // two tables, one turn
      table + table,
      "0".repeat(40), // RUNA, each twice as long as the one before
      "10".repeat(4),
      "11".repeat(8),
    ].join("");
    const file = Uint8Array.from(stream.match(/.{1,8}/g)!, (byte) => Number.parseInt(byte.padEnd(8, "0"), 2));
    expect(inspectKernel(file)).toMatchObject({
      code: "bad-compressed-data",
      detail: expect.stringContaining("longer than its stream allows"),
    });
  });
});
