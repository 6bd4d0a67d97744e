/**
 * Packs vectors with their outcomes: a gzip stream, little endian.
 *
 * A vector stores only what its seed does not give and an outcome only what changed, because registers and FXSAVE images would
 * otherwise be nearly all of a file.
 *
 *   u32 magic 'DZV1', u32 rows, rows x { u8 length, name, u32 vectors }, then the vectors row by row:
 *   u8 marks, u8 code length, u16 code offset, u32 seed, u32 rflags before, u32 rflags after,
 *   u16 registers given, u16 registers changed, u8 patches, u8 changes, code,
 *   u64 per register given, u64 per register changed, patches x { u16 offset, u8 length, bytes }, changes x { u16, u16, bytes },
 *   [u64 rip unless Mark.next], [u8 vector, u32 error code, u64 cr2 when Mark.fault],
 *   [u32 chunks given, u32 chunks changed, 16 bytes each, when Mark.fx], [segments when Mark.segments]
 */

import { gunzipSync, gzipSync } from "node:zlib";
import { drawFx } from "./fx-image.ts";
import { CODE_VA } from "./layout.ts";
import { drawRegisters } from "./random.ts";
import type { Judged, Outcome, Patch, Segments, Vector } from "./vector.ts";
import type { Vendor } from "./vendor-differences.ts";

const MAGIC = 0x3156_5a44;
const Mark = { repeat: 1, fx: 2, segments: 4, fault: 8, next: 16 } as const;
/** FXSAVE images are compared up to the reserved area, in pieces of 16 bytes. */
const FX_CHUNKS = 26;

export function packVectors(judged: readonly Judged[]): Uint8Array {
  const rows = Map.groupBy(judged, ({ vector }) => vector.row);
  const out = new Writer();
  out.u32(MAGIC);
  out.u32(rows.size);
  for (const [row, items] of rows) {
    const name = new TextEncoder().encode(row);
    out.u8(name.length);
    out.bytes(name);
    out.u32(items.length);
  }
  for (const items of rows.values()) for (const item of items) packOne(out, item);
  return gzipSync(out.done(), { level: 9 });
}

export function unpackVectors(packed: Uint8Array, vendor: Vendor): Judged[] {
  const input = new Reader(gunzipSync(packed));
  if (input.u32() !== MAGIC) throw new Error("not a file of vectors");
  const rows = Array.from({ length: input.u32() }, () => {
    const name = new TextDecoder().decode(input.bytes(input.u8()));
    return { name, count: input.u32() };
  });
  return rows.flatMap(({ name, count }) => Array.from({ length: count }, () => unpackOne(input, name, vendor)));
}

function packOne(out: Writer, { vector, outcome }: Judged): void {
  const next = outcome.rip === BigInt(vector.codeVa + vector.code.length);
  const drawn = drawRegisters(vector.seed);
  const given = differing(drawn, vector.gpr);
  const changed = differing(vector.gpr, outcome.gpr);
  out.u8(
    (vector.repeat ? Mark.repeat : 0) |
      (vector.fx ? Mark.fx : 0) |
      (vector.segments ? Mark.segments : 0) |
      (outcome.fault ? Mark.fault : 0) |
      (next ? Mark.next : 0),
  );
  out.u8(vector.code.length);
  out.u16(vector.codeVa - CODE_VA);
  out.u32(vector.seed);
  out.u32(vector.rflags);
  out.u32(outcome.rflags);
  out.u16(bitmap(given));
  out.u16(bitmap(changed));
  out.u8(vector.patches.length);
  out.u8(outcome.changes.length);
  out.bytes(vector.code);
  for (const i of given) out.u64(vector.gpr[i]);
  for (const i of changed) out.u64(outcome.gpr[i]);
  for (const { offset, bytes } of vector.patches) {
    out.u16(offset);
    out.u8(bytes.length);
    out.bytes(bytes);
  }
  for (const { offset, bytes } of outcome.changes) {
    out.u16(offset);
    out.u16(bytes.length);
    out.bytes(bytes);
  }
  if (!next) out.u64(outcome.rip);
  if (outcome.fault) {
    out.u8(outcome.fault.vector);
    out.u32(outcome.fault.errorCode);
    out.u64(outcome.fault.cr2);
  }
  if (vector.fx && outcome.fx) {
    const fxGiven = differingChunks(drawFx(vector.seed), vector.fx);
    const fxChanged = differingChunks(vector.fx, outcome.fx);
    out.u32(bitmap(fxGiven));
    out.u32(bitmap(fxChanged));
    for (const i of fxGiven) out.bytes(vector.fx.subarray(i * 16, i * 16 + 16));
    for (const i of fxChanged) out.bytes(outcome.fx.subarray(i * 16, i * 16 + 16));
  }
  if (outcome.segments) {
    const { ds, es, fs, gs, fsBase, gsBase } = outcome.segments;
    for (const selector of [ds, es, fs, gs]) out.u16(selector);
    out.u64(fsBase);
    out.u64(gsBase);
  }
}

