/** How the record of a domain changes with its instance: each change is one version and one event. */

import type { DomainRecord, LastStop, StopReason } from "../model.ts";
import type { Writer } from "../ports.ts";
import { saveDomain } from "../views.ts";

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

/**
 * The record of a domain whose instance the host has lost, or takes along when it stops: halted, or suspended where `onHostCrash` wants
 * it restored and `hasImage` says that it can be. `returnsTo` says that it is due to come back. A crashed guest does not.
 */
export function lostByHost(
  record: DomainRecord,
  reason: "host-stopped" | "host-restarted" | "worker-lost",
  now: number,
  hasImage: boolean,
  why?: string,
): DomainRecord {
  const { onHostCrash, state } = record;
  const restored = onHostCrash === "restore" && hasImage;
  const returns = state !== "crashed" && (onHostCrash === "restart" || restored);
  const imageless = onHostCrash === "restore" && !hasImage ? "There is no suspend image to restore it from." : "";
  const detail = [why, imageless].filter(Boolean).join(" ");
  return {
    ...record,
    state: restored && returns ? "suspended" : "halted",
    ...NOT_LIVE,
    lastStop: {
      ...stopOf(record, reason, now, detail),
      ...(returns && { returnsTo: state === "paused" ? "paused" : "running" }),
    },
    runtimeVersion: record.runtimeVersion + 1,
    changedAt: now,
  };
}
