/** /v1/tasks: operations under way and done. */

import type { TypeBoxTypeProvider } from "@fastify/type-provider-typebox";
import type { FastifyInstance } from "fastify";
import { Type } from "typebox";
import { SORTS } from "../../toolstack/lists.ts";
import { TASK_STATES, type TaskState } from "../../toolstack/model.ts";
import { taskView } from "../../toolstack/views.ts";
import { type Shown, sendPage } from "../listing.ts";
import { HttpProblem, problemOf } from "../problem.ts";
import type { RouteContext } from "../route-context.ts";
import { cursorQuery, sortQuery, words } from "../schemas/lists.ts";
import { closed, ref, Uuid } from "../schemas/shapes.ts";
import { preference, Task, taskPages, taskResponse } from "../schemas/task.ts";
import { awaitEnd } from "../waiting.ts";

const SHOWN: Shown<"tasks"> = { kind: "tasks", view: (task) => taskView(task), schema: Task };

export async function taskRoutes(plain: FastifyInstance, { toolstack }: RouteContext): Promise<void> {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>();

  app.get(
    "/v1/tasks",
    {
      config: { role: "viewer", etag: "digest" },
      schema: {
        operationId: "listTasks",
        tags: ["tasks"],
        summary: "List tasks; ended ones are kept for a day",
        querystring: closed({
          state: Type.Optional(words(TASK_STATES, "One or more states, with commas.")),
          operation: Type.Optional(Type.String({ minLength: 1, maxLength: 64 })),
          domain: Type.Optional(Uuid),
          sort: sortQuery(SORTS.tasks),
          ...cursorQuery,
        }),
        response: { 200: taskPages.response },
      },
    },
    async (request, reply) => {
      return sendPage(toolstack, SHOWN, request, reply, ({ state, operation, domain }) => ({
        ...(state !== undefined && { state: state.split(",") as TaskState[] }),
        ...(operation !== undefined && { operation }),
        ...(domain !== undefined && { domain: domain.toLowerCase() }),
      }));
    },
  );

  app.get(
    "/v1/tasks/:task",
    {
      config: { role: "viewer", etag: "digest" },
      schema: {
        operationId: "getTask",
        tags: ["tasks"],
        summary: "Look at a task",
        params: closed({ task: Uuid }),
        response: { 200: ref(Task) },
      },
    },
    async (request) => {
      const found = toolstack.task(request.params.task);
      if (!found.ok) throw problemOf(found);
      return taskView(found.value, toolstack.domains.progress(found.value));
    },
  );

  app.post(
    "/v1/tasks/:task/cancel",
    {
      config: { role: "operator", optionalBody: true },
      schema: {
        operationId: "cancelTask",
        tags: ["tasks"],
        summary: "End a task before it is done",
        description:
          "One that waits ends at once. One that runs is rolled back as soon as its step lets it, and leaves the domain as it was, or halted where its guest is gone already. A task that has ended, or has only final steps left, is refused. Waits up to 10 s, then answers 202.",
        params: closed({ task: Uuid }),
        headers: preference,
        body: closed({}),
        response: { 200: ref(Task), 202: taskResponse },
      },
    },
    async (request, reply) => {
      const accepted = toolstack.cancel(request.params.task);
      if (!accepted.ok) throw problemOf(accepted);
      const ended = await awaitEnd(accepted.value, request, reply);
      if (!ended) return reply.code(202).send(taskView(accepted.value.task));
      if (ended.state === "succeeded")
        throw new HttpProblem("task-ended", "The task succeeded before it could be ended.", { task: ended.id });
      return taskView(ended);
    },
  );
}
