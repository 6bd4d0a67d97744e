/** How often a domain made each hypercall and each sub-operation. Counting is one addition in a flat array. */
import { NR_HYPERCALLS } from "../../abi/xen.ts";

const SUBOPS = 64;

export class HypercallCounters {
  readonly #calls = new Float64Array(NR_HYPERCALLS);
  readonly #subops = new Float64Array(NR_HYPERCALLS * SUBOPS);

  /** `number` is below NR_HYPERCALLS. */
  count(number: number): void {
    this.#calls[number]!++;
  }

  /** Sub-operations from 63 on share one slot, the last. */
  countSubop(number: number, op: number, times = 1): void {
    this.#subops[number * SUBOPS + (op >>> 0 < SUBOPS - 1 ? op : SUBOPS - 1)]! += times;
  }

  calls(number: number): number {
    return this.#calls[number]!;
  }

  /** [op, count] of every sub-operation that was made at least once. */
  subops(number: number): [number, number][] {
    const counts: [number, number][] = [];
    for (let op = 0; op < SUBOPS; op++) {
      const count = this.#subops[number * SUBOPS + op]!;
      if (count > 0) counts.push([op, count]);
    }
    return counts;
  }
}
