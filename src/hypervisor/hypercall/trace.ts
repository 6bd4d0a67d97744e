/**
 * The last hypercalls of a domain, in a ring of fixed size. Exists only while tracing is on, so that a domain that is not
 * traced pays one comparison with null.
 *
 * What the arguments point to is copied as the call begins: the trace shows what the guest handed in, and the call itself still reads
 * guest memory in its own time. The entries of a multicall are calls of their own here.
 */
import type { HypercallArgs } from "./arguments.ts";
import { hex } from "./hex.ts";
import type { HypercallContext, Operand } from "./table.ts";

const ENTRIES = 4096;
const ARGS = 5;
/** vcpu, number, flags, elements of the operand, args. */
const WORDS = 4 + ARGS * 2;
const RETURNED = 1;
const IN_MULTICALL = 2;
/** Of what the arguments point to. */
const OPERAND_BYTES = 96;

export interface TraceRecord {
  readonly seq: number;
  readonly vcpu: number;
  /** System time in ns. */
  readonly time: number;
  /** Instructions the vCPU had executed. */
  readonly instructions: number;
  readonly number: number;
  readonly inMulticall: boolean;
  /** Hexadecimal, rdi rsi rdx r10 r8. */
  readonly args: readonly string[];
  /** The structs that the arguments point to, as far as they are kept; empty where they point to none, or nowhere. */
  readonly operand: Uint8Array;
  /** Absent while the call has not returned (parked, continued or never to return). */
  readonly result?: number;
  /** Sequence numbers of the page-table refusals that the call met: above the first, up to the second. */
  readonly refusals: readonly [number, number];
}

export class HypercallTrace {
  readonly #words = new Int32Array(ENTRIES * WORDS);
  readonly #operands = new Uint8Array(ENTRIES * OPERAND_BYTES);
  readonly #time = new Float64Array(ENTRIES);
  readonly #instructions = new Float64Array(ENTRIES);
  readonly #result = new Float64Array(ENTRIES);
  readonly #refusalsBefore = new Float64Array(ENTRIES);
  readonly #refusalsAfter = new Float64Array(ENTRIES);
  readonly #only: ReadonlySet<number> | undefined;
  #next: number;

  /** `firstSeq` continues the numbering of an earlier trace of the same domain; `only` names the hypercalls to keep. */
  constructor(firstSeq: number, only?: ReadonlySet<number>) {
    this.#next = firstSeq;
    this.first = firstSeq;
    this.#only = only;
  }

  readonly first: number;

  /** The sequence number that the next call will get. */
  get next(): number {
    return this.#next;
  }

  /** Notes a call, with what its arguments point to; returns its sequence number, or -1 for one that is not kept. */
  begin(
    { domain, vcpu }: HypercallContext,
    number: number,
    args: HypercallArgs,
    operand: Operand | undefined,
    inMulticall = false,
  ): number {
    if (this.#only !== undefined && !this.#only.has(number)) return -1;
    const seq = this.#next++;
    const slot = seq % ENTRIES;
    const at = slot * WORDS;
    this.#words[at] = vcpu.id;
    this.#words[at + 1] = number;
    this.#words[at + 2] = inMulticall ? IN_MULTICALL : 0;
    for (let i = 0; i < ARGS * 2; i++) this.#words[at + 4 + i] = args.words[i]!;
    const bytes = operandBytes(operand);
    const start = slot * OPERAND_BYTES;
    const kept =
      bytes.length > 0 &&
      domain.memory.copyFromGuest(vcpu.id, bytes.va, this.#operands.subarray(start, start + bytes.length));
    this.#words[at + 3] = kept ? bytes.length : 0;
    this.#time[slot] = vcpu.shard.now();
    this.#instructions[slot] = vcpu.instructions;
    this.#refusalsBefore[slot] = domain.memory.refusals.count;
    this.#refusalsAfter[slot] = domain.memory.refusals.count;
    return seq;
  }

  /** Notes a call's result, unless its record has been overwritten since. */
  end({ domain }: HypercallContext, seq: number, result: number): void {
    if (seq < this.#next - ENTRIES || seq < this.first) return;
    const slot = seq % ENTRIES;
    this.#result[slot] = result;
    this.#refusalsAfter[slot] = domain.memory.refusals.count;
    this.#words[slot * WORDS + 2]! |= RETURNED;
  }

  /** Records from `since` on that are still kept, oldest first. */
  *read(since: number): Generator<TraceRecord> {
    for (let seq = Math.max(since, this.#next - ENTRIES, this.first); seq < this.#next; seq++) {
      const slot = seq % ENTRIES;
      const at = slot * WORDS;
      const args: string[] = [];
      for (let i = 0; i < ARGS; i++) {
        args.push(hex(this.#words[at + 4 + i * 2]!, this.#words[at + 5 + i * 2]!));
      }
      const flags = this.#words[at + 2]!;
      const start = slot * OPERAND_BYTES;
      yield {
        seq,
        vcpu: this.#words[at]!,
        time: this.#time[slot]!,
        instructions: this.#instructions[slot]!,
        number: this.#words[at + 1]!,
        inMulticall: (flags & IN_MULTICALL) !== 0,
        args,
        operand: this.#operands.subarray(start, start + this.#words[at + 3]!),
        refusals: [this.#refusalsBefore[slot]!, this.#refusalsAfter[slot]!],
        ...((flags & RETURNED) !== 0 && { result: this.#result[slot]! }),
      };
    }
  }
}

/** Where the operand lies, and how much of it is kept: whole elements. */
function operandBytes(operand: Operand | undefined): { va: number; length: number } {
  if (operand === undefined || Number.isNaN(operand.va)) return { va: 0, length: 0 };
  const { layout, va, count } = operand;
  return { va, length: Math.min(count, Math.floor(OPERAND_BYTES / layout.size)) * layout.size };
}
