/**
 * LZMA: literals, matches and repeated matches, every bit of them range coded under a probability that adapts (LZMA specification,
 * Igor Pavlov, 2015). The dictionary is the output itself, so that none has to be allocated.
 */
import { Damaged, type Limits, Output } from "./codec.ts";

const PROBABILITY_BITS = 11;
const EVEN = 1 << (PROBABILITY_BITS - 1);
const ADAPT_SHIFT = 5;
/** Turns an unsigned comparison into a signed one. */
const SIGN = 1 << 31;

const STATES = 12;
/** States below come after a literal. */
const FIRST_MATCH_STATE = 7;
const POSITION_STATES = 16;
const MIN_MATCH = 2;
const LENGTH_STATES = 4;
const DIRECT_SLOTS = 4;
const FULL_DISTANCE_SLOTS = 14;
const ALIGN_BITS = 4;
const LITERAL_PROBABILITIES = 0x300;

// A length coder: choice, choice2, then trees of 3 bits by position state (short, middle), and one of 8 bits (long).
const LENGTH_SHORT = 2;
const LENGTH_MIDDLE = LENGTH_SHORT + POSITION_STATES * 8;
const LENGTH_LONG = LENGTH_MIDDLE + POSITION_STATES * 8;
const LENGTH_PROBABILITIES = LENGTH_LONG + 256;

// Where each group of probabilities begins.
const IS_MATCH = 0;
const IS_REP = IS_MATCH + STATES * POSITION_STATES;
const IS_REP_G0 = IS_REP + STATES;
const IS_REP_G1 = IS_REP_G0 + STATES;
const IS_REP_G2 = IS_REP_G1 + STATES;
const IS_REP0_LONG = IS_REP_G2 + STATES;
const DISTANCE_SLOT = IS_REP0_LONG + STATES * POSITION_STATES;
const DISTANCE_SPECIAL = DISTANCE_SLOT + LENGTH_STATES * 64;
const DISTANCE_ALIGN = DISTANCE_SPECIAL + 128;
const MATCH_LENGTH = DISTANCE_ALIGN + (1 << ALIGN_BITS);
const REP_LENGTH = MATCH_LENGTH + LENGTH_PROBABILITIES;
const LITERAL = REP_LENGTH + LENGTH_PROBABILITIES;

/** The first byte of .lzma, and a byte in LZMA2's chunks: (pb * 5 + lp) * 9 + lc. */
export interface LzmaProperties {
  readonly lc: number;
  readonly lp: number;
  readonly pb: number;
}

export function lzmaProperties(byte: number): LzmaProperties {
  if (byte >= 9 * 5 * 5) throw new Damaged("its properties do not exist");
  return { lc: byte % 9, lp: Math.floor(byte / 9) % 5, pb: Math.floor(byte / 45) };
}

/** Decodes range-coded data piece by piece, keeping what they have in common: probabilities, state, last distances. */
export class LzmaDecoder {
  readonly #output: Output;
  /** Where in the output the dictionary begins. */
  #dictionaryStart = 0;
  #properties: LzmaProperties = { lc: 0, lp: 0, pb: 0 };
  #probabilities = new Uint16Array(0);
  #state = 0;
  /** Last distances, less one. */
  #reps: [number, number, number, number] = [0, 0, 0, 0];

  #data: Uint8Array = new Uint8Array(0);
  #at = 0;
  #range = 0;
  #code = 0;

  constructor(output: Output) {
    this.#output = output;
  }

  resetDictionary(): void {
    this.#dictionaryStart = this.#output.length;
  }

