/** The HTTP application: it parses, checks and answers; whatever is asked is done by the toolstack. */

import fastifyCors from "@fastify/cors";
import fastifySwagger from "@fastify/swagger";
import fastifySwaggerUi from "@fastify/swagger-ui";
import fastifyWebsocket from "@fastify/websocket";
import Fastify, { type FastifyBaseLogger, type FastifyInstance, type FastifyRequest, LogController } from "fastify";
import { type Caller, NOBODY } from "../toolstack/access/caller.ts";
import { SECRET } from "../toolstack/access/tokens.ts";
import type { Toolstack } from "../toolstack/toolstack.ts";
import { Access, type AccessOptions, asksForWebSocket } from "./access.ts";
import { auditTrail } from "./audit-trail.ts";
import { ClientErrors } from "./client-errors.ts";
import { announceDeprecations } from "./deprecation.ts";
import { answerConditions } from "./etag.ts";
import { addFaultHooks } from "./fault-hooks.ts";
import { MethodTable } from "./method-table.ts";
import { Metrics } from "./metrics.ts";
import { checkPath, findObject } from "./object-scope.ts";
import { OpenStreams } from "./open-streams.ts";
import { answerError, HttpProblem, sendProblem } from "./problem.ts";
import { RateLimits } from "./rate-limit.ts";
import { takeIdempotencyKeys } from "./retries.ts";
import { checkRole, checkRoute, describeAccess, isDocs, isOpen } from "./route-access.ts";
import type { RouteContext } from "./route-context.ts";
import { auditRoutes } from "./routes/audit.ts";
import { batchRoutes } from "./routes/batches.ts";
import { consoleRoutes } from "./routes/console.ts";
import { consoleSocketRoutes } from "./routes/console-socket.ts";
import { domainRoutes } from "./routes/domains.ts";
import { eventRoutes } from "./routes/events.ts";
import { faultRoutes } from "./routes/faults.ts";
import { guestRequestRoutes } from "./routes/guest-requests.ts";
import { hypercallRoutes } from "./routes/hypercalls.ts";
import { imageRoutes } from "./routes/images.ts";
import { projectRoutes } from "./routes/projects.ts";
import { serviceRoutes } from "./routes/service.ts";
import { statisticsRoutes } from "./routes/statistics.ts";
import { taskRoutes } from "./routes/tasks.ts";
import { tokenRoutes } from "./routes/tokens.ts";
import { xenstoreRoutes } from "./routes/xenstore.ts";
import { accessSchemas } from "./schemas/access.ts";
import { batchSchemas } from "./schemas/batch.ts";
import { domainSchemas } from "./schemas/domain.ts";
import { faultSchemas } from "./schemas/fault.ts";
import { guestRequestSchemas } from "./schemas/guest-request.ts";
import { imageSchemas } from "./schemas/image.ts";
import { Problem, problemKindSchemas, problemResponses } from "./schemas/problem.ts";
import { serviceSchemas } from "./schemas/service.ts";
import { closed } from "./schemas/shapes.ts";
import { statisticsSchemas } from "./schemas/statistics.ts";
import { taskSchemas } from "./schemas/task.ts";
import { xenstoreSchemas } from "./schemas/xenstore.ts";
import { setSecurityHeaders } from "./security-headers.ts";
import { Tickets } from "./tickets.ts";
import type { TlsCredentials } from "./tls.ts";
import { buildValidator } from "./validators.ts";

const JSON_LIMIT = 2 ** 20;
const WEBSOCKET_MESSAGE_LIMIT = 64 * 1024;

const CORS = {
  methods: ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
  exposedHeaders: [
    "Allow",
    "Console-End",
    "Console-Start",
    "ETag",
    "Location",
    "Preference-Applied",
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "Retry-After",
    "X-Request-Id",
  ],
  maxAge: 600,
  // Its own refusal would be no problem document.
  strictPreflight: false,
};

