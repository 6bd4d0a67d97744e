/** Idempotency-Key: what is sent again is not done again, whatever happened to the first answer. */

import { join } from "node:path";
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { KEY_KEPT_MS, MOST_KEYS } from "../../src/toolstack/retries.ts";
import { type Ask, ask, definition, problem, realClock, type Service, startService, TOKEN, until } from "./service.ts";

let service: Service;
let later = 0;
const clock = { ...realClock, now: () => Date.now() + later };
beforeEach(async () => {
  later = 0;
  service = await startService({ clock });
});
afterEach(() => service.close());

const keyed = (line: string, key: string, { body, headers }: Ask = {}) =>
  ask(service, line, { ...(body !== undefined && { body }), headers: { "idempotency-key": key, ...headers } });
const create = (key: string, body = definition("web")) => keyed("POST /v1/domains", key, { body });
const names = async () => (await ask(service, "GET /v1/domains")).json.items.map(({ name }: { name: string }) => name);
const count = (call: string) => service.domctl.calls.filter((made) => made.startsWith(call)).length;

async function restart(): Promise<void> {
  const { stateDir } = service;
  await service.kill();
  service = await startService({ stateDir, clock });
}

test("the same key and request get the first answer again: status, headers and body", async () => {
  const first = await create("k1");
  expect([first.status, first.headers["idempotency-replayed"]]).toEqual([201, undefined]);
  await ask(service, "PATCH /v1/domains/web", { body: { description: "changed since" } });
  const again = await create("k1");
  expect(again.headers["idempotency-replayed"]).toBe("true");
  expect([again.status, again.text]).toEqual([first.status, first.text]);
  for (const name of ["location", "etag", "content-type"]) expect(again.headers[name]).toBe(first.headers[name]);
  expect(await names()).toEqual(["web"]);
});

test("across a restart of the service", async () => {
  const first = await create("k1");
  await restart();
  const again = await create("k1");
  expect([again.status, again.text]).toEqual([201, first.text]);
});

test("an action is done once: of many retries at the same time the first acts, the rest are told that it does", async () => {
  await create("c");
  const answers = await Promise.all([1, 2, 3, 4].map(() => keyed("POST /v1/domains/web/start", "s")));
  expect(answers.map(({ status }) => status).sort()).toEqual([200, 409, 409, 409]);
  const told = answers.find(({ status }) => status === 409);
  expect([told && problem(told), told?.headers["retry-after"]]).toEqual(["key-in-flight", "1"]);
  expect((await keyed("POST /v1/domains/web/start", "s")).json.state).toBe("running");
  expect(count("create")).toBe(1);
});

test("an answer of 202 is given again, with the task's place", async () => {
  await create("c");
  const headers = { prefer: "respond-async" };
  const first = await keyed("POST /v1/domains/web/start", "s", { headers });
  const again = await keyed("POST /v1/domains/web/start", "s", { headers });
  expect([again.status, again.headers.location]).toEqual([202, first.headers.location]);
});

test("an operation that failed is not tried again under its key", async () => {
  service.domctl.refusals.set("create", { ok: false, code: "bad-kernel", detail: "It is all zeros." });
  await create("c");
  const first = await keyed("POST /v1/domains/web/start", "s");
  service.domctl.refusals.clear();
  const again = await keyed("POST /v1/domains/web/start", "s");
  expect([again.status, again.text, again.headers["content-type"]]).toEqual([
    422,
    first.text,
    first.headers["content-type"],
  ]);
  expect(count("create")).toBe(1);
});

describe("another request under the key is 422:", () => {
  const others: [string, () => Promise<{ status: number }>][] = [
    ["another body", () => create("k1", definition("shop"))],
    ["one more field", () => create("k1", definition("web", { cmdline: "" }))],
  ];
  test.each(others)("%s", async (_what, other) => {
    await create("k1");
    const answer = await other();
    expect([answer.status, problem(answer as never)]).toEqual([422, "key-reused"]);
    expect(await names()).toEqual(["web"]);
  });

  test("but not the same fields in another order", async () => {
    await create("k1");
    const reversed = Object.fromEntries(Object.entries(definition("web")).reverse());
    expect((await create("k1", reversed as never)).status).toBe(201);
  });
});

test("a key belongs to its route and to its caller", async () => {
  await create("k1");
  expect((await keyed("POST /v1/domains/web/start", "k1")).json.state).toBe("running");
  expect((await keyed("POST /v1/domains/web/destroy", "k1")).json.state).toBe("halted");
  const rows = service.store.retries;
  expect(rows.find({ caller: "root", route: "POST /v1/domains", key: "k1" })?.answer?.status).toBe(201);
  expect(rows.find({ caller: "socket", route: "POST /v1/domains", key: "k1" })).toBeUndefined();
  expect(rows.count()).toBe(3);
});

test("a refusal that changed nothing frees the key", async () => {
  expect(problem(await create("k1", definition("a", { kernel: "nothing" })))).toBe("image-unknown");
  expect((await create("k1", definition("a"))).status).toBe(201);
  expect((await keyed("POST /v1/domains/nobody/start", "k2")).status).toBe(404);
  expect(service.store.retries.count()).toBe(1);
});

