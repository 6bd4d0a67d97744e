/** Figures: of a domain now, of a domain and of the host over time. */

import type { TypeBoxTypeProvider } from "@fastify/type-provider-typebox";
import type { FastifyInstance, FastifyReply } from "fastify";
import type { Result } from "../../toolstack/refusal.ts";
import type { HistoryAnswer, HistoryQuery } from "../../toolstack/statistics/statistics.ts";
import { problemOf } from "../problem.ts";
import type { RouteContext } from "../route-context.ts";
import { domainPath } from "../schemas/domain.ts";
import { ref } from "../schemas/shapes.ts";
import { DomainStatistics, domainHistoryQuery, hostHistoryQuery, StatisticsHistory } from "../schemas/statistics.ts";

interface Asked {
  readonly from?: string;
  readonly to?: string;
  readonly step?: number;
  readonly metrics?: string;
}

export async function statisticsRoutes(plain: FastifyInstance, { toolstack }: RouteContext): Promise<void> {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>();
  const { statistics } = toolstack;
  const tags = ["statistics"];

  app.get(
    "/v1/domains/:domain/statistics",
    {
      config: { role: "viewer" },
      schema: {
        operationId: "getDomainStatistics",
        tags,
        summary: "Look at what a live domain did",
        params: domainPath,
        response: { 200: ref(DomainStatistics) },
      },
    },
    async (request) => {
      const found = await statistics.ofDomain(request.params.domain);
      if (!found.ok) throw problemOf(found);
      return { ...found.value, time: new Date(found.value.time).toISOString() };
    },
  );

  app.get(
    "/v1/domains/:domain/statistics/history",
    {
      config: { role: "viewer" },
      schema: {
        operationId: "getDomainHistory",
        tags,
        summary: "Look at what a domain did over time",
        description:
          "Counters are given as their growth a second. A domain that does not live, or has just been started, leaves gaps; what is kept goes with the domain.",
        params: domainPath,
        querystring: domainHistoryQuery,
        response: { 200: ref(StatisticsHistory) },
      },
    },
    async (request, reply) =>
      send(reply, await statistics.historyOfDomain(request.params.domain, queryOf(request.query))),
  );

  app.get(
    "/v1/host/statistics/history",
    {
      config: { role: "viewer" },
      schema: {
        operationId: "getHostHistory",
        tags,
        summary: "Look at what the host did over time",
        querystring: hostHistoryQuery,
        response: { 200: ref(StatisticsHistory) },
      },
    },
    async (request, reply) => send(reply, await statistics.historyOfHost(queryOf(request.query))),
  );
}

function queryOf({ from, to, step, metrics }: Asked): HistoryQuery {
  return {
    ...(from !== undefined && { from: secondsOf(from) }),
    ...(to !== undefined && { to: secondsOf(to) }),
    ...(step !== undefined && { step }),
    ...(metrics !== undefined && { metrics }),
  };
}

function secondsOf(time: string): number {
  return Math.floor(Date.parse(time) / 1000);
}

/** Thousands of numbers: printed as they are, in one go. */
function send(reply: FastifyReply, answer: Result<HistoryAnswer>): FastifyReply {
  if (!answer.ok) throw problemOf(answer);
  const { from, step, units, points } = answer.value;
  reply.type("application/json; charset=utf-8").serializer((value: unknown) => JSON.stringify(value));
  return reply.send({ from: new Date(from * 1000).toISOString(), step, units, points } as never);
}
