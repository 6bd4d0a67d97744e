/** /v1/domains: definitions and lifecycle. */

import type { TypeBoxTypeProvider } from "@fastify/type-provider-typebox";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { type TSchema, Type } from "typebox";
import { hasRole } from "../../toolstack/access/caller.ts";
import type { ActOptions } from "../../toolstack/domains.ts";
import { SORTS } from "../../toolstack/lists.ts";
import type { DomainRecord } from "../../toolstack/model.ts";
import type { Accepted } from "../../toolstack/operations/domain-queue.ts";
import type { Operation } from "../../toolstack/operations/lifecycle.ts";
import type { Toolstack } from "../../toolstack/toolstack.ts";
import { domainJson, domainView, taskView } from "../../toolstack/views.ts";
import { domainTag, ifMatch, knows } from "../etag.ts";
import { type Shown, sendPage } from "../listing.ts";
import { HttpProblem, problemOf } from "../problem.ts";
import type { RouteContext } from "../route-context.ts";
import {
  Domain,
  DomainChange,
  DomainSummary,
  domainFilter,
  domainFilterQuery,
  domainPages,
  domainPath,
  NewDomain,
  StartOptions,
  StopOptions,
} from "../schemas/domain.ts";
import { cursorQuery, sortQuery } from "../schemas/lists.ts";
import { closed, ref } from "../schemas/shapes.ts";
import { preference, taskResponse } from "../schemas/task.ts";
import { awaitTask } from "../waiting.ts";

const precondition = Type.Object({
  "if-match": Type.Optional(
    Type.String({ description: 'ETags of the domain, or versions of its configuration, as "3"; whatever runs.' }),
  ),
});

export const etagHeader = {
  ETag: {
    type: "string",
    description: "It begins with the version of the configuration, which is all that If-Match looks at.",
  },
};
const domainResponse = { ...ref(Domain), headers: etagHeader };

interface Action {
  readonly operation: Operation;
  readonly summary: string;
  readonly description: string;
  readonly body?: TSchema;
}

const ACTIONS: readonly Action[] = [
  {
    operation: "start",
    summary: "Start a halted domain",
    description: "Builds the domain from its configuration and runs it.",
    body: ref(StartOptions),
  },
  { operation: "pause", summary: "Pause a domain", description: "Its vCPUs stop where they are." },
  { operation: "unpause", summary: "Let a paused domain run on", description: "Its vCPUs go on where they stopped." },
  {
    operation: "shutdown",
    summary: "Ask the guest to power off",
    description: "Through control/shutdown in xenstore; waits for the guest.",
    body: ref(StopOptions),
  },
  {
    operation: "reboot",
    summary: "Ask the guest to reboot",
    description: "Through control/shutdown in xenstore; then builds and runs it anew.",
    body: ref(StopOptions),
  },
  {
    operation: "suspend",
    summary: "Suspend a domain to a file",
    description:
      "Asks the guest through control/shutdown in xenstore, waits for it, and writes its memory and state to a file; it then holds no memory. What fails on the way leaves it running.",
    body: ref(StopOptions),
  },
  {
    operation: "resume",
    summary: "Let a suspended domain run on",
    description:
      "Restores it from its file, in this run of the service or a later one. What fails leaves it suspended.",
    body: ref(StartOptions),
  },
  {
    operation: "destroy",
    summary: "Stop a domain at once",
    description:
      "Without asking the guest; ends any other operation on the domain. What it was suspended with is dropped. The definition stays.",
  },
];

const SHOWN: Shown<"domains"> = { kind: "domains", view: domainView, schema: DomainSummary, json: domainJson };

