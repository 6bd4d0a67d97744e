import { afterAll, beforeAll, expect, test } from "vitest";
import { escapeControls } from "../../src/http/escape.ts";
import { ask, definition, problem, type Service, startService } from "./service.ts";

let service: Service;
beforeAll(async () => {
  service = await startService();
  await ask(service, "POST /v1/domains", { body: definition("web", { start: true }) });
  await ask(service, "POST /v1/domains", { body: definition("halted") });
});
afterAll(() => service.close());

test("a live domain's hypercalls are counted, with their sub-operations", async () => {
  const { json } = await ask(service, "GET /v1/domains/web/hypercalls");
  expect(json).toEqual({
    counters: [{ number: 29, name: "sched_op", count: 3, subops: [{ op: 1, name: "block", count: 3 }] }],
    tracing: false,
    trace: [],
    next: 0,
    refusals: [],
  });
});

test("tracing is switched on and off", async () => {
  for (const enabled of [true, false]) {
    const answer = await ask(service, "PUT /v1/domains/web/hypercalls/trace", { body: { enabled } });
    expect([answer.status, answer.json]).toEqual([200, { enabled }]);
    expect((await ask(service, "GET /v1/domains/web/hypercalls")).json.tracing).toBe(enabled);
  }
});

test.each([
  ["GET /v1/domains/halted/hypercalls", undefined, 409, "wrong-state"],
  ["GET /v1/domains/nobody/hypercalls", undefined, 404, "domain-not-found"],
  ["GET /v1/domains/web/hypercalls?since=-1", undefined, 400, "bad-request"],
  ["PUT /v1/domains/halted/hypercalls/trace", { enabled: true }, 409, "wrong-state"],
  ["PUT /v1/domains/web/hypercalls/trace", {}, 400, "bad-request"],
  ["PUT /v1/domains/web/hypercalls/trace", { enabled: "yes" }, 400, "bad-request"],
  ["PUT /v1/domains/web/hypercalls/trace", { enabled: true, only: ["open"] }, 422, "bad-value"],
  ["GET /v1/domains/web/hypercalls?failed=perhaps", undefined, 400, "bad-request"],
])("%s with %j is refused", async (line, body, status, type) => {
  const answer = await ask(service, line, { ...(body && { body }) });
  expect([answer.status, problem(answer)]).toEqual([status, type]);
});

test.each([
  ["plain text", "plain text"],
  ["\u001b[2J\u009b31m", "\\x1b[2J\\x9b31m"],
  ["a\r\nb\tc\u007f", "a\\x0d\\x0ab\\x09c\\x7f"],
  ["\u202egnp.exe\u2066", "\\u202egnp.exe\\u2066"],
])("a guest's text %j is logged as %j", (text, logged) => {
  expect(escapeControls(text)).toBe(logged);
});
