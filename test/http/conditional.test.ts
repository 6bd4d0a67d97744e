/** Conditional GET: what a client has is not sent again, and never passes for what it is not. */

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Answer, ask, definition, problem, type Service, startService } from "./service.ts";

let service: Service;
beforeEach(async () => {
  service = await startService();
  await ask(service, "POST /v1/projects", { body: { name: "red" } });
  await ask(service, "POST /v1/domains", { body: definition("web") });
});
afterEach(() => service.close());

const get = (path: string, known?: string, token?: string): Promise<Answer> =>
  ask(service, `GET ${path}`, { ...(known && { headers: { "if-none-match": known } }), ...(token && { token }) });

/** What makes each of them another. */
const ROUTES: readonly (readonly [path: string, change: () => Promise<Answer>])[] = [
  ["/v1/domains/web", () => ask(service, "PATCH /v1/domains/web", { body: { description: "new" } })],
  ["/v1/domains", () => ask(service, "PATCH /v1/domains/web", { body: { description: "new" } })],
  ["/v1/domains?state=running&fields=name", () => ask(service, "POST /v1/domains/web/start")],
  ["/v1/tasks", () => ask(service, "POST /v1/domains/web/start")],
  ["/v1/projects", () => ask(service, "POST /v1/projects", { body: { name: "blue" } })],
  ["/v1/tokens", () => ask(service, "POST /v1/tokens", { body: { name: "ci", role: "viewer" } })],
  ["/v1/images", () => ask(service, "POST /v1/images?kind=ramdisk", { body: "bytes" })],
];

describe.each(ROUTES)("%s", (path, change) => {
  test("is 304, with its tag and without a body, to who has it, and 200 with another tag when it has changed", async () => {
    const first = await get(path);
    expect([first.status, first.headers.etag]).toEqual([200, expect.stringMatching(/^"[^"]+"$/)]);
    const { etag } = first.headers;
    for (const known of [etag, `W/${etag}`, `"other", ${etag}`, "*"]) {
      const again = await get(path, known);
      expect([known, again.status, again.text, again.headers.etag]).toEqual([known, 304, "", etag]);
      expect(again.headers["content-type"]).toBeUndefined();
    }
    expect((await get(path, '"other"')).json).toEqual(first.json);
    expect((await change()).status).toBeLessThan(300);
    const changed = await get(path, etag);
    expect([changed.status, changed.headers.etag === etag]).toEqual([200, false]);
  });

  test("refuses what is no tag", async () => {
    const refused = await get(path, "web");
    expect([refused.status, problem(refused), refused.json.field]).toEqual([400, "bad-request", "if-none-match"]);
  });
});

test("what does not change keeps its tag: an image, a task that has ended, a project", async () => {
  const image = await ask(service, "POST /v1/images?kind=ramdisk", { body: "bytes" });
  await ask(service, "POST /v1/domains/web/start");
  const { json: tasks } = await get("/v1/tasks");
  for (const path of [`/v1/images/${image.json.id}`, `/v1/tasks/${tasks.items[0].id}`, "/v1/projects/red"]) {
    const { headers } = await get(path);
    await ask(service, "PATCH /v1/domains/web", { body: { description: path } });
    expect([path, (await get(path, headers.etag)).status]).toEqual([path, 304]);
  }
});

test("a live domain's tag follows what runs in it", async () => {
  await ask(service, "POST /v1/domains/web/start");
  const running = await get("/v1/domains/web");
  expect(running.headers.etag).toMatch(/^"1\.\d+\.[0-9a-f]{8}\.[\w-]{16}"$/);
  await ask(service, "POST /v1/domains/web/pause");
  const paused = await get("/v1/domains/web", running.headers.etag);
  expect([paused.status, paused.json.state]).toEqual([200, "paused"]);
});

test("a domain that took the name of one that is gone is not taken for it", async () => {
  const { headers } = await get("/v1/domains/web");
  await ask(service, "DELETE /v1/domains/web");
  await ask(service, "POST /v1/domains", { body: definition("web") });
  expect((await get("/v1/domains/web", headers.etag)).status).toBe(200);
});

test("a list that one token has is not another's", async () => {
  const made = await ask(service, "POST /v1/tokens", { body: { name: "red", role: "viewer", projects: ["red"] } });
  const all = await get("/v1/domains");
  const red = await get("/v1/domains", all.headers.etag, made.json.secret);
  expect([red.status, red.json.items]).toEqual([200, []]);
});
