/**
 * Every route that the committed document has: one request that it answers and one that it refuses, each answer held against the
 * document. A route without an entry here fails.
 */

import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { Recorder } from "../../src/history/recorder.ts";
import { listenTcp } from "../../src/http/server.ts";
import { DOMAIN_SERIES, HOST_SERIES } from "../../src/toolstack/statistics/figures.ts";
import { SAMPLE_WIDTH } from "../../src/toolstack/statistics/sampler.ts";
import { HOST } from "../../src/toolstack/statistics/statistics.ts";
import { checkAnswer, type Operation, operations } from "./contract.ts";
import { ask, definition, problem, type Service, startService, TOKEN } from "./service.ts";

type State = "halted" | "running" | "paused" | "suspended";

interface Happy {
  readonly status: number;
  /** The state of the domain that the path names; running unless said. */
  readonly from?: State;
  readonly query?: string;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
}

interface Refused extends Happy {
  readonly problem: string;
  /** What the path names instead. */
  readonly of?: string;
}

const NIL = "00000000-0000-0000-0000-000000000000";
const noDomain: Refused = { of: "nobody", status: 404, problem: "domain-not-found" };
const unknownQuery: Refused = { query: "?x=1", status: 400, problem: "bad-request" };
const wrongState = (from: State): Refused => ({ from, status: 409, problem: "wrong-state" });
const notA = (kind: string): Refused => ({ of: NIL, status: 404, problem: `${kind}-not-found` });

