/** What a running guest is asked for: memory, vCPUs, sysrq keys; each a node of xenstore that the guest watches. */

import { afterAll, beforeAll, expect, test } from "vitest";
import { ask, definition, problem, type Service, startService } from "./service.ts";

let service: Service;
beforeAll(async () => {
  service = await startService();
  const body = definition("web", { start: true, vcpus: 3, maxMemoryMiB: 32 });
  await ask(service, "POST /v1/domains", { body });
  await ask(service, "POST /v1/domains", { body: definition("halted") });
});
afterAll(() => service.close());

const node = (path: string) => service.domctl.xenstore.local.read(`/local/domain/1/${path}`);

test.each([8, 32])("a memory target of %i MiB is written in KiB", async (memoryMiB) => {
  const answer = await ask(service, "POST /v1/domains/web/memory-target", { body: { memoryMiB } });
  expect([answer.status, answer.json.name, answer.json.memoryMiB]).toEqual([200, "web", 16]);
  expect(node("memory/target")).toBe(String(memoryMiB * 1024));
});

test("the ceiling is the one of the start, whatever the configuration says since", async () => {
  await ask(service, "PATCH /v1/domains/web", { body: { maxMemoryMiB: 64 } });
  const answer = await ask(service, "POST /v1/domains/web/memory-target", { body: { memoryMiB: 48 } });
  expect([answer.status, problem(answer), answer.json.limit]).toEqual([422, "out-of-range", 32]);
});

test.each([
  [1, ["online", "offline", "offline"]],
  [2, ["online", "online", "offline"]],
  [3, ["online", "online", "online"]],
])("%i vCPUs online are the first ones", async (online, nodes) => {
  expect((await ask(service, "POST /v1/domains/web/vcpus", { body: { online } })).status).toBe(200);
  expect([0, 1, 2].map((id) => node(`cpu/${id}/availability`))).toEqual(nodes);
});

test("vCPUs change all at once: a watch sees no half of it", async () => {
  const seen: (string | undefined)[] = [];
  const { local } = service.domctl.xenstore;
  const unwatch = local.watch("/local/domain/1/cpu/1/availability", () => seen.push(node("cpu/2/availability")));
  local.deliver();
  await ask(service, "POST /v1/domains/web/vcpus", { body: { online: 1 } });
  expect(seen).toEqual(["online", "offline"]);
  unwatch();
});

test("a sysrq key lies in the guest's own node, even where the guest has removed that", async () => {
  service.domctl.xenstore.local.remove("/local/domain/1/control/sysrq");
  expect((await ask(service, "POST /v1/domains/web/sysrq", { body: { key: "h" } })).status).toBe(200);
  expect(node("control/sysrq")).toBe("h");
  expect(service.domctl.xenstore.local.permissions("/local/domain/1/control/sysrq")).toEqual(["n1"]);
});

test("a paused guest can be asked: it finds the request when it goes on", async () => {
  await ask(service, "POST /v1/domains/web/pause");
  expect((await ask(service, "POST /v1/domains/web/memory-target", { body: { memoryMiB: 16 } })).status).toBe(200);
  await ask(service, "POST /v1/domains/web/unpause");
});

test.each<[string, string, unknown, number, string, string?]>([
  ["more memory than a domain can have", "web/memory-target", { memoryMiB: 4000 }, 400, "bad-request", "memoryMiB"],
  ["more memory than its ceiling", "web/memory-target", { memoryMiB: 33 }, 422, "out-of-range", "memoryMiB"],
  ["no memory", "web/memory-target", { memoryMiB: 0 }, 400, "bad-request", "memoryMiB"],
  ["half a MiB", "web/memory-target", { memoryMiB: 1.5 }, 400, "bad-request", "memoryMiB"],
  ["nothing", "web/memory-target", undefined, 400, "bad-request", "memoryMiB"],
  ["no vCPU", "web/vcpus", { online: 0 }, 400, "bad-request", "online"],
  ["more vCPUs than it has", "web/vcpus", { online: 4 }, 422, "out-of-range", "online"],
  ["two keys", "web/sysrq", { key: "cc" }, 400, "bad-request", "key"],
  ["no key", "web/sysrq", { key: "" }, 400, "bad-request", "key"],
  ["a key that is a line end", "web/sysrq", { key: "\n" }, 400, "bad-request", "key"],
  ["memory of a halted domain", "halted/memory-target", { memoryMiB: 8 }, 409, "wrong-state"],
  ["vCPUs of a halted domain", "halted/vcpus", { online: 1 }, 409, "wrong-state"],
  ["a key for a halted domain", "halted/sysrq", { key: "c" }, 409, "wrong-state"],
  ["a key for nobody", "nobody/sysrq", { key: "c" }, 404, "domain-not-found"],
])("%s is refused", async (_what, where, body, status, type, field) => {
  const answer = await ask(service, `POST /v1/domains/${where}`, { ...(body !== undefined && { body }) });
  expect([answer.status, problem(answer), answer.json.field]).toEqual([status, type, field]);
});
