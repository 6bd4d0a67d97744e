/** /v1/tokens: who may ask, for what, for how long. */

import type { TypeBoxTypeProvider } from "@fastify/type-provider-typebox";
import type { FastifyInstance } from "fastify";
import { tokenView } from "../../toolstack/views.ts";
import { problemOf } from "../problem.ts";
import type { RouteContext } from "../route-context.ts";
import { NewToken, TokenPage, TokenWithSecret, TokenWithUsage } from "../schemas/access.ts";
import { closed, pageQuery, ref, Uuid } from "../schemas/shapes.ts";

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
        querystring: closed(pageQuery),
        response: { 200: ref(TokenPage) },
      },
    },
    async (request) => {
      const { items, next } = tokens.list(request.query);
      return { items: items.map(tokenView), next: next ?? null };
    },
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
