/** A domain's hypercalls for people: counters and trace, with names. */
import { NR_HYPERCALLS } from "../../abi/xen.ts";
import type { Domain } from "../domain.ts";
import { hypercalls } from "./hypercalls.ts";
import { HypercallTrace } from "./trace.ts";

export interface HypercallCounter {
  readonly number: number;
  readonly name: string;
  readonly count: number;
  readonly subops: readonly { readonly op: number; readonly name: string; readonly count: number }[];
}

export interface TraceEntry {
  readonly seq: number;
  readonly vcpu: number;
  /** System time in ns. */
  readonly time: number;
  readonly instructions: number;
  /** `hypercall` or `hypercall.sub_operation`. */
  readonly name: string;
  /** Hexadecimal, rdi rsi rdx r10 r8. */
  readonly args: readonly string[];
  /** Signed decimal; absent while parked, and for calls that do not return. */
  readonly result?: string;
}

export interface TraceReport {
  readonly tracing: boolean;
  readonly trace: readonly TraceEntry[];
  /** Sequence number to read from next time. */
  readonly next: number;
}

export const hypercallName = (number: number) => hypercalls[number]?.name ?? `hypercall_${number}`;
const subopName = (number: number, op: number) => hypercalls[number]?.subops?.names.get(op) ?? `op_${op}`;

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

/** Switches tracing on or off; a trace that was switched off is forgotten, its numbering goes on. */
export function setTrace(domain: Domain, on: boolean): void {
  if (on === (domain.trace !== null)) return;
  if (domain.trace !== null) domain.traceNext = domain.trace.next;
  domain.trace = on ? new HypercallTrace(domain.traceNext) : null;
}

/** Calls from sequence number `since` on, `limit` at most. */
export function readTrace(domain: Domain, since: number, limit: number): TraceReport {
  const { trace } = domain;
  if (trace === null) return { tracing: false, trace: [], next: domain.traceNext };
  const records = trace.read(since, limit);
  return {
    tracing: true,
    trace: records.map(({ seq, vcpu, time, instructions, number, args, result }) => {
      const subops = hypercalls[number]?.subops;
      const op =
        subops === undefined || subops.arg < 0
          ? -1
          : (Number.parseInt(args[subops.arg]!.slice(2).slice(-8), 16) & subops.mask) >>> 0;
      const name = op < 0 ? hypercallName(number) : `${hypercallName(number)}.${subopName(number, op)}`;
      const entry = { seq, vcpu, time, instructions, name, args };
      return result === undefined ? entry : { ...entry, result: String(result) };
    }),
    next: records.length > 0 ? records.at(-1)!.seq + 1 : trace.next,
  };
}
