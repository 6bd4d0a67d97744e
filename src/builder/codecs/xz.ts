/**
 * xz (The .xz File Format 1.1): a stream of blocks, each of LZMA2 data that may have gone through filters, with a check behind.
 * CRC32 is checked, which is what Linux has its kernels packed with; other checks are passed over, as Linux's own decoder does. So
 * is what comes after the last block: the index, the footer, other streams.
 */
import { crc32 } from "node:zlib";
import { undoBcjX86 } from "./bcj-x86.ts";
import { Damaged, type Limits, Output } from "./codec.ts";
import { LzmaDecoder, lzmaProperties } from "./lzma.ts";

const STREAM_HEADER_BYTES = 12;
const CHECK_CRC32 = 1;
/** By type of check. */
const CHECK_BYTES = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64];

const FILTER_BCJ_X86 = 0x04n;
const FILTER_LZMA2 = 0x21n;

const FILTER_COUNT_MASK = 3;
const HAS_COMPRESSED_SIZE = 0x40;
const HAS_UNCOMPRESSED_SIZE = 0x80;

export function decompressXz(data: Uint8Array, limits: Limits): Uint8Array {
  const reader = new Reader(data);
  reader.take(STREAM_HEADER_BYTES);
  const check = data[7] & 15;
  const output = new Output(limits);
  // The index stands where another block would, and begins with a zero.
  while (reader.peek() !== 0) {
    const start = output.length;
    const filtered = readBlockHeader(reader);
    readChunks(reader, output);
    const block = output.bytes.subarray(start, output.length);
    if (filtered) undoBcjX86(block);
    reader.align();
    const sum = reader.take(CHECK_BYTES[check]);
    if (check === CHECK_CRC32 && new DataView(sum.buffer, sum.byteOffset).getUint32(0, true) !== crc32(block)) {
      throw new Damaged("the checksum of a block is wrong");
    }
  }
  return output.finish();
}

/** Whether the x86 filter is to be undone. */
function readBlockHeader(whole: Reader): boolean {
  const header = new Reader(whole.take((whole.peek() + 1) * 4));
  header.byte();
  const flags = header.byte();
  if (flags & HAS_COMPRESSED_SIZE) header.number();
  if (flags & HAS_UNCOMPRESSED_SIZE) header.number();
  const filters: bigint[] = [];
  for (let left = flags & FILTER_COUNT_MASK; left >= 0; left--) {
    const filter = header.number();
    const properties = header.take(Number(header.number()));
    if (filter === FILTER_BCJ_X86 && properties.length > 0) throw new Damaged("its x86 filter begins at an offset");
    filters.push(filter);
  }
  const last = filters.pop();
  if (last !== FILTER_LZMA2) throw new Damaged("a block is not LZMA2");
  if (filters.some((filter) => filter !== FILTER_BCJ_X86) || filters.length > 1) {
    throw new Damaged("it has filters other than one for x86");
  }
  return filters.length === 1;
}

const CHUNK = {
  end: 0,
  storedAfterReset: 1,
  stored: 2,
  lzma: 0x80,
  stateReset: 0xa0,
  newProperties: 0xc0,
  dictionaryReset: 0xe0,
};

/** LZMA2: chunks of at most 2 MiB, stored or LZMA, that say how much of the decoder's state they begin anew. */
function readChunks(reader: Reader, output: Output): void {
  const decoder = new LzmaDecoder(output);
  let [hasDictionary, hasProperties] = [false, false];
  for (let control = reader.byte(); control !== CHUNK.end; control = reader.byte()) {
    if (control >= CHUNK.dictionaryReset || control === CHUNK.storedAfterReset) {
      decoder.resetDictionary();
      [hasDictionary, hasProperties] = [true, false];
    }
    if (!hasDictionary) throw new Damaged("a block begins without a dictionary");
    if (control < CHUNK.lzma) {
      if (control > CHUNK.stored) throw new Damaged("a chunk is of no known kind");
      output.append(reader.take(reader.word() + 1));
      continue;
    }
    const size = ((control & 0x1f) << 16) + reader.word() + 1;
    const packedSize = reader.word() + 1;
    if (control >= CHUNK.newProperties) {
      const properties = lzmaProperties(reader.byte());
      if (properties.lc + properties.lp > 4) throw new Damaged("its properties do not exist");
      decoder.reset(properties);
      hasProperties = true;
    }
    if (!hasProperties) throw new Damaged("a block begins without properties");
    if (control >= CHUNK.stateReset && control < CHUNK.newProperties) decoder.reset();
    output.claim(size);
    decoder.decode(reader.take(packedSize), output.length + size, true);
  }
}

class Reader {
  readonly #data: Uint8Array;
  #at = 0;
  constructor(data: Uint8Array) {
    this.#data = data;
  }
  peek(): number {
    if (this.#at >= this.#data.length) throw new Damaged("it is cut short");
    return this.#data[this.#at];
  }
  byte(): number {
    const byte = this.peek();
    this.#at++;
    return byte;
  }
  /** 16 bits, the higher byte first. */
  word(): number {
    return (this.byte() << 8) | this.byte();
  }
  /** Seven bits a byte, the lowest first, at most nine bytes. */
  number(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 63n; shift += 7n) {
      const byte = this.byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw new Damaged("a number is too long");
  }
  take(count: number): Uint8Array {
    if (count > this.#data.length - this.#at) throw new Damaged("it is cut short");
    this.#at += count;
    return this.#data.subarray(this.#at - count, this.#at);
  }
  /** To the next multiple of four bytes. */
  align(): void {
    this.take(-this.#at & 3);
  }
}
