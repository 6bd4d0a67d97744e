/** bzImages for tests: a setup part of two sectors, a head of protected-mode code, the payload, a tail. */

export interface TestBzImage {
  /** As it stands in the file: for all formats but gzip with the unpacked size behind. */
  readonly payload: Uint8Array;
  readonly version?: number;
  readonly bootFlag?: number;
  /** Second byte of the jump over the header. */
  readonly jump?: number;
  readonly setupSects?: number;
  /** Of the payload, from the end of the setup part. */
  readonly offset?: number;
  readonly length?: number;
}

const HEAD_BYTES = 0x2cc;

export function bzImage({ payload, setupSects = 1, ...header }: TestBzImage): Uint8Array {
  const setupBytes = ((setupSects || 4) + 1) * 512;
  const file = new Uint8Array(setupBytes + HEAD_BYTES + payload.length);
  const view = new DataView(file.buffer);
  view.setUint8(0x1f1, setupSects);
  view.setUint16(0x1fe, header.bootFlag ?? 0xaa55, true);
  view.setUint8(0x200, 0xeb);
  view.setUint8(0x201, header.jump ?? 0x6a);
  file.set(Buffer.from("HdrS"), 0x202);
  view.setUint16(0x206, header.version ?? 0x020f, true);
  view.setUint32(0x248, header.offset ?? HEAD_BYTES, true);
  view.setUint32(0x24c, header.length ?? payload.length, true);
  file.set(payload, setupBytes + HEAD_BYTES);
  return file;
}

/** A compressed kernel with its unpacked size behind, as Linux's build appends it. */
export function withSize(compressed: Uint8Array, size: number): Uint8Array {
  const trailer = Buffer.alloc(4);
  trailer.writeUInt32LE(size);
  return Buffer.concat([compressed, trailer]);
}
