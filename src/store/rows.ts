/** Between records and rows: column names, JSON columns, and nothing else. */

import type { DomainRecord, EventRecord, ImageRecord, TaskRecord } from "../toolstack/model.ts";
import type { StepRow } from "../toolstack/ports.ts";

export type Row = Record<string, unknown>;

interface Column {
  readonly key: string;
  readonly column: string;
  readonly json: boolean;
}

/** A table's columns, in order. */
export interface Shape<T> {
  readonly table: string;
  readonly names: readonly string[];
  toRow(record: T): Row;
  fromRow(row: Row): T;
}

/** memoryMiB is memory_mib. */
function columnName(key: string): string {
  return key.replace("MiB", "Mib").replaceAll(/[A-Z]/g, (capital) => `_${capital.toLowerCase()}`);
}

export function shape<T extends object>(
  table: string,
  columns: { readonly [K in keyof Required<T>]: "plain" | "json" },
): Shape<T> {
  const list: Column[] = Object.entries(columns).map(([key, kind]) => ({
    key,
    column: columnName(key),
    json: kind === "json",
  }));
  return {
    table,
    names: list.map(({ column }) => column),
    toRow(record) {
      const row: Row = {};
      for (const { key, column, json } of list) {
        const value = (record as Row)[key];
        row[column] = json && value !== null ? JSON.stringify(value) : value;
      }
      return row;
    },
    fromRow(row) {
      const record: Row = {};
      for (const { key, column, json } of list) {
        const value = row[column];
        record[key] = json && value !== null ? JSON.parse(value as string) : value;
      }
      return record as T;
    },
  };
}

export const domainShape = shape<DomainRecord>("domains", {
  uuid: "plain",
  name: "plain",
  description: "plain",
  kernel: "plain",
  ramdisk: "plain",
  cmdline: "plain",
  memoryMiB: "plain",
  maxMemoryMiB: "plain",
  vcpus: "plain",
  cpuWeight: "plain",
  cpuCap: "plain",
  cpuAffinity: "json",
  onCrash: "plain",
  onHostCrash: "plain",
  stopPriority: "plain",
  configVersion: "plain",
  state: "plain",
  runtimeVersion: "plain",
  domid: "plain",
  bootEpoch: "plain",
  startedAt: "plain",
  createdAt: "plain",
  changedAt: "plain",
  lastStop: "json",
  lastCrash: "json",
  project: "plain",
  createdBy: "plain",
});

export const imageShape = shape<ImageRecord>("images", {
  id: "plain",
  kind: "plain",
  sha256: "plain",
  size: "plain",
  createdAt: "plain",
  inspection: "json",
  project: "plain",
});

export const taskShape = shape<TaskRecord>("tasks", {
  id: "plain",
  operation: "plain",
  domain: "plain",
  state: "plain",
  step: "plain",
  stepsDone: "plain",
  stepsTotal: "plain",
  createdAt: "plain",
  startedAt: "plain",
  finishedAt: "plain",
  result: "json",
  refusal: "json",
  project: "plain",
});

export const eventShape = shape<EventRecord>("events", {
  sequence: "plain",
  time: "plain",
  class: "plain",
  operation: "plain",
  reason: "plain",
  id: "plain",
  project: "plain",
  object: "plain",
});

/** `index` is called `step` in the table: INDEX is a word of SQL. */
export function stepToRow(step: StepRow): Row {
  return { task: step.task, step: step.index, name: step.name, state: step.state, time: step.time };
}

export function stepFromRow(row: Row): StepRow {
  const { task, step, name, state, time } = row as Row & { step: number };
  return { task, index: step, name, state, time } as StepRow;
}
