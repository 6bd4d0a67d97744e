/**
 * The figures of every domain of a shard as one flat table of numbers, so that ten thousand domains are one message.
 *
 * A row is `COLUMNS`, in order. Times are ns and everything else is counted since the domain was made: a domid that comes back
 * counts anew.
 */
import { RUNSTATE } from "../abi/vcpu.ts";
import { NR_HYPERCALLS } from "../abi/xen.ts";
import { EXIT_CAUSES } from "./activity.ts";
import type { Domain } from "./domain.ts";
import { overheadBytes } from "./domain-control.ts";
import { hypercallName } from "./hypercall/report.ts";

const FIXED = [
  "domid",
  "vcpus",
  /** vCPUs that are up. */
  "vcpusOnline",
  /** ns of all vCPUs in each runstate. */
  "running",
  "runnable",
  "blocked",
  "offline",
  "instructions",
  "memoryKiB",
  "maxMemoryKiB",
  /** Host memory beyond the guest's. */
  "overheadBytes",
  "eventsSent",
  "upcalls",
  /** All hypercalls. */
  "hypercalls",
] as const;
const EXITS = FIXED.length;
const HYPERCALLS = EXITS + EXIT_CAUSES.length;

/** Place of each figure in a row. */
export const Column = Object.fromEntries(FIXED.map((name, index) => [name, index])) as Readonly<
  Record<(typeof FIXED)[number], number>
>;
/** [place, cause], and [place, name] of every hypercall that there is. */
export const EXIT_COLUMNS: readonly (readonly [number, string])[] = EXIT_CAUSES.map((cause, index) => [
  EXITS + index,
  cause,
]);
export const HYPERCALL_COLUMNS: readonly (readonly [number, string])[] = Array.from(
  { length: NR_HYPERCALLS },
  (_, number) => [HYPERCALLS + number, hypercallName(number)],
);
/** Numbers in a row. */
export const ROW = HYPERCALLS + NR_HYPERCALLS;

/** A row for each of `domains`. */
export function statisticsTable(domains: Iterable<Domain>, count: number, now: number): Float64Array<ArrayBuffer> {
  const table = new Float64Array(count * ROW);
  let at = 0;
  for (const domain of domains) {
    fill(table.subarray(at, at + ROW), domain, now);
    at += ROW;
  }
  return table;
}

function fill(row: Float64Array, domain: Domain, now: number): void {
  const { activity, counters, memory } = domain;
  row[Column.domid] = domain.id;
  row[Column.vcpus] = domain.vcpuCount;
  for (const vcpu of domain.vcpus) {
    if (vcpu.up) row[Column.vcpusOnline]!++;
    row[Column.running]! += vcpu.runstate.time(RUNSTATE.running, now);
    row[Column.runnable]! += vcpu.runstate.time(RUNSTATE.runnable, now);
    row[Column.blocked]! += vcpu.runstate.time(RUNSTATE.blocked, now);
    row[Column.offline]! += vcpu.runstate.time(RUNSTATE.offline, now);
    row[Column.instructions]! += vcpu.instructions;
  }
  row[Column.memoryKiB] = memory.frames.ownPages * 4;
  row[Column.maxMemoryKiB] = memory.maxPages * 4;
  row[Column.overheadBytes] = Object.values(overheadBytes(domain)).reduce((sum, bytes) => sum + bytes, 0);
  row[Column.eventsSent] = activity.eventsSent;
  row[Column.upcalls] = activity.upcalls;
  row.set(activity.exits, EXITS);
  for (let number = 0; number < NR_HYPERCALLS; number++) {
    const calls = counters.calls(number);
    row[HYPERCALLS + number] = calls;
    row[Column.hypercalls]! += calls;
  }
}
