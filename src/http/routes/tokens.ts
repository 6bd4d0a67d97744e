/** /v1/tokens: who may ask, for what, for how long. */

import type { TypeBoxTypeProvider } from "@fastify/type-provider-typebox";
import type { FastifyInstance } from "fastify";
import { Type } from "typebox";
import { ROLES } from "../../toolstack/access/caller.ts";
import { SORTS } from "../../toolstack/lists.ts";
import { tokenView } from "../../toolstack/views.ts";
import { type Shown, sendPage } from "../listing.ts";
import { problemOf } from "../problem.ts";
import type { RouteContext } from "../route-context.ts";
import {
  NewToken,
  ProjectName,
  Token,
  TokenChange,
  TokenWithSecret,
  TokenWithUsage,
  tokenPages,
} from "../schemas/access.ts";
import { cursorQuery, namePattern, sortQuery } from "../schemas/lists.ts";
import { closed, oneOf, ref, Uuid } from "../schemas/shapes.ts";

const SHOWN: Shown<"tokens"> = { kind: "tokens", view: tokenView, schema: Token };

export async function tokenRoutes(plain: FastifyInstance, { toolstack }: RouteContext): Promise<void> {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>();
  const { tokens } = toolstack;
  const tags = ["access"];

  app.get(
    "/v1/tokens",
    {
      config: { role: "admin", etag: "digest" },
      schema: {
        operationId: "listTokens",
        tags,
        summary: "List tokens",
        description: "That of the state folder is not among them: it is always there.",
        querystring: closed({
          name: Type.Optional(namePattern),
          role: Type.Optional(oneOf(ROLES)),
          project: Type.Optional(Type.Unsafe<string>({ ...ProjectName, description: "Those that see it." })),
          sort: sortQuery(SORTS.tokens),
          ...cursorQuery,
        }),
        response: { 200: tokenPages.response },
      },
    },
    (request, reply) => sendPage(toolstack, SHOWN, request, reply, (filter) => filter),
  );

  app.post(
    "/v1/tokens",
    {
      config: { role: "admin", secret: true },
      schema: {
        operationId: "createToken",
        tags,
        summary: "Make a token",
        description: "Its secret is in this answer and nowhere else. Without `projects` it is for all of them.",
        body: ref(NewToken),
        response: { 201: ref(TokenWithSecret) },
      },
    },
    async (request, reply) => {
      const { expiresAt, ...input } = request.body;
      const expiry = expiresAt === undefined ? {} : { expiresAt: Date.parse(expiresAt) };
      const created = await tokens.create({ ...input, ...expiry }, request.caller);
      if (!created.ok) throw problemOf(created);
      const { token, secret } = created.value;
      request.object = { id: token.id, project: null };
      reply.code(201).header("Location", `/v1/tokens/${token.id}`);
      return { ...tokenView(token), secret };
    },
  );

  app.get(
    "/v1/tokens/:token",
    {
      config: { role: "admin", etag: "digest" },
      schema: {
        operationId: "getToken",
        tags,
        summary: "Look at a token, and at what counts to its quotas",
        params: closed({ token: Uuid }),
        response: { 200: ref(TokenWithUsage) },
      },
    },
    async (request) => {
      const found = tokens.find(request.params.token);
      if (!found.ok) throw problemOf(found);
      return { ...tokenView(found.value), usage: tokens.usage(found.value.id) };
    },
  );

  app.patch(
    "/v1/tokens/:token",
    {
      config: { role: "admin" },
      schema: {
        operationId: "changeToken",
        tags,
        summary: "Change a token, but for its secret",
        description:
          "From its next request on. Where its role or its projects are others than before, its open streams end, and may be opened anew. What is left out stays; null takes an expiry or a limit away.",
        params: closed({ token: Uuid }),
        body: ref(TokenChange),
        response: { 200: ref(TokenWithUsage) },
      },
    },
    async (request) => {
      const { expiresAt, ...change } = request.body;
      const expiry = expiresAt === undefined ? {} : { expiresAt: expiresAt === null ? null : Date.parse(expiresAt) };
      const changed = await tokens.update(request.params.token, { ...change, ...expiry });
      if (!changed.ok) throw problemOf(changed);
      return { ...tokenView(changed.value), usage: tokens.usage(changed.value.id) };
    },
  );

  app.delete(
    "/v1/tokens/:token",
    {
      config: { role: "admin" },
      schema: {
        operationId: "revokeToken",
        tags,
        summary: "Revoke a token",
        description: "At once: its open streams end. The domains that it created stay.",
        params: closed({ token: Uuid }),
        response: { 204: { type: "null", description: "It is gone." } },
      },
    },
    async (request, reply) => {
      const removed = await tokens.remove(request.params.token);
      if (!removed.ok) throw problemOf(removed);
      return reply.code(204).send(null);
    },
  );
}
