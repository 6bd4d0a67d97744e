/** /v1/tasks: operations under way and done. */

import type { TypeBoxTypeProvider } from "@fastify/type-provider-typebox";
import type { FastifyInstance } from "fastify";
import { Type } from "typebox";
import { sightOf } from "../../toolstack/caller.ts";
import { taskView } from "../../toolstack/views.ts";
import { HttpProblem, problemOf } from "../problem.ts";
import type { RouteContext } from "../route-context.ts";
import { closed, pageQuery, ref, Uuid } from "../schemas/shapes.ts";
import { preference, Task, TaskPage, taskResponse } from "../schemas/task.ts";
import { awaitEnd } from "../waiting.ts";

export async function taskRoutes(plain: FastifyInstance, { toolstack }: RouteContext): Promise<void> {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>();

  app.get(
    "/v1/tasks",
    {
      config: { role: "viewer" },
      schema: {
        operationId: "listTasks",
        tags: ["tasks"],
        summary: "List tasks; ended ones are kept for a day",
        querystring: closed({ ...pageQuery, domain: Type.Optional(Uuid) }),
        response: { 200: ref(TaskPage) },
      },
    },
    async (request) => {
      const { domain, ...page } = request.query;
      const { items, next } = toolstack.tasks({ ...page, ...sightOf(request.caller) }, domain?.toLowerCase());
      return { items: items.map((task) => taskView(task)), next: next ?? null };
    },
  );

  app.get(
    "/v1/tasks/:task",
    {
      config: { role: "viewer" },
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
