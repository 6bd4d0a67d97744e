/** /v1/domains/batch: one action on many domains. */

import type { TypeBoxTypeProvider } from "@fastify/type-provider-typebox";
import type { FastifyInstance } from "fastify";
import { taskView } from "../../toolstack/views.ts";
import { problemOf } from "../problem.ts";
import type { RouteContext } from "../route-context.ts";
import { BatchAnswer, batchAnswer, NewBatch } from "../schemas/batch.ts";
import { domainFilter } from "../schemas/domain.ts";
import { ref } from "../schemas/shapes.ts";
import { preference, taskResponse } from "../schemas/task.ts";
import { awaitEnd } from "../waiting.ts";

export async function batchRoutes(plain: FastifyInstance, { toolstack }: RouteContext): Promise<void> {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>();

  app.post(
    "/v1/domains/batch",
    {
      config: { role: "operator" },
      schema: {
        operationId: "actOnDomains",
        tags: ["domains"],
        summary: "Act on many domains",
        description:
          "On those of a list or of a filter, eight at a time. Each has a status of its own in the answer, as if it had been asked for alone. The whole is a task, whose `result` has the same: waits up to 10 s for it, then answers 202.",
        headers: preference,
        body: ref(NewBatch),
        response: { 200: ref(BatchAnswer), 202: taskResponse },
      },
    },
    async (request, reply) => {
      const { operation, domains, filter, options = {} } = request.body;
      const started = await toolstack.batches.start(
        { operation, options, ...(domains && { domains }), ...(filter && { filter: domainFilter(filter) }) },
        request.caller,
      );
      if (!started.ok) throw problemOf(started);
      const ended = await awaitEnd(started.value, request, reply);
      if (!ended) return reply.code(202).send(taskView(started.value.task));
      return batchAnswer(ended);
    },
  );
}
