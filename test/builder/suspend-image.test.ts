/** The file of a suspended domain: what was written comes back; what was cut off, altered or forged is refused, and never leaves its place. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { fc } from "@fast-check/vitest";
import { afterAll, beforeAll, expect, test } from "vitest";
import { VcpuGuestContext } from "../../src/abi/arch-x86-64.ts";
import { SharedInfo, VcpuInfo } from "../../src/abi/xen.ts";
import { EndRecord, headCrc, KIND, Preamble, RecordHead } from "../../src/builder/suspend-image/format.ts";
import { readSuspendHead, readSuspendImage } from "../../src/builder/suspend-image/read.ts";
import { writeSuspendImage } from "../../src/builder/suspend-image/write.ts";
import { FRAME_OWNED, type SavedDomain, type SavedVcpu } from "../../src/machine/suspended-domain.ts";

const SEED = Number(process.env.SUSPEND_FUZZ_SEED ?? Date.now() % 2 ** 31);
const RUNS = Number(process.env.SUSPEND_FUZZ_RUNS ?? 100);
const PAGE = 4096;
const FRAMES = 600;
const MARGIN = 3 * PAGE;
const uuid = "00000000-0000-4000-8000-000000000001";

const vcpu: SavedVcpu = {
  context: new Uint8Array(VcpuGuestContext.size).map((_, i) => i),
  info: new Uint8Array(VcpuInfo.size).fill(7),
  initialised: true,
  eventMask: true,
  syscall32: { address: -4096, maskEvents: false },
  sysenter: { address: 0, maskEvents: true },
  nmiCallback: 0,
  nmiPending: false,
  nmiMasked: true,
  cr2: -(2 ** 47),
  cr4: 0,
  taskSwitched: true,
  ioBitmap: null,
  ioBitmapPorts: 0,
};
/** Every third frame is not the domain's, every fifth of the others is zero. */
const owned = (index: number) => index % 3 !== 2;
const content = (index: number) => (owned(index) && index % 5 !== 0 ? 1 + (index % 255) : 0);
const state: SavedDomain = {
  pages: 500,
  mapMaxPages: 500,
  maxPages: 450,
  e820: [{ start: 0, size: 500 * PAGE, type: 1 }],
  assists: [2, 32],
  systemTime: 12345,
  startInfoMfn: 0x10010,
  sharedArch: new Uint8Array(SharedInfo.arch.size).fill(3),
  vcpus: [vcpu, { ...vcpu, initialised: false, ioBitmap: 4096 }],
  frames: Uint8Array.from({ length: FRAMES }, (_, index) => (owned(index) ? FRAME_OWNED | ((index % 5) << 1) : 0)),
  m2p: Uint32Array.from({ length: FRAMES * 2 }, (_, i) => i * 2654435761),
};

const typed = Uint8Array.from(Buffer.from("half a li"));

let folder: string;
let good: Buffer;
const memory = () => ({ buffer: new ArrayBuffer(2 * MARGIN + FRAMES * PAGE) });
const place = { ramOffset: MARGIN, ownFrames: FRAMES };

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "domzero-image-"));
  const source = memory();
  for (let index = 0; index < FRAMES; index++)
    new Uint8Array(source.buffer, MARGIN + index * PAGE, PAGE).fill(index % 5 && 1 + (index % 255));
  const path = join(folder, "good");
  await writeSuspendImage({ ...place, memory: source, path, uuid, state, typed });
  good = readFileSync(path);
  expect(readdirSync(folder)).toEqual(["good"]);
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Reads bytes as a file; whatever they are, nothing outside of the domain's frames is written. */
async function read(bytes: Uint8Array) {
  const path = join(folder, "tried");
  writeFileSync(path, bytes);
  const target = memory();
  const result = await readSuspendImage({ ...place, memory: target, path });
  for (const at of [0, MARGIN + FRAMES * PAGE])
    expect(new Uint8Array(target.buffer, at, MARGIN).every((byte) => byte === 0)).toBe(true);
  return { result, target };
}

test("what was written comes back", async () => {
  const { result, target } = await read(good);
  expect(result).toEqual({ ok: true, value: { ...state, uuid, typed } });
  for (let index = 0; index < FRAMES; index++) {
    expect(new Uint8Array(target.buffer, MARGIN + index * PAGE, PAGE).every((byte) => byte === content(index))).toBe(
      true,
    );
  }
  expect(await readSuspendHead(join(folder, "good"))).toEqual({
    ok: true,
    value: { uuid, pages: 500, maxPages: 500, vcpus: 2 },
  });
});

