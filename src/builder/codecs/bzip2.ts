/**
 * bzip2: blocks of at most 900 kB, each run-length coded, Burrows-Wheeler transformed, moved to front, run-length coded again and
 * Huffman coded with two to six tables that take turns every 50 symbols. Every block and the stream have a CRC.
 */
import { Damaged, type Limits, Output } from "./codec.ts";

const BLOCK_MAGIC = 0x314159;
const BLOCK_MAGIC_LOW = 0x265359;
const END_MAGIC = 0x177245;
const END_MAGIC_LOW = 0x385090;
const MAX_CODE_BITS = 20;
const SYMBOLS_PER_SELECTOR = 50;
const RUN_A = 0;
const RUN_B = 1;

/** CRC-32 with the polynomial's highest bit first. */
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 24;
  for (let bit = 0; bit < 8; bit++) crc = crc < 0 ? (crc << 1) ^ 0x04c1_1db7 : crc << 1;
  return crc >>> 0;
});

/** One stream, from its first byte; what follows is not looked at. */
export function decompressBzip2(data: Uint8Array, limits: Limits): Uint8Array {
  const bits = new BitReader(data, 3);
  const level = bits.read(8) - 0x30;
  if (level < 1 || level > 9) throw new Damaged("its block size does not exist");
  const output = new Output(limits);
  const block = new Uint32Array(level * 100_000);
  let streamCrc = 0;
  for (;;) {
    const high = bits.read(24);
    const low = bits.read(24);
    const crc = bits.read32();
    if (high === END_MAGIC && low === END_MAGIC_LOW) {
      if (crc !== streamCrc) throw new Damaged("its checksum is wrong");
      return output.finish();
    }
    if (high !== BLOCK_MAGIC || low !== BLOCK_MAGIC_LOW) throw new Damaged("a block does not begin where it should");
    if (bits.read(1) !== 0) throw new Damaged("it has randomized blocks, which no bzip2 since 1999 makes");
    const origin = bits.read(24);
    const length = readBlock(bits, block);
    if (origin >= length) throw new Damaged("a block begins outside of itself");
    if (writeBlock(block, length, origin, output) !== crc) throw new Damaged("the checksum of a block is wrong");
    streamCrc = (((streamCrc << 1) | (streamCrc >>> 31)) ^ crc) >>> 0;
  }
}

