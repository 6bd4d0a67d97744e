/** One action on many domains: each answers for itself, and the whole is a task. */

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ask, definition, problem, type Service, startService, until } from "./service.ts";

let service: Service;
beforeEach(async () => {
  service = await startService();
  for (const name of ["web-1", "web-2", "db-1"]) await ask(service, "POST /v1/domains", { body: definition(name) });
});
afterEach(() => service.close());

const batch = (body: object, headers = {}) => ask(service, "POST /v1/domains/batch", { body, headers });
const state = async (name: string) => (await ask(service, `GET /v1/domains/${name}`)).json.state;
const task = async (id: string) => (await ask(service, `GET /v1/tasks/${id}`)).json;

test("by filter: all that match, each with its own task", async () => {
  const answer = await batch({ operation: "start", filter: { name: "web-*" } });
  expect(answer.json).toMatchObject({ succeeded: 2, failed: 0 });
  expect(await Promise.all(["web-1", "web-2", "db-1"].map(state))).toEqual(["running", "running", "halted"]);
  for (const item of answer.json.domains) {
    expect(item.status).toBe(200);
    expect(await task(item.task)).toMatchObject({ operation: "start", domain: item.domain, state: "succeeded" });
  }
  const whole = await task(answer.json.task);
  expect(whole).toMatchObject({ operation: "batch-start", domain: null, stepsDone: 2, stepsTotal: 2 });
  expect(whole.result.domains).toHaveLength(2);
});

test("by a list: in its order, each once, with the refusal of each that is refused", async () => {
  await ask(service, "POST /v1/domains/web-1/start");
  const { json } = await batch({ operation: "start", domains: ["web-1", "nobody", "db-1", "web-1"] });
  expect(json).toMatchObject({ succeeded: 1, failed: 2 });
  expect(json.domains.map(({ status, type }: { status: number; type?: string }) => [status, type])).toEqual([
    [409, "urn:domzero:problem:wrong-state"],
    [404, "urn:domzero:problem:domain-not-found"],
    [200, undefined],
  ]);
  expect(json.domains[1].domain).toBe("nobody");
});

test("an operation that fails is told with its task", async () => {
  service.domctl.refusals.set("create", { ok: false, code: "no-memory", detail: "It is full." });
  const { json } = await batch({ operation: "start", filter: {} });
  expect(json).toMatchObject({ succeeded: 0, failed: 3 });
  expect(json.domains[0]).toMatchObject({ status: 507, detail: "It is full.", task: expect.any(String) });
});

test("options go to each", async () => {
  await batch({ operation: "start", filter: { name: "db-*" }, options: { paused: true } });
  expect(await state("db-1")).toBe("paused");
  expect((await batch({ operation: "force-delete", filter: {} })).json.succeeded).toBe(3);
  expect((await ask(service, "GET /v1/domains")).json.items).toEqual([]);
});

describe("a batch that takes long", () => {
  let open: () => void;
  beforeEach(async () => {
    for (let index = 0; index < 20; index++)
      await ask(service, "POST /v1/domains", { body: definition(`many-${index}`) });
    const gate = Promise.withResolvers<void>();
    open = gate.resolve;
    service.domctl.gates.set("create", gate.promise);
  });
  const begun = () => service.domctl.calls.filter((call) => call.startsWith("create")).length;

  test("acts on eight at a time, and answers 202", async () => {
    const answer = await batch({ operation: "start", filter: { name: "many-*" } }, { prefer: "respond-async" });
    expect([answer.status, answer.headers.location]).toEqual([202, `/v1/tasks/${answer.json.id}`]);
    await until(() => begun() === 8);
    expect(await task(answer.json.id)).toMatchObject({ state: "running", stepsDone: 0, stepsTotal: 20 });
    open();
    await until(async () => (await task(answer.json.id)).state === "succeeded");
    expect(begun()).toBe(20);
  });

  test("asks for nothing more once it is cancelled; what it has asked for goes on", async () => {
    const { json } = await batch({ operation: "start", filter: { name: "many-*" } }, { prefer: "respond-async" });
    await until(() => begun() === 8);
    await ask(service, `POST /v1/tasks/${json.id}/cancel`, { headers: { prefer: "respond-async" } });
    open();
    await until(async () => (await task(json.id)).state === "cancelled");
    expect(begun()).toBe(8);
    expect((await ask(service, "GET /v1/domains?state=running&count=true")).json.total).toBe(8);
  });

  test("has failed when the service dies under it", async () => {
    const { json } = await batch({ operation: "start", filter: { name: "many-*" } }, { prefer: "respond-async" });
    await until(() => begun() === 8);
    const { stateDir } = service;
    await service.kill();
    service = await startService({ stateDir });
    expect(await task(json.id)).toMatchObject({ state: "failed", refusal: { code: "host-restarted" } });
    expect((await ask(service, "GET /v1/tasks?state=queued,running")).json.items).toEqual([]);
  });
});

test("under a key it is done once", async () => {
  const headers = { "idempotency-key": "k" };
  const first = await batch({ operation: "start", filter: {} }, headers);
  expect((await batch({ operation: "start", filter: {} }, headers)).text).toBe(first.text);
});

test("a token sees and acts on its own project alone", async () => {
  await ask(service, "POST /v1/projects", { body: { name: "mine" } });
  await ask(service, "POST /v1/domains", { body: definition("own", { project: "mine" }) });
  const made = await ask(service, "POST /v1/tokens", { body: { name: "t", role: "operator", projects: ["mine"] } });
  const token = made.json.secret;
  const by = (body: object) => ask(service, "POST /v1/domains/batch", { token, body });
  const all = await by({ operation: "start", filter: {} });
  expect(all.json.domains).toHaveLength(1);
  expect((await ask(service, `GET /v1/tasks/${all.json.task}`, { token })).status).toBe(200);
  expect((await by({ operation: "start", domains: ["web-1"] })).json.domains[0].status).toBe(404);
  expect(await state("web-1")).toBe("halted");
});

test.each([
  ["neither a list nor a filter", { operation: "start" }, 422, "bad-value"],
  ["both", { operation: "start", domains: ["a"], filter: {} }, 422, "bad-value"],
  ["an action that there is not", { operation: "explode", filter: {} }, 400, "bad-request"],
  ["an empty list", { operation: "start", domains: [] }, 400, "bad-request"],
])("refused: %s", async (_what, body, status, type) => {
  const answer = await batch(body);
  expect([answer.status, problem(answer)]).toEqual([status, type]);
});

test("a limited token follows the task of its batch, which is in one project", async () => {
  for (const name of ["red", "blue"]) {
    await ask(service, "POST /v1/projects", { body: { name } });
    await ask(service, "POST /v1/domains", { body: definition(`of-${name}`, { project: name }) });
  }
  const token = { name: "t", role: "operator", projects: ["red", "blue"] };
  const { secret } = (await ask(service, "POST /v1/tokens", { body: token })).json;
  const batch = (body: object, headers = {}) =>
    ask(service, "POST /v1/domains/batch", { body: { operation: "start", ...body }, token: secret, headers });
  const both = await batch({ domains: ["of-red", "of-blue"] });
  expect([both.status, problem(both), both.json.field]).toEqual([422, "bad-value", "domains"]);
  expect((await batch({ filter: {} })).json.field).toBe("filter");
  for (const domains of [["of-blue", "nowhere"], ["nowhere"]]) {
    const { status, headers } = await batch({ domains }, { prefer: "respond-async" });
    expect(status).toBe(202);
    expect((await ask(service, `GET ${headers.location}`, { token: secret })).status).toBe(200);
  }
});
