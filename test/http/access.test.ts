import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { isOwnName } from "../../src/http/host-names.ts";
import { Tickets } from "../../src/http/tickets.ts";
import { ROOT } from "../../src/toolstack/access/caller.ts";
import { ask, problem, type Service, startService, TOKEN } from "./service.ts";

let service: Service;
beforeAll(async () => {
  service = await startService({ hosts: ["xen.example", "proxy.example:8443"] });
});
afterAll(() => service.close());

describe("without a token", () => {
  test.each([
    ["GET /healthz", 200],
    ["GET /openapi.json", 200],
    ["GET /docs", 200],
    ["GET /docs/json", 200],
    ["GET /docs/static/index.css", 200],
    ["GET /readyz", 401],
    ["GET /metrics", 401],
    ["GET /v1/host", 401],
    ["GET /v1/domains", 401],
    ["POST /v1/domains", 401],
    ["GET /v1/domains/x/console", 401],
    ["GET /v1/domains/x/console?token=the-token-of-the-tests", 401],
    ["POST /v1/images?kind=kernel", 401],
    ["GET /v1/events", 401],
    ["POST /v1/tickets", 401],
    ["GET /nothing", 401],
    ["GET /docsx", 401],
    ["DELETE /healthz", 401],
  ])("%s is %i", async (line, status) => {
    const answer = await ask(service, line, { token: null });
    expect(answer.status).toBe(status);
    if (status === 401) expect(answer.headers["www-authenticate"]).toContain("Bearer");
  });
});

test.each([
  ["another token", "Bearer another"],
  ["a longer one", `Bearer ${TOKEN}x`],
  ["an empty one", "Bearer "],
  ["another scheme", `Basic ${TOKEN}`],
])("%s is refused", async (_what, authorization) => {
  const answer = await ask(service, "GET /v1/host", { token: null, headers: { authorization } });
  expect([answer.status, problem(answer)]).toEqual([401, "unauthorized"]);
});

describe("the Host header", () => {
  test.each([
    ["127.0.0.1", 200],
    ["127.0.0.1:80", 200],
    ["localhost", 200],
    ["LOCALHOST:80", 200],
    ["[::1]:80", 200],
    ["xen.example", 200],
    ["xen.example:9999", 200],
    ["proxy.example:8443", 200],
    ["proxy.example", 421],
    ["127.0.0.1:81", 421],
    ["evil.example", 421],
    ["127.0.0.1.evil.example", 421],
    ["localhost.evil.example", 421],
    ["10.0.0.1", 421],
  ])("%j is %i", async (host, status) => {
    expect((await ask(service, "GET /healthz", { headers: { host } })).status).toBe(status);
  });

  test("of a service that listens everywhere may be any address, but no unknown name", () => {
    const listen = { host: "0.0.0.0", port: 8006 };
    const known = (host: string) => isOwnName(host, { listen });
    expect(["10.0.0.1:8006", "[fe80::1]:8006", "localhost:8006"].map(known)).toEqual([true, true, true]);
    expect(["evil.example:8006", "10.0.0.1:80", "1.evil.example:8006"].map(known)).toEqual([false, false, false]);
  });
});

describe("a ticket", () => {
  test("is good once", () => {
    const tickets = new Tickets(() => 0);
    const { ticket } = tickets.issue(ROOT);
    expect([tickets.redeem(ticket), tickets.redeem(ticket), tickets.redeem("made up")]).toEqual([
      ROOT,
      undefined,
      undefined,
    ]);
  });

  test("is good for 30 s", () => {
    let now = 0;
    const tickets = new Tickets(() => now);
    const [early, late] = [tickets.issue(ROOT), tickets.issue(ROOT)];
    now = 29_999;
    expect(tickets.redeem(early.ticket)).toBe(ROOT);
    now = 30_000;
    expect(tickets.redeem(late.ticket)).toBeUndefined();
  });

  test("does not stand in for the token on other routes", async () => {
    const { ticket } = (await ask(service, "POST /v1/tickets")).json;
    expect((await ask(service, `GET /v1/host?ticket=${ticket}`, { token: null })).status).toBe(401);
  });
});

test("the log has neither tokens nor tickets", async () => {
  await ask(service, "GET /v1/domains/x/console/ws?ticket=secret-ticket");
  expect(service.logged.length).toBeGreaterThan(0);
  expect(service.logged.join("")).not.toMatch(/the-token-of-the-tests|secret-ticket/);
});

test("the document lists each route that there is, and each names its problems", async () => {
  const { json } = await ask(service, "GET /openapi.json");
  expect(json.openapi).toBe("3.1.0");
  expect(Object.keys(json.paths)).toEqual(
    expect.arrayContaining(["/v1/domains", "/v1/images", "/v1/events", "/v1/host", "/v1/domains/{domain}/console/ws"]),
  );
  for (const path of Object.values(json.paths as Record<string, Record<string, { responses: object }>>))
    for (const operation of Object.values(path)) expect(Object.keys(operation.responses)).toContain("4XX");
});

test("the host says what it is", async () => {
  expect((await ask(service, "GET /v1/host")).json).toMatchObject({
    version: "0.0.0",
    bootEpoch: 1,
    workers: 1,
    memoryTotalMiB: 1024,
    builtinKernels: ["builtin:demo"],
  });
});
