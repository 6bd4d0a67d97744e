/** /v1/domains/{domain}/console: what the guest printed, as bytes, and what is typed to it. */

import { pipeline } from "node:stream";
import type { TypeBoxTypeProvider } from "@fastify/type-provider-typebox";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { Type } from "typebox";
import { ConsoleStream } from "../console-stream.ts";
import { HttpProblem, problemOf } from "../problem.ts";
import { readBody, takeAnyBody } from "../raw-body.ts";
import type { RouteContext } from "../route-context.ts";
import { domainPath } from "../schemas/domain.ts";
import { Typed } from "../schemas/service.ts";
import { closed, ref } from "../schemas/shapes.ts";
import { cutWhenStalled } from "../stall.ts";

/** More than is ever kept. */
const WHOLE_LOG = 16 * 2 ** 20;
const MOST_TYPED = 64 * 1024;

const offsetHeaders = {
  "Console-Start": { type: "integer", description: "Absolute offset of the first byte given." },
  "Console-End": { type: "integer", description: "Absolute offset of the end of the log when it was read." },
};

export async function consoleRoutes(plain: FastifyInstance, context: RouteContext): Promise<void> {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>();
  const { domains, consoles } = context.toolstack;
  takeAnyBody(plain);

  app.get(
    "/v1/domains/:domain/console",
    {
      config: { role: "viewer" },
      schema: {
        operationId: "readConsole",
        tags: ["console"],
        summary: "Read the console log",
        description:
          "Bytes as the guest printed them. An offset that was cut off answers from the oldest byte kept, which Console-Start names. With follow the answer goes on as the guest prints, over reboots, until the domain is deleted.",
        params: domainPath,
        querystring: closed({
          offset: Type.Integer({ minimum: 0, default: 0, description: "Absolute, for the domain's life." }),
          limit: Type.Integer({ minimum: 1, maximum: WHOLE_LOG, default: WHOLE_LOG, description: "Not with follow." }),
          follow: Type.Boolean({ default: false }),
        }),
        response: {
          200: {
            description: "The log.",
            headers: offsetHeaders,
            content: { "text/plain": { schema: Type.String() } },
          },
        },
      },
    },
    async (request, reply) => {
      const found = domains.find(request.params.domain);
      if (!found.ok) throw problemOf(found);
      const { uuid } = found.value;
      const { offset, limit, follow } = request.query;
      const { start, bytes, end } = consoles.readAll(uuid, offset, follow ? 1 : limit);
      reply.type("text/plain; charset=utf-8").headers({ "Console-Start": start, "Console-End": end });
      if (!follow || request.method === "HEAD") return reply.send(Buffer.from(bytes) as never);
      return stream(request, reply, uuid, bytes.length === 0 ? end : start);
    },
  );

  app.post(
    "/v1/domains/:domain/console",
    {
      config: { role: "operator", bytes: true },
      schema: {
        operationId: "typeIntoConsole",
        tags: ["console"],
        summary: "Type into the console",
        description: "The body's bytes, as they are. What the guest has not read yet may be 64 KiB; more is 429.",
        params: domainPath,
        response: { 200: ref(Typed) },
      },
    },
    async (request) => {
      const bytes = await readBody(request.body as AsyncIterable<Uint8Array> | undefined, MOST_TYPED);
      if (!bytes)
        throw new HttpProblem("body-too-large", `At most ${MOST_TYPED} bytes can be typed at once.`, {
          limit: MOST_TYPED,
        });
      const typed = await domains.type(request.params.domain, bytes);
      if (!typed.ok) throw problemOf(typed);
      return typed.value;
    },
  );

  /** Sends the headers before there is anything to send, so that a client knows its place in an empty log. */
  function stream(request: FastifyRequest, reply: FastifyReply, uuid: string, from: number): FastifyReply {
    const source = new ConsoleStream(consoles, uuid, from);
    reply.hijack();
    const { raw } = reply;
    raw.writeHead(200, reply.getHeaders() as Record<string, string>);
    raw.flushHeaders();
    const ended = context.streams.add(request, () => source.destroy());
    cutWhenStalled(raw, () => reply.log.warn({ domain: uuid }, "a console reader does not read; cut off"));
    pipeline(source, raw, (error) => {
      ended();
      if (error) reply.log.debug({ err: error, domain: uuid }, "console stream ended");
    });
    return reply;
  }
}
