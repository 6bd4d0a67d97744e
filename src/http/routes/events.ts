/** /v1/events: the log of every change, as a list, a long poll, or Server-Sent Events. */

import type { TypeBoxTypeProvider } from "@fastify/type-provider-typebox";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { Type } from "typebox";
import { EVENT_CLASSES } from "../../toolstack/model.ts";
import { type EventFilter, matches } from "../event-feed.ts";
import { EVENTS_CLOSE, endSocket, socketEvents } from "../event-socket.ts";
import { streamEvents } from "../event-stream.ts";
import { HttpProblem, problemOf } from "../problem.ts";
import type { RouteContext } from "../route-context.ts";
import { EventPage } from "../schemas/service.ts";
import { closed, oneOf, ref } from "../schemas/shapes.ts";
import { cutWhenStalled, endStream } from "../stall.ts";

export async function eventRoutes(plain: FastifyInstance, context: RouteContext): Promise<void> {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>();
  const { events } = context.toolstack;

  app.get(
    "/v1/events",
    {
      config: { role: "viewer" },
      schema: {
        operationId: "getEvents",
        tags: ["events"],
        summary: "Read or follow the event log",
        description:
          "A list of the events after `since`, at most `limit`; with `wait` it waits that many seconds for the first. With Accept: text/event-stream the events follow one another for as long as the client listens. The last event is `slow` with the token to resume from for a listener that falls too far behind, `gone` with a fresh token for one whose events are compacted. A token that cannot be continued is 410.",
        headers: Type.Object({ accept: Type.Optional(Type.String()), "last-event-id": Type.Optional(Type.String()) }),
        querystring: closed({
          since: Type.Optional(
            Type.String({
              maxLength: 64,
              description: "A token, `first` (a list's default) or `now` (a stream's default).",
            }),
          ),
          limit: Type.Integer({ minimum: 1, maximum: 1000, default: 1000 }),
          wait: Type.Integer({ minimum: 0, maximum: 60, default: 0, description: "Seconds." }),
          class: Type.Optional(oneOf(EVENT_CLASSES)),
          id: Type.Optional(Type.String({ maxLength: 64, description: "Events of this object only." })),
        }),
        response: {
          200: {
            description: "Events in order.",
            content: {
              "application/json": { schema: ref(EventPage) },
              "text/event-stream": { schema: Type.String() },
            },
          },
        },
      },
    },
    async (request, reply) => {
      const { since, limit, wait, class: kind, id } = request.query;
      const filter: EventFilter = { caller: request.caller, ...(kind && { class: kind }), ...(id && { id }) };
      const stream = /\btext\/event-stream\b/.test(request.headers.accept ?? "");
      const token = since ?? request.headers["last-event-id"] ?? (stream ? "now" : "first");
      const position = events.position(token);
      if (!position.ok) throw problemOf(position);
      if (stream && request.method !== "HEAD") return follow(request, reply, position.value, filter);
      const page = await poll(position.value, limit, wait, filter, endSignal(request, reply));
      if (request.caller.ended.aborted) throw new HttpProblem("unauthorized", String(request.caller.ended.reason));
      reply.type("application/json; charset=utf-8").serializer((text: string) => text);
      return reply.send(page as never);
    },
  );

  app.route({
    method: "GET",
    url: "/v1/events/ws",
    config: { role: "viewer" },
    schema: {
      operationId: "followEvents",
      tags: ["events"],
      summary: "Follow the event log (WebSocket)",
      description:
        "Each message is one event. Close codes: 1001 the service stops, 4003 the token has ended, 4008 the client reads too slowly, 4010 the events after its place are compacted; the reason of the last two ends with `since=` and the token to go on from. A token that cannot be continued is 410 before the socket opens.",
      querystring: closed({
        since: Type.String({ maxLength: 64, default: "now", description: "A token, `first` or `now`." }),
        class: Type.Optional(oneOf(EVENT_CLASSES)),
        id: Type.Optional(Type.String({ maxLength: 64, description: "Events of this object only." })),
        ticket: Type.Optional(Type.String({ maxLength: 64, description: "From POST /v1/tickets." })),
      }),
      response: { 101: { type: "null", description: "A WebSocket." } },
    },
    preHandler: async (request) => {
      const position = events.position(request.query.since);
      if (!position.ok) throw problemOf(position);
    },
    handler: async (_request, reply) => {
      reply.headers({ Upgrade: "websocket", Connection: "Upgrade" });
      throw new HttpProblem("upgrade-required", "Ask for it with a WebSocket client; GET /v1/events reads the log.");
    },
    wsHandler: (socket, request) => {
      const { since, class: kind, id } = request.query as { since: string; class?: string; id?: string };
      const filter: EventFilter = { caller: request.caller, ...(kind && { class: kind }), ...(id && { id }) };
      const position = events.position(since);
      if (!position.ok) return endSocket(socket, EVENTS_CLOSE.gone, `gone; since=${position.token}`);
      const sequence = position.value;
      const feed = socketEvents(socket, { log: events, from: { sequence, token: events.tokenAt(sequence) }, filter });
      const cut = (why: string) => {
        feed.close();
        endSocket(socket, request.caller.ended.aborted ? EVENTS_CLOSE.tokenEnded : EVENTS_CLOSE.goingAway, why);
      };
      socket.once("close", context.streams.add(request, cut));
    },
  });

  /** JSON text of an event page. The events are kept as text: parsing them to print them again would be for nothing. */
  async function poll(from: number, limit: number, wait: number, filter: EventFilter, gone: AbortSignal) {
    const deadline = context.now() + wait * 1000;
    let at = from;
    for (;;) {
      const page = events.page(at, limit);
      at = page.events.at(-1)?.sequence ?? at;
      const found = page.events.filter((event) => matches(filter, event));
      const more = page.events.length === limit;
      const left = deadline - context.now();
      if (found.length > 0 || (!more && left <= 0) || gone.aborted) {
        const list = found.map((event) => event.json).join(",");
        return `{"events":[${list}],"token":${JSON.stringify(page.token)}}`;
      }
      if (!more) await nextEvent(left, gone);
    }
  }

  function nextEvent(ms: number, gone: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const finish = () => {
        clearTimeout(timer);
        unsubscribe();
        gone.removeEventListener("abort", finish);
        resolve();
      };
      const timer = setTimeout(finish, ms);
      const unsubscribe = events.subscribe(finish);
      gone.addEventListener("abort", finish);
    });
  }

  function follow(request: FastifyRequest, reply: FastifyReply, sequence: number, filter: EventFilter): FastifyReply {
    reply.hijack();
    const { raw } = reply;
    const headers = { ...reply.getHeaders(), "content-type": "text/event-stream", "x-accel-buffering": "no" };
    raw.writeHead(200, headers as Record<string, string>);
    raw.once(
      "close",
      context.streams.add(request, (why) => endStream(raw, why)),
    );
    const feed = streamEvents(raw, { log: events, from: { sequence, token: events.tokenAt(sequence) }, filter });
    cutWhenStalled(raw, () => {
      reply.log.warn("an event listener does not read; cut off");
      feed.tooSlow("This listener has read nothing for a minute.");
    });
    return reply;
  }

  /** Aborts when there is nobody left to answer, or nothing to answer. */
  function endSignal(request: FastifyRequest, reply: FastifyReply): AbortSignal {
    const controller = new AbortController();
    const abort = () => controller.abort();
    const ended = context.streams.add(request, abort);
    reply.raw.once("close", () => {
      ended();
      abort();
    });
    return controller.signal;
  }
}
