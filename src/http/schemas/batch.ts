/** Batches: what is asked, and an answer for each domain. */

import { type Static, Type } from "typebox";
import { type BatchResult, MOST_IN_BATCH } from "../../toolstack/batches.ts";
import type { TaskRecord } from "../../toolstack/model.ts";
import { PROBLEMS, problemType } from "../problem-types.ts";
import { DomainFilterFields, StartOptions, StopOptions } from "./domain.ts";
import { Count, closed, list, named, oneOf, ref, Uuid } from "./shapes.ts";

export const BATCH_OPERATIONS = [
  "start",
  "pause",
  "unpause",
  "shutdown",
  "reboot",
  "suspend",
  "resume",
  "destroy",
  "delete",
  "force-delete",
] as const;

export const NewBatch = named("NewBatch", "An action on many domains.", {
  operation: oneOf(BATCH_OPERATIONS),
  domains: Type.Optional(
    list(Type.String({ minLength: 1, maxLength: 128 }), {
      minItems: 1,
      maxItems: MOST_IN_BATCH,
      description: "Uuids or names; this or `filter`.",
    }),
  ),
  filter: Type.Optional(ref(DomainFilterFields)),
  options: Type.Optional(
    closed({ ...StartOptions.properties, ...StopOptions.properties }, { description: "As with the action alone." }),
  ),
});

const BatchItem = named("BatchItem", "What became of one domain.", {
  domain: Type.String({ description: "Its uuid, or what it was asked for by." }),
  status: Type.Integer({ description: "What the action alone would have been answered with." }),
  task: Type.Optional(Uuid),
  type: Type.Optional(Type.String({ description: "The problem's." })),
  detail: Type.Optional(Type.String({ description: "The problem's." })),
});

export const BatchAnswer = named("BatchAnswer", "An answer for each domain.", {
  task: Uuid,
  succeeded: Count,
  failed: Count,
  domains: list(ref(BatchItem)),
});

export function batchAnswer({ id, result }: TaskRecord): Static<typeof BatchAnswer> {
  const domains = ((result?.domains ?? []) as readonly BatchResult[]).map(({ domain, task, refusal }) => ({
    domain,
    status: refusal ? PROBLEMS[refusal.code].status : 200,
    ...(task !== undefined && { task }),
    ...(refusal && { type: problemType(refusal.code), detail: refusal.detail }),
  }));
  const failed = domains.filter(({ status }) => status >= 400).length;
  return { task: id, succeeded: domains.length - failed, failed, domains };
}

export const batchSchemas = [NewBatch, BatchItem, BatchAnswer];
