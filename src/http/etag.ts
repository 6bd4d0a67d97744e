/**
 * Entity tags.
 *
 * That of a domain is `"configuration.state.whose"`, and a digest behind it while it lives or something is under way: the version of its
 * configuration, that of its state, the beginning of its uuid. If-Match looks at the configuration and whose it is, for what runs has a
 * version of its own that no PATCH depends on; If-None-Match looks at all of it.
 */

import { hash } from "node:crypto";
import type { FastifyInstance } from "fastify";
import { type TProperties, Type } from "typebox";
import type { DomainRecord } from "../toolstack/model.ts";
import { HttpProblem } from "./problem.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** Of a GET whose answers have an ETag: the handler sets it, or it is a digest of the text. */
    etag?: "own" | "digest";
  }
}

const TAG = /^(?:W\/)?"[^"]*"$/;
const OF_DOMAIN = /^"(\d+)(?:\.\d+\.([0-9a-f]{8})(?:\.[\w-]+)?)?"$/;
const WHOSE_LENGTH = 8;

/** `moving`: text of what changes by itself; empty when nothing does. */
export function domainTag({ uuid, configVersion, runtimeVersion }: DomainRecord, moving: string): string {
  const tag = `${configVersion}.${runtimeVersion}.${uuid.slice(0, WHOSE_LENGTH)}`;
  return moving === "" ? `"${tag}"` : `"${tag}.${digest(moving)}"`;
}

/**
 * The test that an If-Match header asks for, for the configuration of the domain `uuid`; undefined when there is none. A tag may be the
 * version alone: `"3"`. Weak tags never match.
 */
export function ifMatch(header: string | undefined, uuid: string): ((version: number) => boolean) | undefined {
  if (header === undefined || header.trim() === "*") return undefined;
  const parts = tagsOf(header, "if-match").map((tag) => OF_DOMAIN.exec(tag));
  const versions = parts.flatMap((part) => {
    const [, version, whose = uuid.slice(0, WHOSE_LENGTH)] = part ?? [];
    return version !== undefined && uuid.startsWith(whose) ? [Number(version)] : [];
  });
  return (version) => versions.includes(version);
}

/** Does an If-None-Match header name `tag`? */
export function knows(header: string | undefined, tag: string): boolean {
  if (header === undefined) return false;
  if (header.trim() === "*") return true;
  return tagsOf(header, "if-none-match").some((known) => known.replace("W/", "") === tag);
}

/** Conditional GET (RFC 9110, section 13). Before any route is added. */
export function answerConditions(app: FastifyInstance): void {
  app.addHook("onRoute", (route) => {
    if (!route.config?.etag) return;
    const { headers, response } = (route.schema ?? {}) as { headers?: { properties?: TProperties }; response?: object };
    const condition = Type.Optional(
      Type.String({ description: "Tags of answers that the client has: 304 when it would be one of them again." }),
    );
    route.schema = {
      ...route.schema,
      headers: Type.Object({ ...headers?.properties, "if-none-match": condition }),
      response: { ...response, 304: { type: "null", description: "It is as the client knows it." } },
    };
  });
  app.addHook<unknown>("onSend", (request, reply, payload, done) => {
    const { etag } = request.routeOptions.config;
    if (!etag || reply.statusCode !== 200 || typeof payload !== "string") return done(null, payload);
    if (etag === "digest") reply.header("etag", `"${digest(payload)}"`);
    const wanted = request.headers["if-none-match"];
    if (wanted === undefined) return done(null, payload);
    try {
      if (!knows(wanted, String(reply.getHeader("etag")))) return done(null, payload);
    } catch (error) {
      return done(error as Error);
    }
    reply.code(304).removeHeader("content-type");
    done(null, null);
  });
}

function tagsOf(header: string, field: "if-match" | "if-none-match"): string[] {
  const tags = header.split(",").map((tag) => tag.trim());
  if (tags.every((tag) => TAG.test(tag))) return tags;
  const name = field === "if-match" ? "If-Match" : "If-None-Match";
  throw new HttpProblem("bad-request", `${name} takes entity tags, such as "3", or *.`, { in: "headers", field });
}

function digest(text: string): string {
  return hash("sha1", text, "base64url").slice(0, 16);
}