const PROOFS: Readonly<Record<string, readonly [happy: Happy, refused: Refused]>> = {
  getHost: [{ status: 200 }, unknownQuery],
  listProblems: [{ status: 200 }, unknownQuery],
  makeTicket: [{ status: 201 }, unknownQuery],
  getHealth: [{ status: 200 }, { headers: { host: "elsewhere.example" }, status: 421, problem: "host-refused" }],
  getReadiness: [{ status: 200 }, { headers: { authorization: "Bearer x" }, status: 401, problem: "unauthorized" }],
  getMetrics: [{ status: 200 }, { headers: { authorization: "Bearer x" }, status: 401, problem: "unauthorized" }],

  listImages: [{ status: 200 }, { query: "?limit=0", status: 400, problem: "bad-request" }],
  uploadImage: [
    { query: "?kind=ramdisk", body: "bytes", status: 201 },
    { query: "?kind=ramdisk", body: "", status: 400, problem: "image-empty" },
  ],
  getImage: [{ status: 200 }, notA("image")],
  deleteImage: [{ status: 204 }, notA("image")],

  listDomains: [
    { query: "?limit=1", status: 200 },
    { query: "?limit=many", status: 400, problem: "bad-request" },
  ],
  createDomain: [
    { body: definition("fresh"), status: 201 },
    { body: definition("12"), status: 422, problem: "bad-name" },
  ],
  actOnDomains: [
    { body: { operation: "start", domains: ["nobody"] }, status: 200 },
    { body: { operation: "start" }, status: 422, problem: "bad-value" },
  ],
  getDomain: [{ status: 200 }, noDomain],
  changeDomain: [
    { body: { description: "changed" }, status: 200 },
    { body: { description: "lost" }, headers: { "if-match": '"77"' }, status: 412, problem: "precondition-failed" },
  ],
  deleteDomain: [{ from: "halted", status: 204 }, wrongState("running")],
  startDomain: [{ from: "halted", status: 200 }, wrongState("running")],
  pauseDomain: [{ status: 200 }, wrongState("paused")],
  unpauseDomain: [{ from: "paused", status: 200 }, wrongState("running")],
  shutdownDomain: [{ status: 200 }, wrongState("halted")],
  rebootDomain: [{ status: 200 }, wrongState("halted")],
  suspendDomain: [{ status: 200 }, wrongState("halted")],
  resumeDomain: [{ from: "suspended", status: 200 }, wrongState("halted")],
  destroyDomain: [{ status: 200 }, wrongState("halted")],

  readConsole: [{ status: 200 }, { query: "?offset=-1", status: 400, problem: "bad-request" }],
  typeIntoConsole: [
    { body: "help\r", status: 200 },
    { ...wrongState("halted"), body: "help\r" },
  ],
  attachConsole: [{ status: 101 }, { status: 426, problem: "upgrade-required" }],
  getHypercalls: [{ status: 200 }, wrongState("halted")],
  setHypercallTrace: [
    { body: { enabled: true }, status: 200 },
    { body: { enabled: "yes" }, status: 400, problem: "bad-request" },
  ],
  setMemoryTarget: [
    { body: { memoryMiB: 8 }, status: 200 },
    { body: { memoryMiB: 64 }, status: 422, problem: "out-of-range" },
  ],
  setOnlineVcpus: [
    { body: { online: 1 }, status: 200 },
    { body: { online: 9 }, status: 422, problem: "out-of-range" },
  ],
  pressSysrq: [
    { body: { key: "h" }, status: 200 },
    { ...wrongState("halted"), body: { key: "h" } },
  ],

  listProjects: [{ status: 200 }, { query: "?limit=0", status: 400, problem: "bad-request" }],
  createProject: [
    { body: { name: "fresh" }, status: 201 },
    { body: {}, status: 400, problem: "bad-request" },
  ],
  getProject: [{ status: 200 }, { of: "nothing", status: 404, problem: "project-not-found" }],
  deleteProject: [{ status: 204 }, { of: "default", status: 409, problem: "project-in-use" }],
  listTokens: [{ status: 200 }, { query: "?limit=0", status: 400, problem: "bad-request" }],
  createToken: [
    { body: { name: "fresh", role: "viewer" }, status: 201 },
    { body: { name: "fresh", role: "king" }, status: 400, problem: "bad-request" },
  ],
  getToken: [{ status: 200 }, notA("token")],
  changeToken: [
    { body: { name: "other", role: "operator", expiresAt: null, quotas: { domains: 3 } }, status: 200 },
    { body: { role: "admin", projects: ["default"] }, status: 422, problem: "bad-value" },
  ],
  revokeToken: [{ status: 204 }, notA("token")],
  listAudit: [{ status: 200 }, { query: "?limit=0", status: 400, problem: "bad-request" }],

  readXenstore: [
    { query: "?path=/", status: 200 },
    { query: "?path=/none", status: 404, problem: "node-not-found" },
  ],
  writeXenstore: [
    { query: "?path=/tool/a", body: { value: "x" }, status: 201 },
    { query: "?path=/tool//a", body: { value: "x" }, status: 422, problem: "bad-path" },
  ],
  removeXenstore: [
    { query: "?path=/tool", status: 204 },
    { query: "?path=/none", status: 404, problem: "node-not-found" },
  ],
  watchXenstore: [
    { query: "?path=/tool", status: 200 },
    { query: "", status: 400, problem: "bad-request" },
  ],
  readDomainXenstore: [{ query: "?path=name", status: 200 }, wrongState("halted")],
  writeDomainXenstore: [
    { query: "?path=data/a", body: { value: "x" }, status: 201 },
    { ...noDomain, body: {} },
  ],
  removeDomainXenstore: [
    { query: "?path=data", status: 204 },
    { query: "?path=none", status: 404, problem: "node-not-found" },
  ],
  watchDomainXenstore: [{ query: "?path=data", status: 200 }, wrongState("halted")],

  getDomainStatistics: [{ status: 200 }, wrongState("halted")],
  getDomainHistory: [{ status: 200 }, { query: "?metrics=none", status: 422, problem: "bad-value" }],
  getHostHistory: [{ status: 200 }, { query: "?metrics=none", status: 422, problem: "bad-value" }],

  listFaults: [{ status: 200 }, unknownQuery],
  addFault: [
    { body: { kind: "delay-request", operationId: "getHost", delayMs: 1 }, status: 201 },
    { body: { kind: "earthquake" }, status: 400, problem: "bad-request" },
  ],
  liftFaults: [{ status: 204 }, unknownQuery],
  getFault: [{ status: 200 }, notA("fault")],
  liftFault: [{ status: 204 }, notA("fault")],

  listTasks: [
    { query: "?limit=1", status: 200 },
    { query: "?domain=x", status: 400, problem: "bad-request" },
  ],
  getTask: [{ status: 200 }, notA("task")],
  cancelTask: [{ status: 200 }, notA("task")],
  followEvents: [{ status: 101 }, { status: 426, problem: "upgrade-required" }],
  getEvents: [
    { query: "?limit=3", status: 200 },
    { query: "?since=ff:1", status: 410, problem: "events-gone" },
  ],
};

