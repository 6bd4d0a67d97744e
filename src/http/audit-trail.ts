/** Writes down every request that changes something, and every access that was refused: hooks around all routes. */

import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { AuditEntry, AuditResult } from "../toolstack/access/access-ports.ts";
import type { Audit } from "../toolstack/access/audit.ts";
import { NOBODY } from "../toolstack/access/caller.ts";
import { asksForWebSocket } from "./access.ts";
import type { ProblemCode } from "./problem-types.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** A GET that lets its caller act: it is written down as a change is. */
    acts?: boolean;
  }
  interface FastifyRequest {
    /** The task that the request has made. */
    madeTask: string | null;
    /** What it was refused with. */
    refusedWith: ProblemCode | null;
    /** Its entry in the audit log, where it was begun. */
    auditEntry: Promise<number | undefined> | null;
  }
}

/** `audit` is asked for at requests, not before. */
export function auditTrail(app: FastifyInstance, audit: () => Audit, now: () => number): void {
  app.decorateRequest("madeTask", null);
  app.decorateRequest("refusedWith", null);
  app.decorateRequest("auditEntry", null);

  // The last before the handler: what the handler commits goes out with this.
  app.addHook("preHandler", (request, _reply, done) => {
    if (changes(request)) {
      const upgraded = asksForWebSocket(request) ? { status: 101 } : {};
      request.auditEntry = audit().begin({ ...entryOf(request, now()), ...upgraded });
    }
    done();
  });
  app.addHook<unknown>("onSend", (request, _reply, payload, done) => {
    if (request.auditEntry) request.auditEntry.then(() => done(null, payload), done);
    else done(null, payload);
  });
  app.addHook("onResponse", (request, reply, done) => {
    if (request.auditEntry) void audit().finish(request.auditEntry, resultOf(request, reply));
    else if (changes(request) || isRefusedAccess(request, reply))
      audit().append({ ...entryOf(request, now()), ...resultOf(request, reply) }, request.caller === NOBODY);
    done();
  });
}

function changes({ method, routeOptions }: FastifyRequest): boolean {
  return (method !== "GET" && method !== "HEAD" && method !== "OPTIONS") || routeOptions.config.acts === true;
}

function isRefusedAccess(request: FastifyRequest, { statusCode }: FastifyReply): boolean {
  return statusCode === 401 || statusCode === 403 || request.foreign;
}

function entryOf(request: FastifyRequest, time: number): AuditEntry {
  const { caller, object, routeOptions, ip } = request;
  const { operationId = null } = (routeOptions.schema ?? {}) as { operationId?: string };
  return {
    time,
    token: caller.id,
    name: caller.name,
    address: ip || null,
    operation: operationId,
    object: object?.id ?? null,
    project: object?.project ?? null,
    status: null,
    problem: null,
    task: null,
  };
}

function resultOf({ object, refusedWith, madeTask }: FastifyRequest, { statusCode }: FastifyReply): AuditResult {
  return {
    object: object?.id ?? null,
    project: object?.project ?? null,
    status: statusCode,
    problem: refusedWith,
    task: madeTask,
  };
}
