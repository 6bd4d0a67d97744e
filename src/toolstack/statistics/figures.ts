/** The figures of a domain that people and programs look at: one table for the API, the history and Prometheus. */

import { Column, EXIT_COLUMNS, HYPERCALL_COLUMNS } from "../../hypervisor/statistics.ts";

export interface Figure {
  /** Its name in the API. */
  readonly key: string;
  /** A counter grows while the domain lives, and its history is its growth a second; a gauge goes up and down. */
  readonly kind: "counter" | "gauge";
  /** Of the figure itself, of which a counter's history is `unit` a second. */
  readonly unit: "s" | "bytes" | "";
  readonly help: string;
  /** From a row of the hypervisor's statistics. */
  of(row: Float64Array): number;
}

const counted = (key: string, column: number, help: string): Figure => ({
  key,
  kind: "counter",
  unit: "",
  help,
  of: (row) => row[column]!,
});
const seconds = (key: string, column: number, help: string): Figure => ({
  key,
  kind: "counter",
  unit: "s",
  help,
  of: (row) => row[column]! / 1e9,
});
const bytes = (key: string, of: (row: Float64Array) => number, help: string): Figure => ({
  key,
  kind: "gauge",
  unit: "bytes",
  help,
  of,
});

export const DOMAIN_FIGURES: readonly Figure[] = [
  seconds("cpu", Column.running, "Time that vCPUs ran."),
  seconds("steal", Column.runnable, "Time that vCPUs could have run and others did."),
  seconds("blocked", Column.blocked, "Time that vCPUs waited for an event."),
  counted("instructions", Column.instructions, "Instructions executed."),
  counted("hypercalls", Column.hypercalls, "Hypercalls made."),
  counted("eventsSent", Column.eventsSent, "Event channel notifications sent."),
  counted("upcalls", Column.upcalls, "Event upcalls received."),
  bytes("memory", (row) => row[Column.memoryKiB]! * 1024, "Memory of the guest."),
  bytes("memoryMax", (row) => row[Column.maxMemoryKiB]! * 1024, "What the guest's memory may grow to."),
  bytes("overhead", (row) => row[Column.overheadBytes]!, "Host memory beyond the guest's own."),
  { key: "vcpus", kind: "gauge", unit: "", help: "vCPUs that are up.", of: (row) => row[Column.vcpusOnline]! },
];

/** What is kept of a domain over time, in order. */
export const DOMAIN_SERIES: readonly Figure[] = [
  "cpu",
  "steal",
  "instructions",
  "hypercalls",
  "eventsSent",
  "upcalls",
  "memory",
  "vcpus",
].map((key) => DOMAIN_FIGURES.find((figure) => figure.key === key)!);

/** What is kept of the host over time, in order. */
export const HOST_SERIES: readonly Omit<Figure, "of">[] = [
  { key: "busy", kind: "counter", unit: "s", help: "Time that guest workers ran." },
  { key: "cpu", kind: "counter", unit: "s", help: "Processor time of the whole process." },
  { key: "resident", kind: "gauge", unit: "bytes", help: "Resident memory of the process." },
  { key: "memoryFree", kind: "gauge", unit: "bytes", help: "Memory that new domains may take." },
  { key: "domains", kind: "gauge", unit: "", help: "Domains that live." },
];

/** What makes a domain leave the processor, each with the count of a row. */
export const EXIT_FIGURES = partsOf(EXIT_COLUMNS);
/** Every hypercall that there is, each with the count of a row. */
export const HYPERCALL_FIGURES = partsOf(HYPERCALL_COLUMNS);

function partsOf(columns: readonly (readonly [number, string])[]) {
  return columns.map(([at, name]) => ({ name, of: (row: Float64Array) => row[at]! }));
}