let service: Service;
let recorder: Recorder;
let made = 0;
let port: Promise<number>;
beforeAll(async () => {
  recorder = new Recorder({
    path: ":memory:",
    stepSeconds: 10,
    width: SAMPLE_WIDTH,
    counters: {
      host: HOST_SERIES.map(({ kind }) => kind === "counter"),
      domain: DOMAIN_SERIES.map(({ kind }) => kind === "counter"),
    },
    host: HOST,
    log: () => undefined,
  });
  const store = {
    record: recorder.record.bind(recorder),
    read: async (query: Parameters<typeof recorder.read>[0]) => recorder.read(query),
    forget: recorder.forget.bind(recorder),
    retain: async () => undefined,
    close: async () => undefined,
  };
  const process = () => ({ cpuSeconds: 0, residentBytes: 0 });
  service = await startService({ faults: true, history: { store, stepSeconds: 10, process } });
  port = listenTcp(service.app, "127.0.0.1", 0);
});
afterAll(async () => {
  await service.close();
  recorder.close();
});

async function must(line: string, body?: unknown): Promise<{ id: string; uuid: string }> {
  const answer = await ask(service, line, { ...(body !== undefined && { body }) });
  expect(answer.status, answer.text).toBeLessThan(300);
  return answer.json;
}

async function domain(state: State): Promise<string> {
  const { uuid } = await must("POST /v1/domains", definition(`d${++made}`, { start: state !== "halted" }));
  if (state === "paused") await must(`POST /v1/domains/${uuid}/pause`);
  if (state === "suspended") await must(`POST /v1/domains/${uuid}/suspend`);
  if (state === "running") await must(`PUT /v1/domains/${uuid}/xenstore?path=data`, { value: "" });
  return uuid;
}

/** A start that waits for the machine: its task can be cancelled. */
async function startUnderWay(): Promise<string> {
  const uuid = await domain("halted");
  const gate = Promise.withResolvers<void>();
  service.domctl.gates.set("create", gate.promise);
  const { json } = await ask(service, `POST /v1/domains/${uuid}/start`, { headers: { prefer: "respond-async" } });
  service.domctl.gates.delete("create");
  setImmediate(gate.resolve);
  return json.id;
}

const MAKE: Readonly<Record<string, (state: State) => Promise<string>>> = {
  domain,
  image: async () => (await must("POST /v1/images?kind=ramdisk", `bytes ${++made}`)).id,
  task: startUnderWay,
  project: async () => {
    await must("POST /v1/projects", { name: `p${++made}` });
    return `p${made}`;
  },
  token: async () => (await must("POST /v1/tokens", { name: `t${++made}`, role: "viewer" })).id,
  fault: async () => (await must("POST /v1/faults", { kind: "delay-request", operationId: "getHost", delayMs: 1 })).id,
};

async function send(operation: Operation, request: Happy & { of?: string }) {
  const named = /\{(\w+)\}/.exec(operation.path)?.[1];
  const reference = named && (request.of ?? (await MAKE[named](request.from ?? "running")));
  const path = operation.path.replace(/\{\w+\}/, reference ?? "");
  const method = operation.streams ? "HEAD" : operation.method;
  const { query = "", body, headers } = request;
  return ask(service, `${method} ${path}${query}`, {
    ...(body !== undefined && { body }),
    ...(headers && { headers }),
  });
}

/** A WebSocket takes a real connection. */
async function attach(operation: Operation): Promise<void> {
  service.listen.port = await port;
  const named = operation.path.includes("{");
  const path = operation.path.replace(/\{\w+\}/, named ? await domain("running") : "");
  const headers = { authorization: `Bearer ${TOKEN}` };
  const socket = new WebSocket(`ws://127.0.0.1:${service.listen.port}${path}`, { headers });
  await once(socket, "open");
  socket.terminate();
}

test("every route has its proofs, and there are none of routes that are gone", () => {
  expect(Object.keys(PROOFS).sort()).toEqual(operations.map(({ id }) => id).sort());
});

const proven = operations.filter(({ id }) => id in PROOFS);
describe.each(proven)("$method $path", (operation) => {
  const [happy, refused] = PROOFS[operation.id];

  test(`answers ${happy.status}`, async () => {
    if (happy.status === 101) return attach(operation);
    const answer = await send(operation, happy);
    expect(answer.status, answer.text).toBe(happy.status);
    checkAnswer(operation, answer);
  });

  test(`refuses with ${refused.status} ${refused.problem}`, async () => {
    const answer = await send(operation, refused);
    expect(answer.status, answer.text).toBe(refused.status);
    if (operation.streams) return;
    expect(problem(answer)).toBe(refused.problem);
    checkAnswer(operation, answer);
  });
});
