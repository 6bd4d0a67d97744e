/** Tasks: operations under way or done. */

import { Type } from "typebox";
import { TASK_STATES } from "../../toolstack/model.ts";
import { Count, maybe, maybeRef, named, oneOf, page, Time, Uuid } from "./shapes.ts";

const TaskRefusal = named("TaskRefusal", "Why a task failed.", {
  ok: Type.Literal(false),
  code: Type.String({ description: "The last part of the problem's type." }),
  detail: Type.String(),
  field: Type.Optional(Type.String()),
  limit: Type.Optional(Type.Unsafe<number | string>({ type: ["number", "string"] })),
  task: Type.Optional(Type.String()),
});

export const Task = named("Task", "An operation on a domain, with its journal's place.", {
  id: Uuid,
  operation: Type.String(),
  domain: Uuid,
  state: oneOf(TASK_STATES),
  step: maybe(Type.String(), "The step under way, or the one that failed."),
  stepsDone: Count,
  stepsTotal: Count,
  createdAt: Time,
  startedAt: maybe(Time),
  finishedAt: maybe(Time),
  refusal: maybeRef(TaskRefusal),
});

export const TaskPage = page("TaskPage", Task);

export const taskSchemas = [TaskRefusal, Task, TaskPage];
