/** /v1/faults: faults on purpose, where the service was started with them. */

import type { TypeBoxTypeProvider } from "@fastify/type-provider-typebox";
import type { FastifyInstance } from "fastify";
import { FAULTS_OFF, type Faults, faultView } from "../../toolstack/faults.ts";
import { HttpProblem, problemOf } from "../problem.ts";
import type { RouteContext } from "../route-context.ts";
import { Fault, FaultList, faultPath, NewFault } from "../schemas/fault.ts";
import { ref } from "../schemas/shapes.ts";

export async function faultRoutes(plain: FastifyInstance, { toolstack, operationIds }: RouteContext): Promise<void> {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>();
  const tags = ["faults"];

  app.get(
    "/v1/faults",
    {
      config: { role: "admin", allProjects: true },
      schema: {
        operationId: "listFaults",
        tags,
        summary: "List the faults that are armed",
        response: { 200: ref(FaultList) },
      },
    },
    async () => ({ items: on().list().map(faultView) }),
  );

  app.post(
    "/v1/faults",
    {
      config: { role: "admin", allProjects: true },
      schema: {
        operationId: "addFault",
        tags,
        summary: "Inject a fault",
        description:
          "Every strike is marked: the answer's header X-Domzero-Fault and the problem's `fault` name it, the log and an event of the class fault tell of it. Requests to /v1/faults are spared. Refused unless the service runs with DOMZERO_FAULTS=1. A restart lifts all faults.",
        body: ref(NewFault),
        response: { 201: ref(Fault) },
      },
    },
    async (request, reply) => {
      const { operationId } = request.body;
      const faults = on();
      if (operationId !== undefined && !operationIds.has(operationId))
        throw new HttpProblem("bad-value", `The API has no operation ${operationId}.`, {
          in: "body",
          field: "operationId",
        });
      const added = await faults.add(request.body);
      if (!added.ok) throw problemOf(added);
      return reply.code(201).header("Location", `/v1/faults/${added.value.id}`).send(faultView(added.value));
    },
  );

  app.get(
    "/v1/faults/:fault",
    {
      config: { role: "admin", allProjects: true },
      schema: {
        operationId: "getFault",
        tags,
        summary: "Look at a fault that is armed",
        params: faultPath,
        response: { 200: ref(Fault) },
      },
    },
    async (request) => {
      const found = on().find(request.params.fault);
      if (!found.ok) throw problemOf(found);
      return faultView(found.value);
    },
  );

  app.delete(
    "/v1/faults/:fault",
    {
      config: { role: "admin", allProjects: true },
      schema: {
        operationId: "liftFault",
        tags,
        summary: "Lift a fault",
        params: faultPath,
        response: { 204: { type: "null", description: "It is lifted." } },
      },
    },
    async (request, reply) => {
      const lifted = on().lift(request.params.fault);
      if (!lifted.ok) throw problemOf(lifted);
      return reply.code(204).send(null);
    },
  );

  app.delete(
    "/v1/faults",
    {
      config: { role: "admin", allProjects: true },
      schema: {
        operationId: "liftFaults",
        tags,
        summary: "Lift all faults",
        response: { 204: { type: "null", description: "They are lifted." } },
      },
    },
    async (_request, reply) => {
      on().liftAll();
      return reply.code(204).send(null);
    },
  );

  function on(): Faults {
    if (toolstack.faults) return toolstack.faults;
    throw problemOf(FAULTS_OFF);
  }
}
