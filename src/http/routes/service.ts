/** The host, health, metrics, the API's own document, tickets. */

import { Readable } from "node:stream";
import type { TypeBoxTypeProvider } from "@fastify/type-provider-typebox";
import type { FastifyInstance } from "fastify";
import { Type } from "typebox";
import { problemKinds } from "../problem-types.ts";
import type { RouteContext } from "../route-context.ts";
import { ProblemKinds } from "../schemas/problem.ts";
import { Health, Host, Readiness, Ticket } from "../schemas/service.ts";
import { ref } from "../schemas/shapes.ts";

export async function serviceRoutes(plain: FastifyInstance, context: RouteContext): Promise<void> {
  const { toolstack, version, tickets, metrics, stopping } = context;
  const app = plain.withTypeProvider<TypeBoxTypeProvider>();
  const tags = ["service"];

  app.get(
    "/v1/host",
    {
      config: { role: "viewer" },
      schema: {
        operationId: "getHost",
        tags,
        summary: "Look at the host",
        response: { 200: ref(Host) },
      },
    },
    async () => ({
      ...(await toolstack.host()),
      version,
      node: process.version,
      bootEpoch: toolstack.bootEpoch,
      builtinKernels: [...toolstack.builtins.keys()],
      eventToken: toolstack.events.token(),
    }),
  );

  app.get(
    "/v1/problems",
    {
      config: { role: "viewer" },
      schema: {
        operationId: "listProblems",
        tags,
        summary: "List the types of problems",
        description: "Types are added to, never renamed; `detail` of a problem says what to do about this one.",
        response: { 200: ref(ProblemKinds) },
      },
    },
    async () => ({ items: problemKinds() }),
  );

  app.post(
    "/v1/tickets",
    {
      config: { role: "viewer", secret: true },
      schema: {
        operationId: "makeTicket",
        tags,
        summary: "Make a ticket for one WebSocket",
        description: "It opens one WebSocket as `?ticket=`, within 30 s. For browsers, which cannot send the token.",
        response: { 201: ref(Ticket) },
      },
    },
    async (request, reply) => {
      const { ticket, expiresAt } = tickets.issue(request.caller);
      return reply.code(201).send({ ticket, expiresAt: new Date(expiresAt).toISOString() });
    },
  );

  app.get(
    "/healthz",
    {
      config: { role: "anyone" },
      schema: {
        operationId: "getHealth",
        tags,
        security: [],
        summary: "Is the process alive?",
        response: { 200: ref(Health) },
      },
    },
    async () => ({ status: "ok" as const, version }),
  );

  app.get(
    "/readyz",
    {
      config: { role: "viewer" },
      schema: {
        operationId: "getReadiness",
        tags,
        summary: "Does the service take work?",
        description:
          "It does when its store takes a write, the threads that run guests answer, and it is not stopping.",
        response: { 200: ref(Readiness), 503: ref(Readiness) },
      },
    },
    async (_request, reply) => {
      if (stopping.aborted || toolstack.domains.stopping)
        return reply.code(503).send({ status: "stopping" as const, version, reasons: [] });
      const reasons = await toolstack.readiness.reasons();
      if (reasons.length > 0) return reply.code(503).send({ status: "failing" as const, version, reasons });
      return reply.send({ status: "ok" as const, version, reasons });
    },
  );

  app.get(
    "/metrics",
    {
      config: { role: "viewer", allProjects: true },
      schema: {
        operationId: "getMetrics",
        tags,
        summary: "Metrics for Prometheus",
        response: {
          200: { description: "Metrics.", content: { "text/plain": { schema: Type.String() } } },
        },
      },
    },
    async (_request, reply) => {
      const text = await metrics.render();
      // Some megabytes where there are many domains: sent as they are made.
      return reply.type(metrics.contentType).send(Readable.from(text, { objectMode: false }) as never);
    },
  );

  app.get("/openapi.json", { config: { role: "anyone" }, schema: { hide: true } }, async (_request, reply) =>
    reply.send(plain.swagger()),
  );
}
