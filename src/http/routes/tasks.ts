/** /v1/tasks: operations under way and done. */

import type { TypeBoxTypeProvider } from "@fastify/type-provider-typebox";
import type { FastifyInstance } from "fastify";
import { Type } from "typebox";
import { taskView } from "../../toolstack/views.ts";
import { problemOf } from "../problem.ts";
import type { RouteContext } from "../route-context.ts";
import { closed, pageQuery, ref, Uuid } from "../schemas/shapes.ts";
import { Task, TaskPage } from "../schemas/task.ts";

export async function taskRoutes(plain: FastifyInstance, { toolstack }: RouteContext): Promise<void> {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>();

  app.get(
    "/v1/tasks",
    {
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
      const { items, next } = toolstack.tasks(page, domain?.toLowerCase());
      return { items: items.map(taskView), next: next ?? null };
    },
  );

  app.get(
    "/v1/tasks/:task",
    {
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
      return taskView(found.value);
    },
  );
}
