/** Every type of problem with its status and title: the one place where refusals meet HTTP. */

import type { RefusalCode } from "../toolstack/refusal.ts";

/** Problems that HTTP itself has, before the toolstack is asked. */
const OWN_CODES = [
  "bad-request",
  "malformed-json",
  "unauthorized",
  "role-too-low",
  "all-projects-needed",
  "rate-limited",
  "host-refused",
  "origin-refused",
  "route-not-found",
  "method-not-allowed",
  "body-too-large",
  "media-type",
  "header-too-large",
  "request-timeout",
  "upgrade-required",
] as const;

export type ProblemCode = RefusalCode | (typeof OWN_CODES)[number];

interface ProblemKind {
  readonly status: number;
  readonly title: string;
}

export const PROBLEMS: Readonly<Record<ProblemCode, ProblemKind>> = {
  "bad-request": { status: 400, title: "The request breaks the schema" },
  "malformed-json": { status: 400, title: "The body is not JSON" },
  unauthorized: { status: 401, title: "A valid token is needed" },
  "role-too-low": { status: 403, title: "The token's role does not suffice" },
  "all-projects-needed": { status: 403, title: "A token for all projects is needed" },
  "rate-limited": { status: 429, title: "The token asks too often" },
  "host-refused": { status: 421, title: "The Host header is not of this service" },
  "origin-refused": { status: 403, title: "The Origin is foreign" },
  "route-not-found": { status: 404, title: "No such route" },
  "method-not-allowed": { status: 405, title: "The route does not know this method" },
  "body-too-large": { status: 413, title: "The body is too large" },
  "media-type": { status: 415, title: "The content type is not taken here" },
  "header-too-large": { status: 431, title: "The headers are too large" },
  "request-timeout": { status: 408, title: "The request came too slowly" },
  "upgrade-required": { status: 426, title: "This route speaks WebSocket" },
  "domain-not-found": { status: 404, title: "No such domain" },
  "image-not-found": { status: 404, title: "No such image" },
  "task-not-found": { status: 404, title: "No such task" },
  "project-not-found": { status: 404, title: "No such project" },
  "token-not-found": { status: 404, title: "No such token" },
  "node-not-found": { status: 404, title: "No such node in xenstore" },
  "bad-path": { status: 422, title: "The path is none of xenstore's" },
  "value-too-large": { status: 422, title: "The value is too large" },
  "too-many-watches": { status: 429, title: "Too many watches are open" },
  "bad-name": { status: 422, title: "The name cannot be used" },
  "name-taken": { status: 409, title: "The name is taken" },
  "bad-value": { status: 422, title: "A value cannot be used" },
  "out-of-range": { status: 422, title: "A value is out of range" },
  "project-unknown": { status: 422, title: "The project is not there" },
  "project-in-use": { status: 409, title: "The project is not empty" },
  "quota-exceeded": { status: 409, title: "The token's quota is used up" },
  "image-unknown": { status: 422, title: "The image is not there" },
  "image-wrong-kind": { status: 422, title: "The image is of another kind" },
  "image-in-use": { status: 409, title: "The image is in use" },
  "image-empty": { status: 400, title: "The image has no bytes" },
  "image-too-large": { status: 413, title: "The image is too large" },
  "image-digest-differs": { status: 422, title: "The digest does not match" },
  "upload-cut-off": { status: 400, title: "The upload broke off" },
  "wrong-state": { status: 409, title: "The domain's state does not allow this" },
  "operation-pending": { status: 409, title: "An operation waits for the guest" },
  "too-many-operations": { status: 429, title: "Too many operations wait" },
  "precondition-failed": { status: 412, title: "The configuration has changed" },
  "key-reused": { status: 422, title: "The key came with another request" },
  "key-in-flight": { status: 409, title: "The key's request is being carried out" },
  "answer-not-kept": { status: 409, title: "The first answer is not kept" },
  "too-many-keys": { status: 429, title: "Too many keys are kept" },
  "no-memory": { status: 507, title: "The host's memory does not suffice" },
  "no-worker": { status: 409, title: "None of its workers is there" },
  "bad-kernel": { status: 422, title: "The kernel image is damaged" },
  "unsupported-kernel": { status: 422, title: "The kernel is of a kind that is not supported" },
  "bad-ramdisk": { status: 422, title: "The ramdisk image cannot be used" },
  "does-not-fit": { status: 422, title: "The domain's memory is too small for its images" },
  "bad-image": { status: 422, title: "The file of the suspended domain cannot be used" },
  "cannot-save": { status: 500, title: "The domain could not be saved" },
  "guest-silent": { status: 504, title: "The guest did not answer" },
  "guest-did-otherwise": { status: 409, title: "The guest did something else" },
  cancelled: { status: 409, title: "The operation was cancelled" },
  "task-ended": { status: 409, title: "The task has ended" },
  "not-cancellable": { status: 409, title: "The task can no longer be cancelled" },
  "host-restarted": { status: 500, title: "The service ended before the operation did" },
  "host-stopping": { status: 503, title: "The service is stopping" },
  "worker-lost": { status: 500, title: "The worker of the domain is gone" },
  "console-full": { status: 429, title: "The console's input queue is full" },
  "events-gone": { status: 410, title: "The event token cannot be continued" },
  "storage-full": { status: 507, title: "The disk is full" },
  "faults-off": { status: 403, title: "Fault injection is off" },
  "fault-not-found": { status: 404, title: "No such fault" },
  "history-off": { status: 404, title: "No history is kept" },
  "history-unavailable": { status: 503, title: "The history cannot be read now" },
  internal: { status: 500, title: "A fault of domzero itself" },
};

/** As they are listed: in the order in which a request meets them. */
export function problemKinds(): readonly ({ readonly type: string } & ProblemKind)[] {
  return (Object.keys(PROBLEMS) as ProblemCode[]).map((code) => ({ type: problemType(code), ...PROBLEMS[code] }));
}

export function problemType(code: ProblemCode): string {
  return `urn:domzero:problem:${code}`;
}
