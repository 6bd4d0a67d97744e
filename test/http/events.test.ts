import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ask, definition, problem, type Service, startService } from "./service.ts";

interface Event {
  readonly token: string;
  readonly class: string;
  readonly operation: string;
  readonly reason: string;
  readonly id: string;
  readonly object: Record<string, unknown>;
}

let service: Service;
beforeEach(async () => {
  service = await startService({ eventsKept: 50 });
});
afterEach(() => service.close());

const create = (name: string) => ask(service, "POST /v1/domains", { body: definition(name) });
const list = async (query = ""): Promise<{ events: Event[]; token: string }> =>
  (await ask(service, `GET /v1/events${query}`)).json;

test("every change of every object is one event, with the object's new state, in order", async () => {
  await create("web");
  await ask(service, "PATCH /v1/domains/web", { body: { name: "shop" } });
  await ask(service, "POST /v1/domains/shop/start");
  await ask(service, "POST /v1/domains/shop/destroy");
  await ask(service, "DELETE /v1/domains/shop");
  const { events } = await list("?class=domain");
  expect(events.map(({ operation, reason, object }) => [operation, reason, object.name, object.state])).toEqual([
    ["add", "created", "web", "halted"],
    ["mod", "renamed", "shop", "halted"],
    ["mod", "built", "shop", "paused"],
    ["mod", "started", "shop", "running"],
    ["mod", "destroyed", "shop", "halted"],
    ["del", "deleted", "shop", "halted"],
  ]);
  const sequences = (await list()).events.map(({ token }) => Number(token.split(":")[1]));
  expect(sequences).toEqual(sequences.map((_, index) => index + 1));
});

test("a task's events end with how it ended", async () => {
  await create("web");
  await ask(service, "POST /v1/domains/web/start");
  const { events } = await list("?class=task");
  expect(events[0]).toMatchObject({
    operation: "add",
    reason: "running",
    object: { operation: "start", step: "build" },
  });
  expect(events.at(-1)).toMatchObject({ operation: "mod", reason: "succeeded" });
});

test("what was refused left no event", async () => {
  await create("web");
  const { token } = await list();
  await create("web");
  expect((await list(`?since=${token}`)).events).toEqual([]);
});

test("a reader goes on from any token without loss, and across restarts", async () => {
  for (const name of ["a", "b", "c"]) await create(name);
  const all = (await list()).events;
  const first = await list("?limit=1");
  expect(first.token).toBe(all[0].token);
  await service.kill();
  service = await startService({ stateDir: service.stateDir });
  const rest = await list(`?since=${first.token}`);
  expect([...first.events, ...rest.events]).toEqual(all);
  expect(rest.token).toBe(all.at(-1)?.token);
  expect((await list(`?since=${rest.token}`)).token).toBe(rest.token);
});

test("a filter keeps the place of what it leaves out", async () => {
  await create("a");
  const { token, events } = await list("?id=nobody");
  expect(events).toEqual([]);
  expect(token).toBe((await list("?since=now")).token);
});

describe("a long poll", () => {
  test("answers with the first event", async () => {
    const waiting = list("?since=now&wait=30");
    await create("web");
    expect((await waiting).events[0]).toMatchObject({ reason: "created" });
  });

  test("waits on through events that its filter leaves out, and ends in time", async () => {
    const started = Date.now();
    const waiting = list("?since=now&wait=1&class=image");
    await create("web");
    expect((await waiting).events).toEqual([]);
    expect(Date.now() - started).toBeGreaterThan(900);
  });
});

describe("a token that cannot be continued is 410 with the way out:", () => {
  const cases: [string, (token: string) => string][] = [
    ["of another log", (token) => token.replace(/^./, (digit) => (digit === "0" ? "1" : "0"))],
    ["of the future", (token) => token.replace(/:.*/, ":999999")],
    ["from before the oldest event kept", (token) => token.replace(/:.*/, ":1")],
  ];
  test.each(cases)("%s", async (_what, spoil) => {
    for (let index = 0; index < 520; index++) await create(`d${index}`);
    const { token } = await list("?since=now");
    const answer = await ask(service, `GET /v1/events?since=${spoil(token)}`);
    expect([answer.status, problem(answer)]).toEqual([410, "events-gone"]);
    expect(answer.json.token).toBe(token);
    expect(answer.json.detail).toContain("GET /v1/domains");
    expect((await ask(service, `GET /v1/events?since=${answer.json.token}`)).status).toBe(200);
  });

  test("what is no token at all is 422", async () => {
    expect((await ask(service, "GET /v1/events?since=yesterday")).status).toBe(422);
  });
});
