/** Requests that must be refused: each with its status, its problem type and the field at fault, and nothing changed. */

import { request } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { listenTcp } from "../../src/http/server.ts";
import { ask, definition, problem, type Service, startService, TOKEN } from "./service.ts";

let service: Service;
beforeAll(async () => {
  service = await startService();
  await ask(service, "POST /v1/domains", { body: definition("taken") });
});
afterAll(() => service.close());

const cases: [string, unknown, number, string, string?][] = [
  ["no vCPU", definition("a", { vcpus: 0 }), 400, "bad-request", "vcpus"],
  ["a billion vCPUs", definition("a", { vcpus: 1e9 }), 400, "bad-request", "vcpus"],
  ["half a vCPU", definition("a", { vcpus: 1.5 }), 400, "bad-request", "vcpus"],
  ["vCPUs as text", definition("a", { vcpus: "2" }), 400, "bad-request", "vcpus"],
  ["no memory", definition("a", { memoryMiB: 0 }), 400, "bad-request", "memoryMiB"],
  ["negative memory", definition("a", { memoryMiB: -1 }), 400, "bad-request", "memoryMiB"],
  ["memory above what a domain can have", definition("a", { memoryMiB: 4000 }), 400, "bad-request", "memoryMiB"],
  ["memory above the host", definition("a", { memoryMiB: 2000 }), 422, "out-of-range", "memoryMiB"],
  ["a ceiling below the memory", definition("a", { maxMemoryMiB: 8 }), 422, "out-of-range", "maxMemoryMiB"],
  ["an unknown field", definition("a", { vcpu_count: 4 }), 400, "bad-request", "vcpu_count"],
  ["no name", { kernel: "builtin:demo", memoryMiB: 16, vcpus: 1 }, 400, "bad-request", "name"],
  ["an empty name", definition(""), 400, "bad-request", "name"],
  ["a name with a slash", definition("a/b"), 400, "bad-request", "name"],
  ["a name with a line end", definition("a\n"), 400, "bad-request", "name"],
  ["a long name", definition("a".repeat(64)), 400, "bad-request", "name"],
  ["a name that is a number", definition("12"), 422, "bad-name", "name"],
  ["a name that is a hexadecimal number", definition("0x1f"), 422, "bad-name", "name"],
  ["a name that is 1e9", definition("1e9"), 422, "bad-name", "name"],
  ["a name that is a uuid", definition("0b7a6d8e-96a0-4b32-8d5e-0a3f8a5a1a11"), 422, "bad-name", "name"],
  ["a name that is a uuid without dashes", definition("0b7a6d8e96a04b328d5e0a3f8a5a1a11"), 422, "bad-name", "name"],
  ["a name that is taken", definition("taken"), 409, "name-taken", "name"],
  ["an unknown kernel", definition("a", { kernel: "nothing" }), 422, "image-unknown", "kernel"],
  ["an unknown built-in", definition("a", { kernel: "builtin:linux" }), 422, "image-unknown", "kernel"],
  ["an unknown ramdisk", definition("a", { ramdisk: "nothing" }), 422, "image-unknown", "ramdisk"],
  ["a long command line", definition("a", { cmdline: "é".repeat(1000) }), 422, "bad-value", "cmdline"],
  ["a NUL in the command line", definition("a", { cmdline: "a\0b" }), 422, "bad-value", "cmdline"],
  ["a policy that there is not", definition("a", { onCrash: "ignore" }), 400, "bad-request", "onCrash"],
  ["an array", [], 400, "bad-request"],
  ["null", "null", 400, "bad-request"],
  ["what is not JSON", "{", 400, "malformed-json"],
  ["__proto__", '{"__proto__": {}}', 400, "malformed-json"],
  ["nothing", "", 400, "bad-request", "name"],
  ["more than 1 MiB", { name: "a".repeat(2 ** 20) }, 413, "body-too-large"],
];
test.each(cases)("a definition with %s", async (_what, body, status, type, field) => {
  const answer = await ask(service, "POST /v1/domains", { body });
  expect([answer.status, problem(answer), answer.json.field]).toEqual([status, type, field]);
  expect(answer.headers["content-type"]).toContain("application/problem+json");
  expect(answer.json.detail.length).toBeGreaterThan(10);
  expect(answer.json.requestId).toBe(answer.headers["x-request-id"]);
  expect((await ask(service, "GET /v1/domains")).json.items).toHaveLength(1);
});

test.each([
  [
    "another content type",
    "POST /v1/domains",
    { "content-type": "application/x-www-form-urlencoded" },
    415,
    "media-type",
  ],
  ["an unknown query field", "GET /v1/domains?limt=3", {}, 400, "bad-request"],
  ["a query where none is taken", "GET /v1/domains/taken?x=1", {}, 400, "bad-request"],
  ["a body's field in the query", "POST /v1/domains/taken/shutdown?timeoutS=5", {}, 400, "bad-request"],
  ["a query of the wrong type", "GET /v1/domains?limit=many", {}, 400, "bad-request"],
  ["a query out of range", "GET /v1/domains?limit=0", {}, 400, "bad-request"],
  ["an unknown route", "GET /v1/nothing", {}, 404, "route-not-found"],
  ["a method that a route does not know", "PUT /v1/domains/web", {}, 405, "method-not-allowed"],
  ["an unknown domain", "POST /v1/domains/nobody/start", {}, 404, "domain-not-found"],
  ["an unknown task", "GET /v1/tasks/00000000-0000-0000-0000-000000000000", {}, 404, "task-not-found"],
  ["a task that is no uuid", "GET /v1/tasks/1", {}, 400, "bad-request"],
  ["an overlong reference", `GET /v1/domains/${"a".repeat(200)}`, {}, 400, "bad-request"],
])("%s", async (_what, line, headers, status, type) => {
  const body = line.startsWith("POST /v1/domains ") || line === "POST /v1/domains" ? "name=a" : undefined;
  const answer = await ask(service, line, { headers, ...(body !== undefined && { body }) });
  expect([answer.status, problem(answer)]).toEqual([status, type]);
});

test("405 says what is allowed", async () => {
  const answer = await ask(service, "PUT /v1/domains/web");
  expect(answer.headers.allow).toBe("DELETE, GET, HEAD, PATCH");
});

test("a chunked body above 1 MiB is refused as it comes", async () => {
  const port = await listenTcp(service.app, "127.0.0.1", 0);
  service.listen.port = port;
  const status = await new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${TOKEN}`, "content-type": "application/json" };
    const asked = request({ host: "127.0.0.1", port, method: "POST", path: "/v1/domains", headers }, (response) => {
      resolve(response.statusCode);
      asked.destroy();
    });
    asked.on("error", reject);
    const chunk = Buffer.alloc(64 * 1024, " ");
    const more = () => {
      if (!asked.destroyed) asked.write(chunk, () => setImmediate(more));
    };
    more();
  });
  expect(status).toBe(413);
});
