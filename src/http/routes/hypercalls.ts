/** /v1/domains/{domain}/hypercalls: what a guest asks of the hypervisor. */

import type { TypeBoxTypeProvider } from "@fastify/type-provider-typebox";
import type { FastifyInstance } from "fastify";
import { Type } from "typebox";
import { problemOf } from "../problem.ts";
import type { RouteContext } from "../route-context.ts";
import { domainPath } from "../schemas/domain.ts";
import { HypercallReport, Tracing } from "../schemas/service.ts";
import { closed, ref } from "../schemas/shapes.ts";

export async function hypercallRoutes(plain: FastifyInstance, { toolstack }: RouteContext): Promise<void> {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>();
  const { domains } = toolstack;

  app.get(
    "/v1/domains/:domain/hypercalls",
    {
      config: { role: "viewer" },
      schema: {
        operationId: "getHypercalls",
        tags: ["domains"],
        summary: "Counters of hypercalls, their trace, and refused page-table updates",
        params: domainPath,
        querystring: closed({
          since: Type.Integer({ minimum: 0, default: 0, description: "`next` of the report before." }),
          name: Type.Optional(
            Type.String({ maxLength: 64, description: "Only this hypercall, or `hypercall.sub_operation`." }),
          ),
          vcpu: Type.Optional(Type.Integer({ minimum: 0, description: "Only calls of this vCPU." })),
          failed: Type.Optional(
            Type.Boolean({ description: "Only calls with a negative result, or only the others." }),
          ),
          limit: Type.Integer({ minimum: 1, maximum: 1000, default: 1000, description: "Most trace entries to give." }),
        }),
        response: { 200: ref(HypercallReport) },
      },
    },
    async (request) => {
      const report = await domains.hypercalls(request.params.domain, request.query);
      if (!report.ok) throw problemOf(report);
      return report.value;
    },
  );

  app.put(
    "/v1/domains/:domain/hypercalls/trace",
    {
      config: { role: "operator" },
      schema: {
        operationId: "setHypercallTrace",
        tags: ["domains"],
        summary: "Trace hypercalls, or stop that",
        params: domainPath,
        body: ref(Tracing),
        response: { 200: ref(Tracing) },
      },
    },
    async (request) => {
      const { enabled, only } = request.body;
      const set = await domains.trace(request.params.domain, enabled, only);
      if (!set.ok) throw problemOf(set);
      return request.body;
    },
  );
}