  /** A state reset, with new properties or the old ones. */
  reset(properties: LzmaProperties = this.#properties): void {
    this.#properties = properties;
    const count = LITERAL + (LITERAL_PROBABILITIES << (properties.lc + properties.lp));
    if (this.#probabilities.length !== count) this.#probabilities = new Uint16Array(count);
    this.#probabilities.fill(EVEN);
    this.#state = 0;
    this.#reps = [0, 0, 0, 0];
  }

  /**
   * Decodes `data` until there are `end` bytes of output in sum. Where not `exact`, an end marker is what ends the data, and `end` is
   * but a limit.
   */
  decode(data: Uint8Array, end: number, exact: boolean): void {
    this.#start(data);
    const output = this.#output;
    const positionMask = (1 << this.#properties.pb) - 1;
    while (output.length < end || !exact) {
      if (this.#at > data.length) throw new Damaged("it is cut short");
      const positionState = (output.length - this.#dictionaryStart) & positionMask;
      if (this.#bit(IS_MATCH + this.#state * POSITION_STATES + positionState) === 0) {
        output.claim(1);
        output.bytes[output.length] = this.#literal();
        output.length++;
        continue;
      }
      const length = this.#match(positionState);
      if (length === 0) break;
      const distance = this.#reps[0] + 1;
      if (distance > output.length - this.#dictionaryStart) throw new Damaged("a match begins before its dictionary");
      if (length > end - output.length) {
        if (exact) throw new Damaged("a match is longer than what is left");
        output.claim(length);
      }
      output.repeat(distance, length);
    }
    if (this.#at > data.length || (exact && output.length < end)) throw new Damaged("it is cut short");
  }

  #start(data: Uint8Array): void {
    if (data.length < 5) throw new Damaged("it is cut short");
    if (data[0] !== 0) throw new Damaged("its range coder does not begin with 0");
    this.#data = data;
    this.#at = 5;
    this.#range = -1;
    this.#code = (data[1] << 24) | (data[2] << 16) | (data[3] << 8) | data[4];
  }

  #bit(index: number): number {
    const probability = this.#probabilities[index];
    const bound = Math.imul(this.#range >>> PROBABILITY_BITS, probability);
    let bit: number;
    if ((this.#code ^ SIGN) < (bound ^ SIGN)) {
      this.#range = bound;
      this.#probabilities[index] = probability + (((1 << PROBABILITY_BITS) - probability) >> ADAPT_SHIFT);
      bit = 0;
    } else {
      this.#range = (this.#range - bound) | 0;
      this.#code = (this.#code - bound) | 0;
      this.#probabilities[index] = probability - (probability >> ADAPT_SHIFT);
      bit = 1;
    }
    if (this.#range >>> 24 === 0) this.#normalize();
    return bit;
  }

  #normalize(): void {
    this.#range <<= 8;
    this.#code = (this.#code << 8) | this.#data[this.#at++];
  }

  /** Bits of even probability, the highest first. */
  #directBits(count: number): number {
    let value = 0;
    for (; count > 0; count--) {
      this.#range >>>= 1;
      let bit = 0;
      if ((this.#code ^ SIGN) >= (this.#range ^ SIGN)) {
        this.#code = (this.#code - this.#range) | 0;
        bit = 1;
      }
      value = (value << 1) | bit;
      if (this.#range >>> 24 === 0) this.#normalize();
    }
    return value;
  }

  #tree(start: number, bits: number): number {
    let node = 1;
    for (let i = 0; i < bits; i++) node = (node << 1) | this.#bit(start + node);
    return node - (1 << bits);
  }

  /** The lowest bit first. */
  #reverseTree(start: number, bits: number): number {
    let node = 1;
    let value = 0;
    for (let i = 0; i < bits; i++) {
      const bit = this.#bit(start + node);
      node = (node << 1) | bit;
      value |= bit << i;
    }
    return value;
  }

  #literal(): number {
    const { bytes, length } = this.#output;
    const { lc, lp } = this.#properties;
    const position = length - this.#dictionaryStart;
    const before = position > 0 ? bytes[length - 1] : 0;
    const context = ((position & ((1 << lp) - 1)) << lc) | (before >>> (8 - lc));
    const start = LITERAL + LITERAL_PROBABILITIES * context;
    let symbol = 1;
    if (this.#state >= FIRST_MATCH_STATE) {
      // After a match, the byte that would have continued it is a hint.
      const distance = this.#reps[0] + 1;
      if (distance > position) throw new Damaged("a match begins before its dictionary");
      let hint = bytes[length - distance];
      while (symbol < 0x100) {
        const hintBit = (hint >>> 7) & 1;
        hint <<= 1;
        const bit = this.#bit(start + ((1 + hintBit) << 8) + symbol);
        symbol = (symbol << 1) | bit;
        if (bit !== hintBit) break;
      }
    }
    while (symbol < 0x100) symbol = (symbol << 1) | this.#bit(start + symbol);
    this.#state = this.#state < 4 ? 0 : this.#state < 10 ? this.#state - 3 : this.#state - 6;
    return symbol & 0xff;
  }

  /** Reads a match and puts its distance first; its length, or 0 for the end marker. */
  #match(positionState: number): number {
    const reps = this.#reps;
    const state = this.#state;
    const afterLiteral = state < FIRST_MATCH_STATE;
    if (this.#bit(IS_REP + state) === 0) {
      const length = this.#length(MATCH_LENGTH, positionState);
      const distance = this.#distance(length);
      if (distance === 0xffff_ffff) return 0;
      this.#reps = [distance, reps[0], reps[1], reps[2]];
      this.#state = afterLiteral ? 7 : 10;
      return length + MIN_MATCH;
    }
    if (this.#bit(IS_REP_G0 + state) === 0) {
      if (this.#bit(IS_REP0_LONG + state * POSITION_STATES + positionState) === 0) {
        this.#state = afterLiteral ? 9 : 11;
        return 1;
      }
    } else if (this.#bit(IS_REP_G1 + state) === 0) {
      this.#reps = [reps[1], reps[0], reps[2], reps[3]];
    } else if (this.#bit(IS_REP_G2 + state) === 0) {
      this.#reps = [reps[2], reps[0], reps[1], reps[3]];
    } else {
      this.#reps = [reps[3], reps[0], reps[1], reps[2]];
    }
    this.#state = afterLiteral ? 8 : 11;
    return this.#length(REP_LENGTH, positionState) + MIN_MATCH;
  }

  #length(coder: number, positionState: number): number {
    if (this.#bit(coder) === 0) return this.#tree(coder + LENGTH_SHORT + positionState * 8, 3);
    if (this.#bit(coder + 1) === 0) return 8 + this.#tree(coder + LENGTH_MIDDLE + positionState * 8, 3);
    return 16 + this.#tree(coder + LENGTH_LONG, 8);
  }

  /** Less one; unsigned 32 bits. */
  #distance(length: number): number {
    const slot = this.#tree(DISTANCE_SLOT + Math.min(length, LENGTH_STATES - 1) * 64, 6);
    if (slot < DIRECT_SLOTS) return slot;
    const bits = (slot >>> 1) - 1;
    const high = (2 | (slot & 1)) << bits;
    if (slot < FULL_DISTANCE_SLOTS) return high + this.#reverseTree(DISTANCE_SPECIAL + high - slot, bits);
    const middle = this.#directBits(bits - ALIGN_BITS) << ALIGN_BITS;
    return (high + middle + this.#reverseTree(DISTANCE_ALIGN, ALIGN_BITS)) >>> 0;
  }
}

const HEADER_BYTES = 13;
const UNKNOWN = 0xffff_ffff_ffff_ffffn;

/** A .lzma file: properties, size of the dictionary, size of the content or -1, data. */
export function decompressLzma(data: Uint8Array, limits: Limits): Uint8Array {
  if (data.length < HEADER_BYTES) throw new Damaged("it is cut short");
  const output = new Output(limits);
  const size = new DataView(data.buffer, data.byteOffset).getBigUint64(5, true);
  const exact = size !== UNKNOWN;
  if (exact) output.claim(Number(size));
  const decoder = new LzmaDecoder(output);
  decoder.reset(lzmaProperties(data[0]));
  decoder.decode(data.subarray(HEADER_BYTES), exact ? Number(size) : limits.maxBytes, exact);
  return output.finish();
}
