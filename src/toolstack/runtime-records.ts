/** How the record of a domain changes with its instance: each change is one version and one event. */

import type { DomainRecord, LastStop, StopReason } from "./model.ts";
import type { Writer } from "./ports.ts";
import { saveDomain } from "./views.ts";

/** A domain without an instance. */
export const NOT_LIVE = { domid: null, bootEpoch: null, startedAt: null } as const;

export function changeRuntime(
  writer: Writer,
  record: DomainRecord,
  reason: string,
  change: Partial<DomainRecord>,
  now: number,
): void {
  const next = { ...record, ...change, runtimeVersion: record.runtimeVersion + 1, changedAt: now };
  saveDomain(writer, next, reason, now);
}

export function halt(
  writer: Writer,
  record: DomainRecord,
  lastStop: LastStop,
  reason: string,
  more: Partial<DomainRecord> = {},
): void {
  changeRuntime(writer, record, reason, { ...more, state: "halted", ...NOT_LIVE, lastStop }, lastStop.time);
}

/** The stop of the instance that `record` names. */
export function stopOf(record: DomainRecord, reason: StopReason, time: number, detail?: string): LastStop {
  return { reason, time, domid: record.domid ?? -1, ...(detail && { detail }) };
}

/** The record of a domain whose instance is gone with an earlier run of the service, or goes with this one. */
export function haltedByHost(
  record: DomainRecord,
  reason: "host-stopped" | "host-restarted",
  now: number,
): DomainRecord {
  return {
    ...record,
    state: "halted",
    ...NOT_LIVE,
    lastStop: stopOf(record, reason, now),
    runtimeVersion: record.runtimeVersion + 1,
    changedAt: now,
  };
}
