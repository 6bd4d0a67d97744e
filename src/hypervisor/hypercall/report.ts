/** A domain's hypercalls for people: how many of each, with names. */
import { NR_HYPERCALLS } from "../../abi/xen.ts";
import type { Domain } from "../domain.ts";
import { hypercalls } from "./hypercalls.ts";

export interface HypercallCounter {
  readonly number: number;
  readonly name: string;
  readonly count: number;
  readonly subops: readonly { readonly op: number; readonly name: string; readonly count: number }[];
}

export const hypercallName = (number: number): string => hypercalls[number]?.name ?? `hypercall_${number}`;
export const subopName = (number: number, op: number): string =>
  hypercalls[number]?.subops?.names.get(op) ?? `op_${op}`;

/** Every hypercall that was made at least once. */
export function hypercallCounters({ counters }: Domain): HypercallCounter[] {
  const report: HypercallCounter[] = [];
  for (let number = 0; number < NR_HYPERCALLS; number++) {
    const count = counters.calls(number);
    if (count === 0) continue;
    const subops = counters.subops(number).map(([op, times]) => ({ op, name: subopName(number, op), count: times }));
    report.push({ number, name: hypercallName(number), count, subops });
  }
  return report;
}