test("a key is free again after a day, and its row is dropped", async () => {
  await create("k1");
  await ask(service, "DELETE /v1/domains/web");
  later = KEY_KEPT_MS + 1000;
  expect((await create("k1")).headers["idempotency-replayed"]).toBeUndefined();
  expect(await names()).toEqual(["web"]);
  later = 2 * KEY_KEPT_MS + 2000;
  await restart();
  await until(() => service.store.retries.count() === 0);
});

describe("a service that died before it answered", () => {
  test("and had not taken the request: it is carried out now", async () => {
    const row = { caller: "root", route: "POST /v1/domains", key: "k1", hash: "", bootEpoch: 0, startedAt: Date.now() };
    await service.store.commit(({ retries }) => retries.put({ ...row, accepted: null, answer: null }));
    expect((await create("k1")).status).toBe(201);
  });

  test("and had taken it: the task that it became answers", async () => {
    await create("c");
    service.domctl.gates.set("create", new Promise(() => undefined));
    void keyed("POST /v1/domains/web/start", "s");
    await until(() => count("create") === 1);
    await restart();
    const answer = await keyed("POST /v1/domains/web/start", "s");
    expect([answer.status, answer.headers["idempotency-replayed"]]).toEqual([202, "true"]);
    expect(answer.headers.location).toBe(`/v1/tasks/${answer.json.id}`);
    expect(answer.json).toMatchObject({ operation: "start", state: "failed", refusal: { code: "host-restarted" } });
    expect(count("create")).toBe(0);
  });

  test("and had made an object: its id is told", async () => {
    const first = await create("k1");
    const key = { caller: "root", route: "POST /v1/domains", key: "k1" };
    await service.store.commit(({ retries }) => retries.put({ ...retries.find(key)!, answer: null, bootEpoch: 0 }));
    const again = await create("k1");
    expect([again.status, problem(again)]).toEqual([409, "answer-not-kept"]);
    expect(again.json.detail).toContain(first.json.uuid);
    expect(await names()).toEqual(["web"]);
  });

  test("the row says that it was taken in the transaction that took it", async () => {
    const gate = Promise.withResolvers<void>();
    await create("c");
    service.domctl.gates.set("create", gate.promise);
    const start = keyed("POST /v1/domains/web/start", "s");
    await until(() => service.store.unfinishedTasks().length > 0);
    const key = { caller: "root", route: "POST /v1/domains/web/start", key: "s" };
    const [task] = service.store.unfinishedTasks();
    expect(service.store.retries.find(key)?.accepted).toEqual({ class: "task", id: task.id });
    gate.resolve();
    expect((await start).status).toBe(200);
  });
});

test("an answer that holds a secret is not stored, and not given twice", async () => {
  const first = await keyed("POST /v1/tickets", "t");
  const again = await keyed("POST /v1/tickets", "t");
  expect([first.status, again.status, problem(again)]).toEqual([201, 409, "answer-not-kept"]);
  const stored = service.store.retries.find({ caller: "root", route: "POST /v1/tickets", key: "t" });
  expect(stored?.answer?.status).toBe(201);
  expect(JSON.stringify(stored)).not.toContain(first.json.ticket);
});

test("a token's secret is not stored either", async () => {
  const make = () => keyed("POST /v1/tokens", "t", { body: { name: "ci", role: "viewer" } });
  const first = await make();
  const again = await make();
  expect([first.status, again.status, problem(again)]).toEqual([201, 409, "answer-not-kept"]);
  expect(again.json.detail).toContain(first.json.id);
  const stored = service.store.retries.find({ caller: "root", route: "POST /v1/tokens", key: "t" });
  expect(JSON.stringify(stored)).not.toContain(first.json.secret);
});

describe("refused:", () => {
  const refused: [string, string, string, string?][] = [
    ["an empty key", "POST /v1/domains", ""],
    ["a long key", "POST /v1/domains", "k".repeat(256)],
    ["a key with a space", "POST /v1/domains", "a b"],
    ["a key for an upload", "POST /v1/images?kind=kernel", "k"],
    ["a key for what is typed", "POST /v1/domains/here/console", "k"],
  ];
  test.each(refused)("%s", async (_what, line, key) => {
    await ask(service, "POST /v1/domains", { body: definition("here") });
    const answer = await keyed(line, key, { body: definition("web") });
    expect([answer.status, answer.json.field]).toEqual([400, "idempotency-key"]);
    expect(await names()).toEqual(["here"]);
  });

  test("more keys than are kept", async () => {
    const database = new Database(join(service.stateDir, "domzero.db"));
    database
      .prepare(
        `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${MOST_KEYS})
         INSERT INTO retries SELECT 'x', 'POST /', i, '', 1, ?, NULL, NULL FROM n`,
      )
      .run(Date.now());
    database.close();
    const answer = await create("k1");
    expect([answer.status, problem(answer), answer.json.limit]).toEqual([429, "too-many-keys", MOST_KEYS]);
    expect((await ask(service, "POST /v1/domains", { body: definition("web") })).status).toBe(201);
  });
});

test("without a token no key is looked at", async () => {
  await create("k1");
  const answer = await ask(service, "POST /v1/domains", {
    token: `${TOKEN}x`,
    headers: { "idempotency-key": "k1" },
    body: definition("web"),
  });
  expect(answer.status).toBe(401);
});