export async function domainRoutes(plain: FastifyInstance, { toolstack }: RouteContext): Promise<void> {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>();
  const { domains } = toolstack;

  app.get(
    "/v1/domains",
    {
      config: { role: "viewer", etag: "own" },
      schema: {
        operationId: "listDomains",
        tags: ["domains"],
        summary: "List domains",
        description: "By `sort`, those that match every filter that is given. `fields` chooses what is said of each.",
        querystring: closed({ ...domainFilterQuery, sort: sortQuery(SORTS.domains), ...cursorQuery }),
        response: { 200: domainPages.response },
      },
    },
    async (request, reply) => {
      if (isKnown(toolstack, request, reply)) return reply.code(304 as never).send();
      return sendPage(toolstack, SHOWN, request, reply, domainFilter);
    },
  );

  app.post(
    "/v1/domains",
    {
      config: { role: "operator" },
      schema: {
        operationId: "createDomain",
        tags: ["domains"],
        summary: "Define a domain, and start it where asked",
        headers: preference,
        body: ref(NewDomain),
        response: {
          201: { ...ref(Domain), headers: { ...etagHeader, Location: { type: "string", description: "The domain." } } },
          202: taskResponse,
        },
      },
    },
    async (request, reply) => {
      const { start = false, ...input } = request.body;
      const project = toolstack.projects.choose(request.caller, input.project);
      if (!project.ok) throw problemOf(project);
      const created = await domains.create({ ...input, project: project.value }, start, request.caller);
      if (!created.ok) throw problemOf(created);
      const { domain, start: accepted } = created.value;
      request.object = { id: domain.uuid, project: domain.project };
      if (accepted && !(await awaitTask(accepted, request, reply)))
        return reply.code(202).send(taskView(accepted.task));
      reply.code(201).header("Location", `/v1/domains/${domain.uuid}`);
      return sendDomain(toolstack, domain.uuid, reply);
    },
  );

  app.get(
    "/v1/domains/:domain",
    {
      config: { role: "viewer", etag: "own" },
      schema: {
        operationId: "getDomain",
        tags: ["domains"],
        summary: "Look at a domain",
        params: domainPath,
        response: { 200: domainResponse },
      },
    },
    (request, reply) => sendDomain(toolstack, request.params.domain, reply),
  );

  app.patch(
    "/v1/domains/:domain",
    {
      config: { role: "operator" },
      schema: {
        operationId: "changeDomain",
        tags: ["domains"],
        summary: "Rename a domain or change its configuration",
        params: domainPath,
        headers: precondition,
        body: ref(DomainChange),
        response: { 200: domainResponse },
      },
    },
    async (request, reply) => {
      if (request.body.project !== undefined && !hasRole(request.caller.role, "admin"))
        throw new HttpProblem("role-too-low", "Moving a domain to another project needs the role admin.", {
          in: "body",
          field: "project",
        });
      const result = await domains.update(
        request.params.domain,
        request.body,
        ifMatch(request.headers["if-match"], request.params.domain),
      );
      if (!result.ok) throw problemOf(result);
      return sendDomain(toolstack, result.value.uuid, reply);
    },
  );

  app.delete(
    "/v1/domains/:domain",
    {
      config: { role: "operator" },
      schema: {
        operationId: "deleteDomain",
        tags: ["domains"],
        summary: "Delete a domain with its console log",
        params: domainPath,
        headers: Type.Intersect([precondition, preference]),
        querystring: closed({
          force: Type.Boolean({ default: false, description: "Destroy it first where it is not halted." }),
        }),
        response: {
          202: taskResponse,
          204: { type: "null", description: "It is gone." },
        },
      },
    },
    async (request, reply) => {
      const operation = request.query.force ? "force-delete" : "delete";
      const version = ifMatch(request.headers["if-match"], request.params.domain);
      const accepted = await domains.act(request.params.domain, operation, {}, version);
      if (!accepted.ok) throw problemOf(accepted);
      if (await awaitTask(accepted.value, request, reply)) return reply.code(204).send(null);
      return reply.code(202).send(taskView(accepted.value.task));
    },
  );

  for (const { operation, summary, description, body } of ACTIONS) {
    plain.post(
      `/v1/domains/:domain/${operation}`,
      {
        config: { role: "operator", optionalBody: true },
        schema: {
          operationId: `${operation}Domain`,
          tags: ["domains"],
          summary,
          description: `${description} Waits up to 10 s, then answers 202.`,
          params: domainPath,
          headers: preference,
          body: body ?? closed({}),
          response: { 200: domainResponse, 202: taskResponse },
        },
      },
      async (request, reply) => act(request, reply, operation, request.body as ActOptions),
    );
  }

  async function act(
    request: FastifyRequest,
    reply: FastifyReply,
    operation: Operation,
    options: ActOptions,
  ): Promise<unknown> {
    const { domain } = request.params as { domain: string };
    const accepted = await domains.act(domain, operation, options);
    if (!accepted.ok) throw problemOf(accepted);
    return answer(accepted.value, request, reply);
  }

  async function answer(accepted: Accepted, request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
    const task = await awaitTask(accepted, request, reply);
    if (!task) return reply.code(202).send(taskView(accepted.task));
    return sendDomain(toolstack, accepted.task.domain ?? "", reply);
  }
}

/**
 * Every change of an object is an event, so a list is what it was as long as the log of events is, to the same caller: that is its ETag, and
 * a list that the client knows costs nothing. True when it does.
 */
export function isKnown(toolstack: Toolstack, request: FastifyRequest, reply: FastifyReply): boolean {
  const tag = `"${toolstack.events.token()}.${request.caller.id.slice(0, 8)}"`;
  reply.header("etag", tag);
  return knows(request.headers["if-none-match"], tag);
}

/**
 * The domain as it is now, with its ETag: text, or a promise of it, for a handler to return. (`never` for the types, to which an answer is an
 * object.)
 */
export function sendDomain(toolstack: Toolstack, reference: string, reply: FastifyReply): never {
  const found = toolstack.domains.find(reference);
  if (!found.ok) throw problemOf(found);
  const record = found.value;
  // Most are looked at while nothing runs in them: no other thread is asked then, and nothing waited for.
  if (record.domid === null) return textOf(toolstack, record, null, reply) as never;
  return toolstack.domains.runtime(record).then((runtime) => textOf(toolstack, record, runtime, reply)) as never;
}

/** JSON text of a `Domain`: of most of it there is one, and printing it is most of the work of a read. */
function textOf({ domains }: Toolstack, record: DomainRecord, runtime: object | null, reply: FastifyReply): string {
  const running = domains.operation(record.uuid);
  const task = running ? taskView(running, domains.progress(running)) : null;
  const moving = `"runtime":${JSON.stringify(runtime)},"task":${JSON.stringify(task)}`;
  reply.header("etag", domainTag(record, runtime === null && task === null ? "" : moving));
  reply.type("application/json; charset=utf-8").serializer(String);
  return `${domainJson(record).slice(0, -1)},${moving}}`;
}
