/** Objects as the API and the events show them: the stored record with times as RFC 3339 and nothing hidden or added. */

import type { DomainRecord, EventRecord, ImageRecord, TaskProgress, TaskRecord } from "./model.ts";
import type { Writer } from "./ports.ts";

const at = (ms: number): string => new Date(ms).toISOString();
const maybeAt = (ms: number | null): string | null => (ms === null ? null : at(ms));

export function domainView(record: DomainRecord) {
  const { lastStop, lastCrash, startedAt, createdAt, changedAt, ...rest } = record;
  return {
    ...rest,
    startedAt: maybeAt(startedAt),
    createdAt: at(createdAt),
    changedAt: at(changedAt),
    lastStop: lastStop && { ...lastStop, time: at(lastStop.time) },
    lastCrash: lastCrash && { ...lastCrash, time: at(lastCrash.time) },
  };
}

export function imageView(record: ImageRecord) {
  return { ...record, createdAt: at(record.createdAt) };
}

/** `progress` is of the moment, so events have none. */
export function taskView(record: TaskRecord, progress: TaskProgress | null = null) {
  const { createdAt, startedAt, finishedAt, ...rest } = record;
  return {
    ...rest,
    progress,
    createdAt: at(createdAt),
    startedAt: maybeAt(startedAt),
    finishedAt: maybeAt(finishedAt),
  };
}

/** JSON text of an event as every transport sends it. */
export function eventJson(event: EventRecord, logEpoch: string): string {
  const head = JSON.stringify({
    token: `${logEpoch}:${event.sequence}`,
    time: at(event.time),
    class: event.class,
    operation: event.operation,
    reason: event.reason,
    id: event.id,
  });
  return `${head.slice(0, -1)},"object":${event.object}}`;
}

/** Stores a domain, and the event that says so. */
export function saveDomain(
  writer: Writer,
  record: DomainRecord,
  reason: string,
  time: number,
  operation: "add" | "mod" = "mod",
): void {
  writer.putDomain(record);
  const object = JSON.stringify(domainView(record));
  writer.appendEvent({ time, class: "domain", operation, reason, id: record.uuid, object });
}

/** Forgets a domain; the event carries its last state. */
export function dropDomain(writer: Writer, record: DomainRecord, reason: string, time: number): void {
  writer.removeDomain(record.uuid);
  const object = JSON.stringify(domainView(record));
  writer.appendEvent({ time, class: "domain", operation: "del", reason, id: record.uuid, object });
}

/** Stores a task, and the event that says so. */
export function saveTask(writer: Writer, record: TaskRecord, time: number, operation: "add" | "mod" = "mod"): void {
  writer.putTask(record);
  const object = JSON.stringify(taskView(record));
  writer.appendEvent({ time, class: "task", operation, reason: record.state, id: record.id, object });
}