/** Most significant bit first. */
class BitReader {
  readonly #data: Uint8Array;
  #at: number;
  #held = 0;
  #count = 0;
  constructor(data: Uint8Array, at: number) {
    this.#data = data;
    this.#at = at;
  }
  /** At most 24 bits. */
  read(count: number): number {
    while (this.#count < count) {
      if (this.#at >= this.#data.length) throw new Damaged("it is cut short");
      this.#held = ((this.#held << 8) | this.#data[this.#at++]) & 0x7fff_ffff;
      this.#count += 8;
    }
    this.#count -= count;
    return (this.#held >>> this.#count) & ((1 << count) - 1);
  }
  read32(): number {
    const high = this.read(16);
    return high * 0x1_0000 + this.read(16);
  }
}

/** A canonical code: of each length, the first code that is longer, and where its symbols stand in order. */
interface HuffmanTable {
  readonly minBits: number;
  readonly maxBits: number;
  readonly limit: Int32Array;
  readonly base: Int32Array;
  readonly symbols: Uint16Array;
}

/** Undoes everything up to the transform: `block` gets the bytes of the last column. Their number. */
function readBlock(bits: BitReader, block: Uint32Array): number {
  const used = readUsedBytes(bits);
  const endOfBlock = used.length + 1;
  const tableCount = bits.read(3);
  if (tableCount < 2 || tableCount > 6) throw new Damaged("a block has no such number of code tables");
  const selectors = readSelectors(bits, tableCount);
  const tables = Array.from({ length: tableCount }, () => readTable(bits, endOfBlock + 1));

  const front = used;
  let length = 0;
  let run = 0;
  let runWeight = 1;
  let left = 0;
  let nextSelector = 0;
  let table = tables[0];
  for (;;) {
    if (left === 0) {
      if (nextSelector >= selectors.length) throw new Damaged("a block has more symbols than it says");
      table = tables[selectors[nextSelector++]];
      left = SYMBOLS_PER_SELECTOR;
    }
    left--;
    const symbol = readSymbol(bits, table);
    if (symbol === RUN_A || symbol === RUN_B) {
      run += runWeight << symbol;
      runWeight <<= 1;
      if (run > block.length) throw new Damaged("a block is longer than its stream allows");
      continue;
    }
    if (run > 0) {
      if (length + run > block.length) throw new Damaged("a block is longer than its stream allows");
      block.fill(front[0], length, length + run);
      length += run;
      run = 0;
      runWeight = 1;
    }
    if (symbol === endOfBlock) return length;
    if (length >= block.length) throw new Damaged("a block is longer than its stream allows");
    const index = symbol - 1;
    const byte = front[index];
    front.copyWithin(1, 0, index);
    front[0] = byte;
    block[length++] = byte;
  }
}

/** The byte values that occur, in order. */
function readUsedBytes(bits: BitReader): Uint8Array {
  const rows = bits.read(16);
  const used: number[] = [];
  for (let row = 0; row < 16; row++) {
    if (((rows >>> (15 - row)) & 1) === 0) continue;
    const columns = bits.read(16);
    for (let column = 0; column < 16; column++) {
      if (((columns >>> (15 - column)) & 1) === 1) used.push(row * 16 + column);
    }
  }
  if (used.length === 0) throw new Damaged("a block has no symbols");
  return Uint8Array.from(used);
}

function readSelectors(bits: BitReader, tableCount: number): Uint8Array {
  const selectors = new Uint8Array(bits.read(15));
  const front = Uint8Array.from({ length: tableCount }, (_, i) => i);
  for (let i = 0; i < selectors.length; i++) {
    let index = 0;
    while (bits.read(1) === 1) {
      if (++index >= tableCount) throw new Damaged("a block names a code table it does not have");
    }
    const table = front[index];
    front.copyWithin(1, 0, index);
    front[0] = table;
    selectors[i] = table;
  }
  return selectors;
}

function readTable(bits: BitReader, symbolCount: number): HuffmanTable {
  const lengths = new Uint8Array(symbolCount);
  const counts = new Int32Array(MAX_CODE_BITS + 2);
  let length = bits.read(5);
  for (let i = 0; i < symbolCount; i++) {
    for (;;) {
      if (length < 1 || length > MAX_CODE_BITS) throw new Damaged("a code is too long");
      if (bits.read(1) === 0) break;
      length += bits.read(1) === 0 ? 1 : -1;
    }
    lengths[i] = length;
    counts[length]++;
  }
  const symbols = new Uint16Array(symbolCount);
  const starts = new Int32Array(MAX_CODE_BITS + 2);
  for (let bits = 1; bits <= MAX_CODE_BITS; bits++) starts[bits + 1] = starts[bits] + counts[bits];
  const limit = new Int32Array(MAX_CODE_BITS + 1);
  const base = new Int32Array(MAX_CODE_BITS + 1);
  let code = 0;
  for (let bits = 1; bits <= MAX_CODE_BITS; bits++) {
    base[bits] = starts[bits] - code;
    code += counts[bits];
    limit[bits] = code;
    code <<= 1;
  }
  const minBits = counts.findIndex((count) => count > 0);
  const maxBits = counts.findLastIndex((count) => count > 0);
  lengths.forEach((bits, symbol) => {
    symbols[starts[bits]++] = symbol;
  });
  return { minBits, maxBits, limit, base, symbols };
}

function readSymbol(bits: BitReader, { minBits, maxBits, limit, base, symbols }: HuffmanTable): number {
  let code = bits.read(minBits);
  for (let length = minBits; length <= maxBits; length++) {
    if (code < limit[length]) {
      const index = base[length] + code;
      // Lengths that no prefix code can have point outside.
      if (index >= symbols.length) break;
      return symbols[index];
    }
    code = (code << 1) | bits.read(1);
  }
  throw new Damaged("a code stands for nothing");
}

/** Undoes the transform and the first run-length coding. The CRC of what was written. */
function writeBlock(block: Uint32Array, length: number, origin: number, output: Output): number {
  const starts = new Uint32Array(256);
  for (let i = 0; i < length; i++) starts[block[i]]++;
  for (let byte = 0, sum = 0; byte < 256; byte++) {
    const count = starts[byte];
    starts[byte] = sum;
    sum += count;
  }
  // Each word: its byte, and above it the place of the byte that comes next.
  for (let i = 0; i < length; i++) block[starts[block[i] & 0xff]++] |= i << 8;

  let crc = 0xffff_ffff;
  let at = block[origin] >>> 8;
  let previous = -1;
  let repeats = 0;
  for (let i = 0; i < length; i++) {
    const word = block[at];
    const byte = word & 0xff;
    at = word >>> 8;
    // The byte after four of a kind says how many more there are.
    let count = 1;
    let value = byte;
    if (repeats === 4) {
      count = byte;
      value = previous;
      repeats = 0;
      previous = -1;
    } else if (byte === previous) {
      repeats++;
    } else {
      previous = byte;
      repeats = 1;
    }
    output.claim(count);
    for (; count > 0; count--) {
      output.bytes[output.length++] = value;
      crc = (crc << 8) ^ CRC_TABLE[(crc >>> 24) ^ value];
    }
  }
  return ~crc >>> 0;
}
