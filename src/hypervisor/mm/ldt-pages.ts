/**
 * The pages of each vCPU's LDT. One is looked up when the processor first reads a descriptor of it, through the kernel's page tables, and
 * then held as a descriptor page, so that nobody writes it meanwhile. Invariant: a page is held for as long as its LDT and its root are
 * those of the look-up; either's change lets all of the vCPU's go.
 */

import { PageType } from "./frame-table.ts";
import { accessOk } from "./guest-memory.ts";
import { PAGE_SIZE } from "./memory-map.ts";
import { PRESENT } from "./page-entry.ts";
import type { PageTables } from "./page-tables.ts";
import type { PageTypes } from "./page-types.ts";

export class LdtPages {
  readonly #types: PageTypes;
  readonly #tables: PageTables;
  /** By vCPU: number of the page in the LDT, and index of its frame. */
  readonly held: readonly Map<number, number>[];

  constructor(types: PageTypes, tables: PageTables, vcpus: number) {
    this.#types = types;
    this.#tables = tables;
    this.held = Array.from({ length: vcpus }, () => new Map());
  }

  /** The frame (mfn) of page number `page` of the LDT at `base`; -1: nothing is there, or it cannot be a descriptor page. */
  frame(vcpu: number, rootMfn: number, base: number, page: number): number {
    const types = this.#types;
    const held = this.held[vcpu]!;
    let index = held.get(page);
    if (index === undefined) {
      index = this.#lookUp(rootMfn, base + page * PAGE_SIZE);
      if (index < 0 || types.getPageAndType(index, PageType.segDesc) !== 0) return -1;
      held.set(page, index);
    }
    return index + types.frames.baseMfn;
  }

  #lookUp(rootMfn: number, va: number): number {
    if (!accessOk(va)) return -1;
    const at = this.#tables.findLeaf(rootMfn, va);
    if (at < 0) return -1;
    const word = this.#types.wordOf(Math.floor(at / 512), at % 512);
    const lo = this.#types.words[word]!;
    return (lo & PRESENT) === 0 ? -1 : this.#types.frames.indexOf(lo, this.#types.words[word + 1]!);
  }

  /** Lets go of all that a vCPU holds. Settle afterwards. */
  drop(vcpu: number): void {
    const held = this.held[vcpu]!;
    for (const index of held.values()) this.#types.putPageAndType(index);
    held.clear();
  }
}
