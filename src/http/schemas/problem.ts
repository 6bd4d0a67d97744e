/** RFC 9457 problem details, the body of every answer from 400 up. */

import { Type } from "typebox";
import { PROBLEMS, problemType } from "../problem-types.ts";
import { Count, list, named, oneOf, ref } from "./shapes.ts";

export const Problem = named("Problem", "What went wrong (RFC 9457). `type` is stable; `detail` is for people.", {
  type: oneOf(Object.keys(PROBLEMS).map((code) => problemType(code as keyof typeof PROBLEMS))),
  title: Type.String(),
  status: Type.Integer({ minimum: 400, maximum: 599 }),
  detail: Type.String({ description: "What was wrong with this request, and the way out." }),
  requestId: Type.String({ description: "The request's id in the log." }),
  field: Type.Optional(Type.String({ description: "The field at fault; `a/b` is b within a." })),
  in: Type.Optional(oneOf(["body", "query", "path", "headers"], "Where the field is.")),
  limit: Type.Optional(Type.Unsafe<number | string>({ type: ["number", "string"], description: "The limit passed." })),
  task: Type.Optional(Type.String({ description: "The task that failed or stands in the way." })),
  token: Type.Optional(Type.String({ description: "A fresh event token to go on from." })),
  accepted: Type.Optional(Count),
  fault: Type.Optional(Type.String({ description: "The fault that was asked for and struck here." })),
});

const ProblemKind = named("ProblemKind", "A type of problem.", {
  type: Type.String(),
  status: Type.Integer({ minimum: 400, maximum: 599 }),
  title: Type.String(),
});

export const ProblemKinds = named("ProblemKinds", "Every type of problem there is.", { items: list(ref(ProblemKind)) });

export const problemKindSchemas = [ProblemKind, ProblemKinds];

const response = {
  description: "A problem, by its `type`.",
  content: { "application/problem+json": { schema: ref(Problem) } },
};

/** What any route may answer. */
export const problemResponses = { "4xx": response, "5xx": response };