export interface AppOptions {
  readonly toolstack: Toolstack;
  readonly version: string;
  readonly log: FastifyBaseLogger;
  readonly access: Omit<AccessOptions, "tickets" | "callerOf" | "stillHolds">;
  /** Speaks TLS where it is given. */
  readonly tls?: TlsCredentials;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Metrics of the process besides those of the service. */
  readonly processMetrics?: boolean;
}

declare module "fastify" {
  interface FastifyContextConfig {
    /** The body is bytes, which no schema can describe to the validator. */
    bytes?: boolean;
    /** The body may be left out. */
    optionalBody?: boolean;
  }
  interface FastifyRequest {
    /** Who asks; `NOBODY` until that is known. */
    caller: Caller;
  }
}

export async function buildApp(options: AppOptions): Promise<FastifyInstance> {
  const { toolstack, version, now } = options;
  const tickets = new Tickets(now);
  const access = new Access({
    ...options.access,
    tickets,
    callerOf: (secret) => toolstack.tokens.callerOf(secret),
    stillHolds: (caller) => toolstack.tokens.stillHolds(caller),
  });
  const metrics = new Metrics(toolstack, options.processMetrics ?? false);
  toolstack.onCommit((seconds, changes) => metrics.commit(seconds, changes));
  const methods = new MethodTable();
  const stopping = new AbortController();
  const operationIds = new Set<string>();
  const streams = new OpenStreams({ events: () => toolstack.events, stopping: stopping.signal });
  const limits = new RateLimits(now);
  const context: RouteContext = {
    streams,
    toolstack,
    version,
    tickets,
    metrics,
    now,
    stopping: stopping.signal,
    operationIds,
  };
  let requests = 0;
  const newId = () => `${toolstack.bootEpoch.toString(36)}-${(++requests).toString(36)}`;
  const clientErrors = new ClientErrors({ log: options.log, newId });

  const app = Fastify({
    loggerInstance: options.log,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: JSON_LIMIT,
    forceCloseConnections: true,
    // An hour for a slow upload; idle connections outlive the pauses of clients that reuse them.
    requestTimeout: 3600_000,
    keepAliveTimeout: 72_000,
    requestIdHeader: false,
    genReqId: newId,
    frameworkErrors: answerError as never,
    clientErrorHandler: clientErrors.answer,
    // Access says it, as a problem.
    http: { requireHostHeader: false },
    ...(options.tls && { https: { ...options.tls, requireHostHeader: false } }),
    routerOptions: { maxParamLength: 128, ignoreTrailingSlash: false },
    schemaController: { compilersFactory: { buildValidator: buildValidator as never } },
  });

  app.decorateRequest("caller");
  app.decorateRequest("object", null);
  app.decorateRequest("foreign", false);
  app.setErrorHandler(answerError);
  app.setNotFoundHandler((request, reply) => {
    const allowed = methods.allowed(request.url);
    if (allowed.length === 0)
      return sendProblem(
        reply,
        new HttpProblem("route-not-found", `There is no ${request.method} ${pathOf(request)}.`),
      );
    reply.header("Allow", allowed.join(", "));
    const detail = `${pathOf(request)} takes ${allowed.join(", ")}, not ${request.method}.`;
    return sendProblem(reply, new HttpProblem("method-not-allowed", detail));
  });
  app.addHook("onRoute", (route) => methods.add(route.url, route.method));
  app.addHook("onRoute", ({ schema }) => {
    const { operationId } = (schema ?? {}) as { operationId?: string };
    if (operationId !== undefined) operationIds.add(operationId);
  });
  announceDeprecations(app);
  app.addHook("onRoute", checkRoute);
  app.addHook("onRoute", checkPath);
  // A route that names no query takes none: an option in the wrong place is not passed over in silence.
  app.addHook("onRoute", (route) => {
    if (route.url.startsWith("/v1/") && !route.schema?.querystring)
      route.schema = { ...route.schema, querystring: closed({}) };
  });
  const { origins } = options.access;
  // Before all else, so that a page that may ask can read a refusal too. Preflights bear no token and end here.
  if (origins && origins.length > 0) await app.register(fastifyCors, { ...CORS, origin: [...origins] });
  // Hooks that every request passes take callbacks: a promise each is a good part of what a read costs.
  app.addHook("onRequest", (request, reply, done) => {
    request.caller = NOBODY;
    clientErrors.began(reply);
    reply.header("x-request-id", request.id);
    setSecurityHeaders(reply, { docs: isDocs(request), tls: options.tls !== undefined });
    attempt(done, () => {
      request.caller = access.check(request, isOpen(request));
      limits.take(request.caller, reply);
      checkRole(request.caller, request.routeOptions.config);
      if (toolstack.domains.stopping && !/^(GET|HEAD|OPTIONS)$/.test(request.method))
        throw new HttpProblem("host-stopping", "The service is stopping and takes no new work; it can be looked at.");
    });
  });
  // An action without options needs no body; a body of which something is missing is told what.
  app.addHook("preValidation", (request, _reply, done) => {
    if (request.method === "POST" && request.body === undefined && request.routeOptions.schema?.body) request.body = {};
    done();
  });
  app.addHook("preHandler", (request, _reply, done) => attempt(done, () => findObject(request, toolstack)));
  auditTrail(app, () => toolstack.audit, now);
  if (toolstack.faults) addFaultHooks(app, toolstack.faults, stopping.signal);
  takeIdempotencyKeys(app, toolstack);
  answerConditions(app);
  // A line of its own in the terminal of who asks with curl.
  app.addHook<string>("onSend", (_request, reply, payload, done) => {
    const json = typeof payload === "string" && String(reply.getHeader("content-type")).includes("json");
    done(null, json ? `${payload}\n` : payload);
  });
  app.addHook("onResponse", (request, reply, done) => {
    // Nobody reads from a socket whose upgrade was refused, so nobody would see it end.
    if (reply.statusCode >= 400 && asksForWebSocket(request)) request.raw.socket.destroySoon();
    metrics.request(request.method, request.routeOptions.url, reply.statusCode, reply.elapsedTime);
    // Reading is what clients do all day.
    const quiet = reply.statusCode < 400 && (request.method === "GET" || request.method === "HEAD");
    if (!quiet || options.log.level === "debug" || options.log.level === "trace") {
      const { id, method, url } = request;
      const ms = Math.round(reply.elapsedTime * 10) / 10;
      const fields = { reqId: id, method, url: withoutKeys(url), status: reply.statusCode, ms };
      options.log[quiet ? "debug" : "info"](fields, "request");
    }
    done();
  });
  app.addHook("preClose", async () => stopping.abort());
  acceptEmptyJson(app);

  for (const schema of [
    Problem,
    ...problemKindSchemas,
    ...domainSchemas,
    ...batchSchemas,
    ...taskSchemas,
    ...imageSchemas,
    ...serviceSchemas,
    ...xenstoreSchemas,
    ...guestRequestSchemas,
    ...statisticsSchemas,
    ...faultSchemas,
    ...accessSchemas,
  ])
    app.addSchema(schema);
  await app.register(fastifyWebsocket, {
    options: { maxPayload: WEBSOCKET_MESSAGE_LIMIT },
    errorHandler: (error: Error & { code?: string }, socket, request) => {
      // What a client does wrong is no fault of the service.
      if (error.code?.startsWith("WS_ERR_")) request.log.debug({ code: error.code }, `WebSocket: ${error.message}`);
      else request.log.error({ err: error }, "WebSocket failed");
      socket.terminate();
    },
  });
  await describe(app, version);
  for (const routes of [
    serviceRoutes,
    imageRoutes,
    domainRoutes,
    batchRoutes,
    consoleRoutes,
    consoleSocketRoutes,
    hypercallRoutes,
    guestRequestRoutes,
    projectRoutes,
    tokenRoutes,
    auditRoutes,
    xenstoreRoutes,
    statisticsRoutes,
    faultRoutes,
    taskRoutes,
    eventRoutes,
  ])
    await app.register(async (scope) => routes(scope, context));
  await app.ready();
  return app;
}

