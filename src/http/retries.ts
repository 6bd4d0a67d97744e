/**
 * The header Idempotency-Key, on every POST that makes or does something; what is typed into a console and what is uploaded take none.
 *
 * The same key with the same query and body gets the first answer again, with Idempotency-Replayed: true.
 */

import { createHash } from "node:crypto";
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from "fastify";
import { type TProperties, Type } from "typebox";
import { type Acceptance, acceptance, type Begun, type Made } from "../toolstack/retries.ts";
import type { Toolstack } from "../toolstack/toolstack.ts";
import { taskView } from "../toolstack/views.ts";
import { HttpProblem, problemOf } from "./problem.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** The answer holds a secret: it is never stored. */
    secret?: boolean;
  }
  interface FastifyRequest {
    /** Where the request is the first with its key. */
    acceptance?: Acceptance;
  }
}

const KEPT_HEADERS = ["content-type", "location", "etag", "preference-applied"] as const;
const KEY = /^[!-~]{1,255}$/;

const header = {
  "idempotency-key": Type.Optional(
    Type.String({
      description:
        "1 to 255 printable characters of your choice. Sent again under its key within a day, restarts of the service included, a request is not carried out again: its first answer is, with the header `Idempotency-Replayed: true`. Another request under the key is 422, one that is still being carried out 409. A refusal that changed nothing frees the key.",
    }),
  ),
};

/** Before any route is added. */
export function takeIdempotencyKeys(app: FastifyInstance, toolstack: Toolstack): void {
  app.decorateRequest("acceptance");
  app.addHook("onRoute", (route) => {
    if (!takesKey(route)) return;
    const { properties } = (route.schema?.headers ?? {}) as { properties?: TProperties };
    route.schema = { ...route.schema, headers: Type.Object({ ...properties, ...header }) };
  });

  // With a callback, since all that follows has to run within the acceptance.
  app.addHook("preHandler", (request, reply, next) => {
    const key = request.headers["idempotency-key"];
    if (key === undefined || request.method !== "POST") return next();
    begin(request, String(key)).then((begun) => {
      if (begun.kind !== "first") return again(begun, request, reply);
      request.acceptance = begun.acceptance;
      acceptance.run(begun.acceptance, next);
    }, next);
  });

  app.addHook<string | null>("onSend", (request, reply, payload, done) => {
    const { acceptance: first } = request;
    if (!first) return done(null, payload);
    keep(first, request, reply, payload).then(() => done(null, payload), done);
  });

  async function keep(
    first: Acceptance,
    request: FastifyRequest,
    reply: FastifyReply,
    payload: string | null,
  ): Promise<void> {
    const kept = KEPT_HEADERS.map((name) => [name, reply.getHeader(name)]).filter(([, value]) => value !== undefined);
    const answer = { status: reply.statusCode, headers: Object.fromEntries(kept), body: payload ?? null };
    await toolstack.retries.finish(first, answer, request.routeOptions.config.secret === true);
  }

  async function begin(request: FastifyRequest, key: string): Promise<Begun> {
    const field = "idempotency-key";
    const place = { in: "headers", field } as const;
    if (!takesKey(request.routeOptions))
      throw new HttpProblem("bad-request", "What is typed or uploaded takes no Idempotency-Key.", place);
    if (!KEY.test(key))
      throw new HttpProblem("bad-request", "An Idempotency-Key has 1 to 255 printable characters.", place);
    const route = `POST ${request.url.split("?", 1)[0]}`;
    const hash = createHash("sha256")
      .update(canonical([request.query, request.body]))
      .digest("hex");
    const begun = await toolstack.retries.begin({ caller: request.caller.id, route, key }, hash);
    if (!begun.ok) throw problemOf(begun);
    return begun.value;
  }

  function again(begun: Exclude<Begun, { kind: "first" }>, request: FastifyRequest, reply: FastifyReply): void {
    reply.header("Idempotency-Replayed", "true");
    if (begun.kind === "answered" && begun.answer.body !== undefined) {
      const { status, headers, body } = begun.answer;
      reply.code(status).headers(headers).serializer(String).send(body);
      return;
    }
    const { made } = begun;
    const task = made?.class === "task" && begun.kind === "unanswered" ? toolstack.task(made.id) : undefined;
    if (task?.ok) {
      reply.code(202).header("Location", `/v1/tasks/${task.value.id}`).send(taskView(task.value));
      return;
    }
    const why =
      begun.kind === "answered"
        ? `was answered with ${begun.answer.status}, and its answer holds a secret or is too large to be kept`
        : "was carried out, and the service ended before it was answered";
    reply.send(
      new HttpProblem("answer-not-kept", `The first request with this key ${why}.${where(made)}`, {
        in: "headers",
        field: "idempotency-key",
      }),
    );
    request.log.info({ made }, "the answer to a key is not kept");
  }
}

interface Route {
  readonly url?: string | undefined;
  readonly method?: RouteOptions["method"] | undefined;
  readonly config?: { readonly bytes?: boolean } | undefined;
}

function takesKey(route: Route): boolean {
  return (
    [route.method].flat().includes("POST") && route.config?.bytes !== true && route.url?.startsWith("/v1/") === true
  );
}

function where(made: Made | null): string {
  return made ? ` It made or changed the ${made.class} ${made.id}.` : "";
}

/** JSON with its fields in order: how a client happens to write them makes no other request. */
function canonical(value: unknown): string {
  return JSON.stringify(value ?? null, (_key, inner: unknown) =>
    typeof inner === "object" && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
