/** /v1/xenstore, and the part of it that is one domain's: nodes by path, and watches as streams. */

import { isUtf8 } from "node:buffer";
import type { TypeBoxTypeProvider } from "@fastify/type-provider-typebox";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { type Static, Type } from "typebox";
import type { XenstoreNode as Node, Place } from "../../toolstack/xenstore.ts";
import { HttpProblem, problemOf } from "../problem.ts";
import type { RouteContext } from "../route-context.ts";
import { domainPath } from "../schemas/domain.ts";
import { closed, ref } from "../schemas/shapes.ts";
import { childrenQuery, nodePath, onlyPath, pathInDomain, XenstoreChange, XenstoreNode } from "../schemas/xenstore.ts";
import { cutWhenStalled, endStream } from "../stall.ts";
import { XenstoreStream } from "../xenstore-stream.ts";

/** The same routes for the whole tree and for a domain's home. */
const SCOPES = [
  {
    url: "/v1/xenstore",
    name: "Xenstore",
    what: "a node",
    params: closed({}),
    path: nodePath,
    only: onlyPath.global,
    roles: { read: "admin", write: "admin" },
    note: "Paths are absolute. It is Domain 0 that asks: it may do everything.",
  },
  {
    url: "/v1/domains/:domain/xenstore",
    name: "DomainXenstore",
    what: "a node of a running domain",
    params: domainPath,
    path: pathInDomain,
    only: onlyPath.domain,
    roles: { read: "viewer", write: "operator" },
    note: "Paths are relative to the domain's home.",
  },
] as const;

interface Asked {
  readonly params: unknown;
  readonly query: unknown;
}

export async function xenstoreRoutes(plain: FastifyInstance, context: RouteContext): Promise<void> {
  const { xenstore, domains, events } = context.toolstack;

  for (const { url, name, what, params, path, only, roles, note } of SCOPES) {
    const app = plain.withTypeProvider<TypeBoxTypeProvider>();
    const tags = ["xenstore"];

    app.get(
      url,
      {
        config: { role: roles.read },
        schema: {
          operationId: `read${name}`,
          tags,
          summary: `Read ${what}`,
          description: `Its value, its permissions and the names of its children. ${note}`,
          params,
          querystring: closed({ path, ...childrenQuery }),
          response: { 200: ref(XenstoreNode) },
        },
      },
      async (request) => {
        const { limit, after } = request.query;
        const read = await xenstore.read(placeOf(request), { limit, ...(after !== undefined && { after }) });
        if (!read.ok) throw problemOf(read);
        return nodeView(read.value);
      },
    );

    app.put(
      url,
      {
        config: { role: roles.write },
        schema: {
          operationId: `write${name}`,
          tags,
          summary: `Write ${what}`,
          description: `Makes the node where it is missing, with its parents. ${note}`,
          params,
          querystring: only,
          body: ref(XenstoreChange),
          response: { 200: ref(XenstoreNode), 201: ref(XenstoreNode) },
        },
      },
      async (request, reply) => {
        const { permissions } = request.body;
        const value = bytesOf(request.body);
        const change = { ...(value && { value }), ...(permissions && { permissions }) };
        const written = await xenstore.write(placeOf(request), change);
        if (!written.ok) throw problemOf(written);
        const { made, node } = written.value;
        return reply.code(made ? 201 : 200).send(nodeView(node));
      },
    );

    app.delete(
      url,
      {
        config: { role: roles.write },
        schema: {
          operationId: `remove${name}`,
          tags,
          summary: `Remove ${what} with all below it`,
          description: note,
          params,
          querystring: only,
          response: { 204: { type: "null", description: "It is gone." } },
        },
      },
      async (request, reply) => {
        const removed = await xenstore.remove(placeOf(request));
        if (!removed.ok) throw problemOf(removed);
        return reply.code(204).send(null);
      },
    );

    app.get(
      `${url}/watch`,
      {
        config: { role: roles.read },
        schema: {
          operationId: `watch${name}`,
          tags,
          summary: `Watch ${what} and all below it`,
          description: `Server-Sent Events: \`changed\` with the watched path at once, then \`changed\` with each path that is written, made or removed. A path is told once however often it changes before it is sent, and the watched path alone is told when too many changed to name them. ${note}${url === "/v1/xenstore" ? " @introduceDomain and @releaseDomain can be watched too." : " The stream ends with `gone` when the domain stops."}`,
          params,
          querystring: only,
          response: {
            200: {
              description: "Changes as they happen.",
              content: { "text/event-stream": { schema: Type.String() } },
            },
          },
        },
      },
      async (request, reply) => watch(request, reply),
    );
  }

  async function watch(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const { raw } = reply;
    const place = placeOf(request);
    const stream = new XenstoreStream(raw);
    const watching = await xenstore.watch(place, (paths) => stream.changed(paths));
    if (!watching.ok) throw problemOf(watching);
    const { path, domid, end } = watching.value;
    if (request.method === "HEAD" || raw.destroyed) {
      end();
      return reply.type("text/event-stream").send("");
    }
    reply.hijack();
    const headers = { ...reply.getHeaders(), "content-type": "text/event-stream", "x-accel-buffering": "no" };
    raw.writeHead(200, headers as Record<string, string>);
    stream.start(path);
    const ended = context.streams.add(request, (why) => endStream(raw, why));
    const endWithDomain = () => {
      if (domid === undefined || place.domain === undefined) return;
      const found = domains.find(place.domain);
      if (!found.ok || found.value.domid !== domid) stream.gone("The domain has stopped, and its nodes are gone.");
    };
    const unsubscribe = events.subscribe(endWithDomain);
    endWithDomain();
    raw.once("close", () => {
      end();
      unsubscribe();
      ended();
    });
    cutWhenStalled(raw, () => reply.log.warn("a xenstore listener does not read; cut off"));
    return reply;
  }
}

function placeOf({ params, query }: Asked): Place {
  const { domain } = params as { domain?: string };
  const { path } = query as { path: string };
  return { path, ...(domain !== undefined && { domain }) };
}

function bytesOf({ value, encoding = "utf8" }: Static<typeof XenstoreChange>): Uint8Array | undefined {
  if (value === undefined) return undefined;
  if (encoding === "base64" && !/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(value))
    throw new HttpProblem("bad-value", "The value is not base64.", { field: "value", in: "body" });
  return Buffer.from(value, encoding);
}

function nodeView({ value, ...node }: Node) {
  const encoding = isUtf8(value) ? ("utf8" as const) : ("base64" as const);
  return { ...node, value: Buffer.from(value).toString(encoding), encoding };
}
