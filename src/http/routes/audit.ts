/** /v1/audit: who did what, with the result. */

import type { TypeBoxTypeProvider } from "@fastify/type-provider-typebox";
import type { FastifyInstance } from "fastify";
import { Type } from "typebox";
import { OUTCOMES } from "../../toolstack/access/access-ports.ts";
import { SORTS } from "../../toolstack/lists.ts";
import { type Shown, sendPage } from "../listing.ts";
import { PROBLEMS } from "../problem-types.ts";
import type { RouteContext } from "../route-context.ts";
import { AuditEntry, auditPages, ProjectName } from "../schemas/access.ts";
import { cursorQuery, sortQuery } from "../schemas/lists.ts";
import { closed, oneOf } from "../schemas/shapes.ts";

const Moment = Type.String({ format: "date-time", maxLength: 64 });

const SHOWN: Shown<"audit"> = {
  kind: "audit",
  view: ({ time, ...entry }) => ({ time: new Date(time).toISOString(), ...entry }),
  schema: AuditEntry,
};

export async function auditRoutes(plain: FastifyInstance, { toolstack }: RouteContext): Promise<void> {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>();

  app.get(
    "/v1/audit",
    {
      config: { role: "admin" },
      schema: {
        operationId: "listAudit",
        tags: ["access"],
        summary: "List what was asked for, by whom, and what came of it",
        description:
          "Every request that changes something, and every access that was refused; newest first. Kept for DOMZERO_AUDIT_DAYS.",
        querystring: closed({
          sort: sortQuery(SORTS.audit, true),
          ...cursorQuery,
          token: Type.Optional(
            Type.String({ maxLength: 64, description: "Id of a token, `root`, `socket` or `nobody`." }),
          ),
          object: Type.Optional(Type.String({ maxLength: 64, description: "Id of an object." })),
          project: Type.Optional(ProjectName),
          operation: Type.Optional(Type.String({ maxLength: 64, description: "An operationId of this description." })),
          outcome: Type.Optional(oneOf(OUTCOMES, "unknown: the service ended before the answer.")),
          problem: Type.Optional(oneOf(Object.keys(PROBLEMS))),
          from: Type.Optional(Moment),
          to: Type.Optional(Moment),
        }),
        response: { 200: auditPages.response },
      },
    },
    (request, reply) =>
      sendPage(toolstack, SHOWN, request, reply, ({ from, to, ...filter }) => ({
        ...filter,
        ...(from !== undefined && { from: Date.parse(from) }),
        ...(to !== undefined && { to: Date.parse(to) }),
      })),
  );
}
