/** Tasks: operations under way or done. */

import { Type } from "typebox";
import { TASK_STATES } from "../../toolstack/model.ts";
import { pages } from "./lists.ts";
import { Count, maybe, maybeRef, named, oneOf, ref, Time, Uuid } from "./shapes.ts";

const TaskRefusal = named("TaskRefusal", "Why a task failed.", {
  ok: Type.Literal(false),
  code: Type.String({ description: "The last part of the problem's type." }),
  detail: Type.String(),
  field: Type.Optional(Type.String()),
  limit: Type.Optional(Type.Unsafe<number | string>({ type: ["number", "string"] })),
  task: Type.Optional(Type.String()),
  fault: Type.Optional(Type.String({ description: "The fault that was asked for and struck here." })),
});

const TaskProgress = named("TaskProgress", "How far the step under way is.", {
  bytes: Type.Integer({ minimum: 0, description: "Written so far." }),
  mostBytes: Type.Integer({ minimum: 0, description: "Written at most; empty pages are left out." }),
});

export const Task = named("Task", "An operation under way or ended.", {
  id: Uuid,
  operation: Type.String(),
  domain: maybe(Uuid, "What it is an operation on; null for one on several."),
  state: oneOf(TASK_STATES),
  step: maybe(Type.String(), "The step under way, or the one that failed."),
  stepsDone: Count,
  stepsTotal: Count,
  createdAt: Time,
  startedAt: maybe(Time),
  finishedAt: maybe(Time),
  progress: maybeRef(TaskProgress),
  result: Type.Unsafe<Readonly<Record<string, unknown>> | null>({
    type: ["object", "null"],
    additionalProperties: true,
    description: "What it made, once it succeeded: the `domain`, its `domid`, the `bytes` of its file.",
  }),
  refusal: maybeRef(TaskRefusal),
  project: maybe(Type.String(), "The domain's, when the task was made."),
});

/** How long a request waits for its task. */
export const preference = Type.Object({
  prefer: Type.Optional(Type.String({ description: "`respond-async`, or `wait=<seconds>`." })),
});

/** 202: the task goes on. */
export const taskResponse = {
  ...ref(Task),
  headers: { Location: { type: "string", description: "The task." } },
};

export const taskPages = pages("TaskPage", Task);

export const taskSchemas = [TaskRefusal, TaskProgress, Task, ...taskPages.schemas];
