/** Says in words why something about a frame was refused, and keeps it in the domain's ring. */
import { type FrameTable, typeName } from "./frame-table.ts";
import { entryText, mfnOfEntry } from "./page-entry.ts";
import type { RefusalRule, Refusals } from "./refusals.ts";

const foreignText = {
  io: "is I/O memory that the domain has no access to",
  "other-owner": "belongs to another owner",
  free: "belongs to nobody",
  hypervisor: "belongs to the hypervisor",
  "no-such-frame": "does not exist",
} as const;

export class Explanations {
  readonly #frames: FrameTable;
  readonly #refusals: Refusals;

  constructor(frames: FrameTable, refusals: Refusals) {
    this.#frames = frames;
    this.#refusals = refusals;
  }

  /** Names a slot of a table, for use in `text`. */
  where(level: number, table: number, slot: number): string {
    return `L${level} slot ${slot} of frame ${hex(table + this.#frames.baseMfn)}`;
  }

  /** About a frame that exists; `text` goes on after its number. */
  frame(rule: RefusalRule, index: number, entry: string, text: string): void {
    const mfn = index + this.#frames.baseMfn;
    this.#refusals.add(rule, mfn, this.#frames.heldAs(index), entry, `frame ${hex(mfn)}: ${text}`);
  }

  wrongType(index: number, type: number): void {
    this.frame("wrong-type", index, "", `wanted as ${typeName(type)}, but it is held as ${this.#frames.heldAs(index)}`);
  }

  flags(level: number, lo: number, hi: number, flags: number, table: number, slot: number): void {
    const text = `${this.where(level, table, slot)} has flags ${hex(flags)}, which an L${level} entry may not have`;
    this.#refusals.add("flags", mfnOfEntry(lo, hi), "", entryText(lo, hi), text);
  }

  /** About a frame that is not the domain's; `asked` says who named it. */
  foreign(rule: RefusalRule, mfn: number, entry: string, asked: string): void {
    const what = foreignText[this.#frames.foreignKind(mfn)];
    this.#refusals.add(rule, mfn, "", entry, `frame ${hex(mfn)} ${what}, and ${asked} names it`);
  }

  /** About an argument rather than a frame. */
  argument(rule: RefusalRule, value: number, text: string): void {
    this.#refusals.add(rule, value, "", "", text);
  }
}

const hex = (value: number): string => `0x${value.toString(16)}`;
