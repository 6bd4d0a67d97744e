/**
 * The last hypercalls of a domain, in a ring of fixed size. Exists only while tracing is on, so that a domain that is not
 * traced pays one comparison with null.
 */
import type { HypercallArgs } from "./arguments.ts";

const ENTRIES = 4096;
const ARGS = 5;
/** vcpu, number, flags, args. */
const WORDS = 3 + ARGS * 2;
const RETURNED = 1;

export interface TraceRecord {
  readonly seq: number;
  readonly vcpu: number;
  /** System time in ns. */
  readonly time: number;
  /** Instructions the vCPU had executed. */
  readonly instructions: number;
  readonly number: number;
  /** Hexadecimal, rdi rsi rdx r10 r8. */
  readonly args: readonly string[];
  /** Absent while the call has not returned (parked, continued or never to return). */
  readonly result?: number;
}

export class HypercallTrace {
  readonly #words = new Int32Array(ENTRIES * WORDS);
  readonly #time = new Float64Array(ENTRIES);
  readonly #instructions = new Float64Array(ENTRIES);
  readonly #result = new Float64Array(ENTRIES);
  #next: number;

  /** `firstSeq` continues the numbering of an earlier trace of the same domain. */
  constructor(firstSeq: number) {
    this.#next = firstSeq;
    this.first = firstSeq;
  }

  readonly first: number;

  /** The sequence number that the next call will get. */
  get next(): number {
    return this.#next;
  }

  /** Notes a call; returns its sequence number. */
  begin(vcpu: number, time: number, instructions: number, number: number, args: HypercallArgs): number {
    const seq = this.#next++;
    const slot = seq % ENTRIES;
    const at = slot * WORDS;
    this.#words[at] = vcpu;
    this.#words[at + 1] = number;
    this.#words[at + 2] = 0;
    for (let i = 0; i < ARGS * 2; i++) this.#words[at + 3 + i] = args.words[i]!;
    this.#time[slot] = time;
    this.#instructions[slot] = instructions;
    return seq;
  }

  /** Notes a call's result, unless its record has been overwritten since. */
  end(seq: number, result: number): void {
    if (seq < this.#next - ENTRIES || seq < this.first) return;
    const slot = seq % ENTRIES;
    this.#result[slot] = result;
    this.#words[slot * WORDS + 2] = RETURNED;
  }

  /** Records from `since` on that are still kept, oldest first, `limit` at most. */
  read(since: number, limit: number): TraceRecord[] {
    const records: TraceRecord[] = [];
    let seq = Math.max(since, this.#next - ENTRIES, this.first);
    for (; seq < this.#next && records.length < limit; seq++) {
      const slot = seq % ENTRIES;
      const at = slot * WORDS;
      const args: string[] = [];
      for (let i = 0; i < ARGS; i++) {
        args.push(hex(this.#words[at + 3 + i * 2]!, this.#words[at + 4 + i * 2]!));
      }
      const record = {
        seq,
        vcpu: this.#words[at]!,
        time: this.#time[slot]!,
        instructions: this.#instructions[slot]!,
        number: this.#words[at + 1]!,
        args,
      };
      records.push(this.#words[at + 2] === RETURNED ? { ...record, result: this.#result[slot]! } : record);
    }
    return records;
  }
}

/** A 64-bit value from its halves, as `0x...`. */
export function hex(lo: number, hi: number): string {
  return hi === 0
    ? `0x${(lo >>> 0).toString(16)}`
    : `0x${(hi >>> 0).toString(16)}${(lo >>> 0).toString(16).padStart(8, "0")}`;
}
