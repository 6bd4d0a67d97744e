/** Objects as the API and the events show them: the stored record with times as RFC 3339 and nothing hidden or added. */

import type { ProjectRecord, TokenRecord } from "./access/access-ports.ts";
import type { DomainRecord, EventRecord, ImageRecord, TaskProgress, TaskRecord } from "./model.ts";
import type { Writer } from "./ports.ts";

const at = (ms: number): string => new Date(ms).toISOString();
const maybeAt = (ms: number | null): string | null => (ms === null ? null : at(ms));

export function domainView(record: DomainRecord) {
  const { uuid, name, project, lastStop, lastCrash, startedAt, createdAt, changedAt, ...rest } = record;
  return {
    // First, whether the record was read from the database or has just been made: people look at it too.
    uuid,
    name,
    project,
    ...rest,
    startedAt: maybeAt(startedAt),
    createdAt: at(createdAt),
    changedAt: at(changedAt),
    lastStop: lastStop && { ...lastStop, time: at(lastStop.time) },
    lastCrash: lastCrash && { ...lastCrash, time: at(lastCrash.time) },
  };
}

const texts = new WeakMap<DomainRecord, string>();

/** JSON text of a domain's view: made once for a record, which never changes. */
export function domainJson(record: DomainRecord): string {
  let text = texts.get(record);
  if (text === undefined) {
    text = JSON.stringify(domainView(record));
    texts.set(record, text);
  }
  return text;
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

export function projectView({ name, description, createdAt }: ProjectRecord) {
  return { name, description, createdAt: at(createdAt) };
}

/** Without its digest. */
export function tokenView({ digest: _, createdAt, expiresAt, lastUsedAt, ...rest }: TokenRecord) {
  return { ...rest, createdAt: at(createdAt), expiresAt: maybeAt(expiresAt), lastUsedAt: maybeAt(lastUsedAt) };
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
    project: event.project,
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
  const before = operation === "mod" ? writer.domain(record.uuid) : undefined;
  writer.putDomain(record);
  const { uuid: id, project } = record;
  const object = domainJson(record);
  const event = { time, class: "domain", id } as const;
  if (before === undefined || before.project === project) {
    writer.appendEvent({ ...event, operation, reason, project, object });
    return;
  }
  // It goes away for those who see where it was, and comes to those who see where it is.
  const last = JSON.stringify(domainView(before));
  writer.appendEvent({ ...event, operation: "del", reason: "moved", project: before.project, object: last });
  writer.appendEvent({ ...event, operation: "add", reason: "moved", project, object });
}

/** Forgets a domain; the event carries its last state. */
export function dropDomain(writer: Writer, record: DomainRecord, reason: string, time: number): void {
  writer.removeDomain(record.uuid);
  const { uuid: id, project } = record;
  const object = JSON.stringify(domainView(record));
  writer.appendEvent({ time, class: "domain", operation: "del", reason, id, project, object });
}

/** Stores a task, and the event that says so. */
export function saveTask(writer: Writer, record: TaskRecord, time: number, operation: "add" | "mod" = "mod"): void {
  writer.putTask(record);
  const { id, project } = record;
  const object = JSON.stringify(taskView(record));
  writer.appendEvent({ time, class: "task", operation, reason: record.state, id, project, object });
}
