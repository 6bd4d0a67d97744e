/** /v1/domains/{domain}/console/ws: the console as a WebSocket. */

import type { TypeBoxTypeProvider } from "@fastify/type-provider-typebox";
import type { FastifyInstance } from "fastify";
import { Type } from "typebox";
import { ConsoleSocket } from "../console-socket.ts";
import { HttpProblem, problemOf } from "../problem.ts";
import type { RouteContext } from "../route-context.ts";
import { domainPath } from "../schemas/domain.ts";
import { closed } from "../schemas/shapes.ts";

export async function consoleSocketRoutes(plain: FastifyInstance, { toolstack, streams }: RouteContext): Promise<void> {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>();
  const { domains, consoles } = toolstack;

  app.route({
    method: "GET",
    url: "/v1/domains/:domain/console/ws",
    config: { role: "operator", acts: true },
    schema: {
      operationId: "attachConsole",
      tags: ["console"],
      summary: "Attach to the console (WebSocket)",
      description:
        "The log from `offset` (the oldest byte kept unless said), then live, as binary messages; messages of either kind are typed. Close codes: 4004 the domain was deleted, 4003 the token has ended or no longer sees the domain, 4008 the client reads too slowly, 4009 the domain does not run.",
      params: domainPath,
      querystring: closed({
        offset: Type.Integer({ minimum: 0, default: 0 }),
        ticket: Type.Optional(Type.String({ maxLength: 64, description: "From POST /v1/tickets." })),
      }),
      response: { 101: { type: "null", description: "A WebSocket." } },
    },
    preHandler: async (request) => {
      const found = domains.find(request.params.domain);
      if (!found.ok) throw problemOf(found);
    },
    handler: async (_request, reply) => {
      reply.headers({ Upgrade: "websocket", Connection: "Upgrade" });
      throw new HttpProblem("upgrade-required", "Ask for it with a WebSocket client; GET .../console reads the log.");
    },
    wsHandler: (socket, request) => {
      const { domain } = request.params as { domain: string };
      const { offset } = request.query as { offset: number };
      const found = domains.find(domain);
      if (!found.ok) return socket.close(4004, "the domain was deleted");
      const { uuid } = found.value;
      const { start, end, bytes } = consoles.read(uuid, offset, 1);
      const from = bytes.length === 0 ? end : start;
      const type = (typed: Uint8Array) => domains.type(uuid, typed);
      const console = new ConsoleSocket({ socket, consoles, uuid, offset: from, type });
      socket.once(
        "close",
        streams.add(request, (why) => console.end(why)),
      );
    },
  });
}
