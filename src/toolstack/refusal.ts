/**
 * What the toolstack says instead of doing something: a value with a stable code, never an exception.
 *
 * Invariant: a refusal means that nothing was changed. Codes are part of the API (src/http/problem.ts gives each its
 * status and title); they are added to, never renamed.
 */

export const REFUSAL_CODES = [
  "domain-not-found",
  "image-not-found",
  "task-not-found",
  "project-not-found",
  "token-not-found",
  "node-not-found",
  "bad-path",
  "value-too-large",
  "too-many-watches",
  "bad-name",
  "name-taken",
  "bad-value",
  "out-of-range",
  "project-unknown",
  "project-in-use",
  "quota-exceeded",
  "image-unknown",
  "image-wrong-kind",
  "image-in-use",
  "image-empty",
  "image-too-large",
  "image-digest-differs",
  "upload-cut-off",
  "wrong-state",
  "operation-pending",
  "too-many-operations",
  "precondition-failed",
  "key-reused",
  "key-in-flight",
  "answer-not-kept",
  "too-many-keys",
  "no-memory",
  "no-worker",
  "bad-kernel",
  "unsupported-kernel",
  "bad-ramdisk",
  "does-not-fit",
  "bad-image",
  "cannot-save",
  "guest-silent",
  "guest-did-otherwise",
  "cancelled",
  "task-ended",
  "not-cancellable",
  "host-restarted",
  "host-stopping",
  "worker-lost",
  "console-full",
  "events-gone",
  "storage-full",
  "faults-off",
  "fault-not-found",
  "history-off",
  "history-unavailable",
  "internal",
] as const;

export type RefusalCode = (typeof REFUSAL_CODES)[number];

export interface Refusal {
  readonly ok: false;
  readonly code: RefusalCode;
  /** A sentence for people: what was wrong and the way out. */
  readonly detail: string;
  /** The request field at fault, as a JSON pointer without the leading slash. */
  readonly field?: string;
  /** The limit that was passed, where there is one. */
  readonly limit?: number | string;
  /** The task that stands in the way, or that failed. */
  readonly task?: string;
  /** A fresh event token, for `events-gone`. */
  readonly token?: string;
  /** The fault that was asked for and struck here. */
  readonly fault?: string;
  /** Bytes that were taken all the same, for `console-full`. */
  readonly accepted?: number;
}

export interface Done<T> {
  readonly ok: true;
  readonly value: T;
}

export type Result<T> = Done<T> | Refusal;

export function done<T>(value: T): Done<T> {
  return { ok: true, value };
}

export function refuse(code: RefusalCode, detail: string, more: Omit<Refusal, "ok" | "code" | "detail"> = {}): Refusal {
  return { ok: false, code, detail, ...more };
}
