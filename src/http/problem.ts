/** Turns whatever stopped a request into a problem+json answer: refusals, schema errors, Fastify's own errors, our bugs. */

import type { FastifyError, FastifyReply, FastifyRequest } from "fastify";
import type { Refusal } from "../toolstack/refusal.ts";
import { PROBLEMS, type ProblemCode, problemType } from "./problem-types.ts";

type Extras = Partial<Pick<Refusal, "field" | "limit" | "task" | "token" | "accepted" | "fault">> & {
  in?: "body" | "query" | "path" | "headers";
};

/** Names the fault that was asked for and struck the request. */
export const FAULT_HEADER = "X-Domzero-Fault";

/** Thrown by hooks and handlers to end the request with a problem. */
export class HttpProblem extends Error {
  readonly code: ProblemCode;
  readonly extras: Extras;

  constructor(code: ProblemCode, detail: string, extras: Extras = {}) {
    super(detail);
    this.code = code;
    this.extras = extras;
  }
}

/** The refusal as an exception, for handlers: HTTP has no other way to leave one early. */
export function problemOf({ code, detail, field, limit, task, token, accepted, fault }: Refusal): HttpProblem {
  const extras = { field, limit, task, token, accepted, fault };
  const given = Object.entries(extras).filter(([, value]) => value !== undefined);
  return new HttpProblem(code, detail, Object.fromEntries(given));
}

export function sendProblem(reply: FastifyReply, problem: HttpProblem): FastifyReply {
  const { status } = PROBLEMS[problem.code];
  reply.request.refusedWith = problem.code;
  if (problem.extras.fault !== undefined) reply.header(FAULT_HEADER, problem.extras.fault);
  if (status === 401) reply.header("WWW-Authenticate", 'Bearer realm="domzero"');
  const later = status === 429 || status === 503 || problem.code === "key-in-flight";
  if (later && !reply.hasHeader("Retry-After")) reply.header("Retry-After", "1");
  return reply
    .code(status)
    .type("application/problem+json")
    .serializer((value: unknown) => JSON.stringify(value))
    .send(problemBody(problem, reply.request.id));
}

export function problemBody({ code, message: detail, extras }: HttpProblem, requestId: string) {
  const { status, title } = PROBLEMS[code];
  return { type: problemType(code), title, status, detail, requestId, ...extras };
}

export function answerError(error: FastifyError, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const problem = toProblem(error);
  if (PROBLEMS[problem.code].status === 500) request.log.error({ err: error }, "request failed");
  return sendProblem(reply, problem);
}

function toProblem(error: FastifyError): HttpProblem {
  if (error instanceof HttpProblem) return error;
  if (error.validation) return invalid(error);
  if (error.code === "FST_ERR_CTP_BODY_TOO_LARGE")
    return new HttpProblem("body-too-large", "A JSON body has at most 1 MiB.", { limit: 2 ** 20 });
  if (error.code === "FST_ERR_CTP_INVALID_MEDIA_TYPE")
    return new HttpProblem("media-type", "Send JSON, with the header Content-Type: application/json.");
  if (error instanceof SyntaxError || error.code === "FST_ERR_CTP_INVALID_JSON_BODY")
    return new HttpProblem("malformed-json", `The body is not JSON: ${error.message}.`);
  if (error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500)
    return new HttpProblem("bad-request", error.message);
  return new HttpProblem("internal", "The request ran into a fault of domzero; the log has it by the request's id.");
}

const PLACES = { body: "body", querystring: "query", params: "path", headers: "headers" } as const;

function invalid(error: FastifyError): HttpProblem {
  const place = PLACES[(error.validationContext ?? "body") as keyof typeof PLACES];
  const [first] = error.validation ?? [];
  const params = (first?.params ?? {}) as { missingProperty?: string; additionalProperty?: string; limit?: number };
  const path = [first?.instancePath.slice(1), params.missingProperty ?? params.additionalProperty];
  const field = path.filter(Boolean).join("/");
  const { limit } = params;
  return new HttpProblem("bad-request", explain(field, first, place), {
    in: place,
    ...(field && { field }),
    ...(limit !== undefined && { limit }),
  });
}

function explain(field: string, error: NonNullable<FastifyError["validation"]>[number] | undefined, place: string) {
  const subject = field || `The ${place}`;
  const params = (error?.params ?? {}) as { allowedValues?: string[] };
  switch (error?.keyword) {
    case "additionalProperties":
      return `${subject} is not a field of the ${place}.`;
    case "required":
      return `${subject} is missing from the ${place}.`;
    case "enum":
      return `${subject} must be one of ${params.allowedValues?.join(", ")}.`;
    default:
      return `${subject} ${error?.message ?? "is not valid"}.`;
  }
}