test("a file that cannot be written leaves nothing behind, and what had its name stays", async () => {
  const job = { ...place, memory: memory(), path: join(folder, "no", "such"), uuid, state, typed };
  await expect(writeSuspendImage(job)).rejects.toThrow("ENOENT");
  expect(readdirSync(folder).filter((file) => file.endsWith(".tmp"))).toEqual([]);
});

test(`cut off or altered anywhere, it is refused with the place named (seed ${SEED})`, async () => {
  const damage = fc.oneof(
    fc.nat(good.length - 1).map((at) => good.subarray(0, at)),
    fc.tuple(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 })).map(([at, bits]) => {
      const bytes = Buffer.from(good);
      bytes[at]! ^= bits;
      return bytes;
    }),
    fc
      .tuple(fc.nat(good.length - PAGE), fc.nat(good.length - PAGE), fc.integer({ min: 1, max: PAGE }))
      .map(([to, from, size]) => {
        const bytes = Buffer.from(good);
        good.copy(bytes, to, from, from + size);
        return bytes;
      }),
  );
  await fc.assert(
    fc.asyncProperty(damage, async (bytes) => {
      fc.pre(!good.equals(bytes));
      const { result } = await read(bytes);
      expect(result).toMatchObject({
        ok: false,
        code: "bad-image",
        detail: expect.stringMatching(/byte|magic|version|preamble/),
      });
    }),
    { seed: SEED, numRuns: RUNS },
  );
});

interface Part {
  readonly kind: number;
  readonly payload: Buffer;
}

function partsOf(bytes: Buffer): Part[] {
  const parts: Part[] = [];
  for (let at = Preamble.size; at < bytes.length; ) {
    const length = bytes.readUInt32LE(at + 4);
    parts.push({
      kind: bytes.readUInt32LE(at),
      payload: bytes.subarray(at + RecordHead.size, at + RecordHead.size + length),
    });
    at += RecordHead.size + length;
  }
  return parts.slice(0, -1);
}

/** A file of these records whose checksums are all right. */
function forged(parts: readonly Part[]): Buffer {
  const pieces = [good.subarray(0, Preamble.size)];
  let heads = 0;
  const add = ({ kind, payload }: Part) => {
    const head = Buffer.alloc(RecordHead.size);
    head.writeUInt32LE(kind, 0);
    head.writeUInt32LE(payload.length, 4);
    head.writeUInt32LE(crc32(payload), 8);
    head.writeUInt32LE(headCrc(head), 12);
    pieces.push(head, payload);
    return head;
  };
  for (const part of parts) heads = crc32(add(part), heads);
  const end = Buffer.alloc(EndRecord.size);
  end.writeBigUInt64LE(BigInt(pieces.reduce((sum, { length }) => sum + length, 0)), 0);
  end.writeUInt32LE(parts.length, 8);
  end.writeUInt32LE(heads, 12);
  add({ kind: KIND.end, payload: end });
  return Buffer.concat(pieces);
}

test(`forged with right checksums, it is taken or refused, and harms nothing (seed ${SEED})`, async () => {
  const parts = partsOf(good);
  expect(forged(parts).equals(good)).toBe(true);
  const change = fc.record({
    part: fc.nat(parts.length - 1),
    how: fc.constantFrom("bytes", "word", "drop", "twice", "swap", "short", "kind"),
    at: fc.nat(),
    value: fc.oneof(fc.nat(0xffff_ffff), fc.constantFrom(0, 1, 255, 256, FRAMES - 1, FRAMES, 0xffff_ffff)),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), async (changes) => {
      const forgery = [...parts];
      for (const { part, how, at, value } of changes) {
        const index = part % forgery.length;
        const { kind, payload } = forgery[index]!;
        const bytes = Buffer.from(payload);
        if (how === "drop" && forgery.length > 1) forgery.splice(index, 1);
        else if (how === "twice") forgery.splice(index, 0, forgery[index]!);
        else if (how === "swap") forgery.push(forgery.splice(index, 1)[0]!);
        else if (how === "short") forgery[index] = { kind, payload: bytes.subarray(0, at % (bytes.length + 1)) };
        else if (how === "kind") forgery[index] = { kind: value % 6, payload };
        else if (bytes.length >= 4) {
          // Words where the counts and indices are, or a byte anywhere.
          if (how === "word") bytes.writeUInt32LE(value, ((at % 256) * 4) % (bytes.length - 3));
          else bytes[at % bytes.length] = value & 0xff;
          forgery[index] = { kind, payload: bytes };
        }
      }
      const { result } = await read(forged(forgery));
      if (!result.ok) expect(result.code).toBe("bad-image");
    }),
    { seed: SEED, numRuns: RUNS },
  );
});