/** Goes on after `work`, or with the problem that it throws. */
function attempt(done: (error?: Error) => void, work: () => void): void {
  try {
    work();
  } catch (error) {
    done(error as Error);
    return;
  }
  done();
}

/** An action without options needs no body, whatever its content type says. */
function acceptEmptyJson(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser("error", "error");
  app.removeContentTypeParser(["application/json", "text/plain"]);
  app.addContentTypeParser<string>(
    ["application/json", "application/merge-patch+json"],
    { parseAs: "string" },
    (request, body, done) => {
      if (body === "") done(null, undefined);
      else parse(request, body, done);
    },
  );
}

async function describe(app: FastifyInstance, version: string): Promise<void> {
  const optionalBodies = new Set<unknown>();
  await app.register(fastifySwagger, {
    openapi: {
      openapi: "3.1.0",
      info: {
        title: "domzero",
        version,
        description: "A Xen toolstack and a Xen-compatible hypervisor in one process.",
        license: { name: "MIT", identifier: "MIT" },
      },
      servers: [{ url: "/", description: "This service." }],
      security: [{ token: [] }],
      tags: [
        { name: "domains", description: "Definitions and lifecycle." },
        { name: "console", description: "What guests print and read." },
        { name: "xenstore", description: "What guests and their host tell each other." },
        { name: "statistics", description: "What domains and the host do, and did." },
        { name: "images", description: "Files that domains are built from." },
        { name: "tasks", description: "Operations under way and done." },
        { name: "events", description: "Every change of every object." },
        { name: "access", description: "Who may do what: tokens and projects; who did what: the audit log." },
        { name: "faults", description: "Faults on purpose, to test what is built on this service." },
        { name: "service", description: "The host and the service itself." },
      ],
      components: { securitySchemes: { token: { type: "http", scheme: "bearer" } } },
    },
    transform: ({ schema, url, route }) => {
      if (route.config?.optionalBody) optionalBodies.add((schema as { operationId?: string }).operationId);
      // Said of every route here, and not to the serializer, which problems do not pass.
      const response = { ...(schema?.response as object), ...problemResponses };
      const access = describeAccess(route.config ?? {});
      const body = route.config?.bytes && { body: { content: { "application/octet-stream": { schema: {} } } } };
      return { schema: { ...schema, ...body, ...access, response }, url };
    },
    transformObject: (document) => {
      if (!("openapiObject" in document)) return document.swaggerObject;
      const { openapiObject } = document;
      // What has a default may be left out.
      for (const operation of Object.values(openapiObject.paths ?? {}).flatMap((path) => Object.values(path ?? {})))
        for (const parameter of (operation as { parameters?: { schema?: object; required?: boolean }[] }).parameters ??
          [])
          if ("default" in (parameter.schema ?? {})) parameter.required = false;
      for (const { post } of Object.values(openapiObject.paths ?? {}).flatMap((path) => path ?? []))
        if (post && optionalBodies.has(post.operationId)) Object.assign(post.requestBody ?? {}, { required: false });
      return openapiObject;
    },
    refResolver: { buildLocalReference: (json, _base, _fragment, index) => String(json.$id ?? `schema-${index}`) },
  });
  await app.register(fastifySwaggerUi, { routePrefix: "/docs", staticCSP: true });
}

function pathOf(request: FastifyRequest): string {
  return request.url.split("?", 1)[0];
}

/** A ticket is spent by the time it is logged and a token has no business in a URL, but a log is no place for either. */
function withoutKeys(url: string): string {
  return url.replace(/([?&](?:ticket|token|access_token)=)[^&]*/gi, "$1...").replaceAll(SECRET, "...");
}