function unpackOne(input: Reader, row: string, vendor: Vendor): Judged {
  const marks = input.u8();
  const codeLength = input.u8();
  const codeVa = CODE_VA + input.u16();
  const seed = input.u32();
  const rflags = input.u32();
  const rflagsAfter = input.u32();
  const given = input.u16();
  const changed = input.u16();
  const patchCount = input.u8();
  const changeCount = input.u8();
  const code = input.bytes(codeLength);
  const gpr = drawRegisters(seed);
  for (const i of bits(given)) gpr[i] = input.u64();
  const after = gpr.slice();
  for (const i of bits(changed)) after[i] = input.u64();
  const patches: Patch[] = Array.from({ length: patchCount }, () => ({
    offset: input.u16(),
    bytes: input.bytes(input.u8()),
  }));
  const changes: Patch[] = Array.from({ length: changeCount }, () => ({
    offset: input.u16(),
    bytes: input.bytes(input.u16()),
  }));
  const rip = marks & Mark.next ? BigInt(codeVa + codeLength) : input.u64();
  const fault = marks & Mark.fault ? { vector: input.u8(), errorCode: input.u32(), cr2: input.u64() } : null;
  let fx: Uint8Array | undefined;
  let fxAfter: Uint8Array | undefined;
  if (marks & Mark.fx) {
    const fxGiven = input.u32();
    const fxChanged = input.u32();
    fx = drawFx(seed);
    for (const i of bits(fxGiven)) fx.set(input.bytes(16), i * 16);
    fxAfter = fx.slice();
    for (const i of bits(fxChanged)) fxAfter.set(input.bytes(16), i * 16);
  }
  let segments: Segments | undefined;
  if (marks & Mark.segments) {
    const [ds, es, fs, gs] = [input.u16(), input.u16(), input.u16(), input.u16()];
    segments = { ds, es, fs, gs, fsBase: input.u64(), gsBase: input.u64() };
  }
  const repeat = (marks & Mark.repeat) !== 0;
  const vector: Vector = {
    row,
    code,
    codeVa,
    seed,
    gpr,
    rflags,
    patches,
    fx,
    repeat,
    segments: segments !== undefined,
  };
  const outcome: Outcome = { fault, gpr: after, rip, rflags: rflagsAfter, changes, fx: fxAfter, segments };
  return { vector, outcome, vendor };
}

function differing(a: BigUint64Array, b: BigUint64Array): number[] {
  return Array.from(a.keys()).filter((i) => a[i] !== b[i]);
}

function differingChunks(a: Uint8Array, b: Uint8Array): number[] {
  return Array.from({ length: FX_CHUNKS }, (_, i) => i).filter((chunk) => {
    for (let i = chunk * 16; i < chunk * 16 + 16; i++) if (a[i] !== b[i]) return true;
    return false;
  });
}

function bitmap(indices: readonly number[]): number {
  return indices.reduce((map, i) => map | (1 << i), 0) >>> 0;
}

function bits(map: number): number[] {
  return Array.from({ length: 32 }, (_, i) => i).filter((i) => (map >>> i) & 1);
}

class Writer {
  #buffer = new Uint8Array(1 << 16);
  #view = new DataView(this.#buffer.buffer);
  #at = 0;

  #room(count: number): number {
    const at = this.#at;
    this.#at += count;
    if (this.#at > this.#buffer.length) {
      const larger = new Uint8Array(this.#at * 2);
      larger.set(this.#buffer);
      this.#buffer = larger;
      this.#view = new DataView(larger.buffer);
    }
    return at;
  }
  u8(value: number): void {
    const at = this.#room(1);
    this.#view.setUint8(at, value);
  }
  u16(value: number): void {
    const at = this.#room(2);
    this.#view.setUint16(at, value, true);
  }
  u32(value: number): void {
    const at = this.#room(4);
    this.#view.setUint32(at, value, true);
  }
  u64(value: bigint): void {
    const at = this.#room(8);
    this.#view.setBigUint64(at, value, true);
  }
  bytes(value: Uint8Array): void {
    const at = this.#room(value.length);
    this.#buffer.set(value, at);
  }
  done(): Uint8Array {
    return this.#buffer.subarray(0, this.#at);
  }
}

class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  u8(): number {
    return this.#view.getUint8(this.#at++);
  }
  u16(): number {
    this.#at += 2;
    return this.#view.getUint16(this.#at - 2, true);
  }
  u32(): number {
    this.#at += 4;
    return this.#view.getUint32(this.#at - 4, true);
  }
  u64(): bigint {
    this.#at += 8;
    return this.#view.getBigUint64(this.#at - 8, true);
  }
  bytes(count: number): Uint8Array {
    this.#at += count;
    return this.#bytes.slice(this.#at - count, this.#at);
  }
}
