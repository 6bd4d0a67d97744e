/** Why page-table and memory operations were refused: a bounded ring of explanations for a domain, newest last. */

/** Stable names of the rules; the text says the rest. */
export type RefusalRule =
  | "flags"
  | "io-frame"
  | "foreign-frame"
  | "no-such-frame"
  | "wrong-type"
  | "too-many-references"
  | "reserved-slot"
  | "linear-table"
  | "not-a-table"
  | "not-mapped"
  | "already-pinned"
  | "not-pinned"
  | "descriptor"
  | "reservation"
  | "bad-argument";

/** Plain data, survives a structured clone. */
export interface Refusal {
  /** Counts from 1 for the life of the domain. */
  readonly seq: number;
  /** System time in ns. */
  readonly time: number;
  readonly vcpu: number;
  /** The frame it is about, hexadecimal. */
  readonly mfn: string;
  readonly typeHeld: string;
  readonly rule: RefusalRule;
  /** The entry or argument refused, hexadecimal; empty where there is none. */
  readonly entry: string;
  /** One sentence. */
  readonly text: string;
}

const CAPACITY = 64;

export class Refusals {
  readonly #ring: Refusal[] = [];
  readonly #now: () => number;
  #seq = 0;
  /** Whose hypercall is being answered. */
  vcpu = 0;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** How many there have been; at most 64 of them are kept. */
  get count(): number {
    return this.#seq;
  }

  add(rule: RefusalRule, mfn: number, typeHeld: string, entry: string, text: string): void {
    if (this.#ring.length === CAPACITY) this.#ring.shift();
    const seq = ++this.#seq;
    this.#ring.push({
      seq,
      time: this.#now(),
      vcpu: this.vcpu,
      mfn: `0x${mfn.toString(16)}`,
      typeHeld,
      rule,
      entry,
      text,
    });
  }

  /** Those after `seq`, oldest first. */
  since(seq: number): readonly Refusal[] {
    return this.#ring.filter((refusal) => refusal.seq > seq);
  }

  get last(): Refusal | undefined {
    return this.#ring.at(-1);
  }
}
