/** The audit log: who did what, with the result, and nothing that nobody should read. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { AuditEntry } from "../../src/toolstack/access/access-ports.ts";
import { Audit } from "../../src/toolstack/access/audit.ts";
import { type Ask, ask, definition, problem, realClock, type Service, startService } from "./service.ts";

let service: Service;
beforeEach(async () => {
  service = await startService();
});
afterEach(() => service.close());

/** The newest entries, as they are on the disk. */
function stored(limit: number) {
  const order = { by: "written", descending: true } as const;
  return service.store.lists.select("audit", { filter: {}, order, limit }).items;
}

type Seen = Omit<AuditEntry, "time"> & { readonly number: number; readonly time: string };

/** Newest first, when what there was to write is written. */
async function entries(query = ""): Promise<Seen[]> {
  for (let ticks = 0; ticks < 3; ticks++) await service.store.commit(() => undefined);
  const answer = await ask(service, `GET /v1/audit${query}`);
  expect(answer.status, answer.text).toBe(200);
  return answer.json.items;
}

const post = (path: string, body: unknown, more: Ask = {}) => ask(service, `POST ${path}`, { body, ...more });
const token = async (name: string, more: object = {}) =>
  (await post("/v1/tokens", { name, role: "operator", ...more })).json as { id: string; secret: string };

describe("an entry", () => {
  test("says who did what to which object, with the result", async () => {
    const { id, secret } = await token("ci");
    const { uuid } = (await post("/v1/domains", definition("web"), { token: secret })).json;
    const [entry] = await entries();
    expect(entry).toEqual({
      number: 2,
      time: expect.stringMatching(/^\d{4}-.*Z$/),
      token: id,
      name: "ci",
      address: "127.0.0.1",
      operation: "createDomain",
      object: uuid,
      project: "default",
      status: 201,
      problem: null,
      task: null,
    });
  });

  test("names the task that came of it, and the object by its id however it was called", async () => {
    const { uuid } = (await post("/v1/domains", definition("web"))).json;
    await post("/v1/domains/web/start", undefined, { headers: { prefer: "respond-async" } });
    const [entry] = await entries();
    const [task] = (await ask(service, "GET /v1/tasks")).json.items;
    expect(entry).toMatchObject({ operation: "startDomain", object: uuid, status: 202, task: task.id });
  });

  test.each([
    ["what the toolstack refuses", "POST /v1/domains/web/pause", {}, "pauseDomain", 409, "wrong-state"],
    ["what is not there", "POST /v1/domains/none/pause", {}, "pauseDomain", 404, "domain-not-found"],
    ["what breaks the schema", "POST /v1/domains", { body: { name: 1 } }, "createDomain", 400, "bad-request"],
    ["what a role does not allow", "GET /v1/tokens", { token: "ci" }, "listTokens", 403, "role-too-low"],
    ["a read without a token", "GET /v1/domains", { token: null }, "listDomains", 401, "unauthorized"],
    ["a read with a wrong token", "GET /v1/domains", { token: "wrong" }, "listDomains", 401, "unauthorized"],
    ["what is in another project", "GET /v1/domains/far", { token: "ci" }, "getDomain", 404, "domain-not-found"],
    ["no route, without a token", "GET /v1/secrets", { token: null }, null, 401, "unauthorized"],
  ])("is made of %s", async (_what, line, how, operation, status, code) => {
    await post("/v1/projects", { name: "red" });
    const { secret } = await token("ci", { projects: ["default"] });
    await post("/v1/domains", definition("web"));
    await post("/v1/domains", definition("far", { project: "red" }));
    const answer = await ask(service, line, { ...how, ...("token" in how && how.token === "ci" && { token: secret }) });
    expect([answer.status, problem(answer)]).toEqual([status, code]);
    const [entry] = await entries();
    expect(entry).toMatchObject({ operation, status, problem: code });
  });

  test.each(["GET /v1/domains", "GET /v1/domains/none", "GET /healthz", "GET /v1/events?since=bad"])(
    "is not made of %s",
    async (line) => {
      await ask(service, line);
      expect(await entries()).toEqual([]);
    },
  );

  test("is on the disk before the answer, without a result if there is no time for one", async () => {
    await post("/v1/domains", definition("web"));
    expect(stored(1)[0].operation).toBe("createDomain");
    const entry: AuditEntry = {
      time: Date.now(),
      token: "root",
      name: "root",
      address: null,
      operation: "createDomain",
      object: null,
      project: null,
      status: null,
      problem: null,
      task: null,
    };
    await service.toolstack.audit.begin(entry);
    await service.kill();
    service = await startService({ stateDir: service.stateDir });
    expect(await entries("?outcome=unknown")).toMatchObject([{ operation: "createDomain", status: null }]);
  });

  test("of a change costs no commit of its own to wait for", async () => {
    let commits = 0;
    service.store.onEvents(() => {
      commits++;
    });
    await post("/v1/domains", definition("web"));
    const rows = stored(10);
    expect([commits, rows.length]).toEqual([1, 1]);
  });
});

test("the log is listed newest first, page by page, by token, object, operation, outcome, problem and time", async () => {
  const { id, secret } = await token("ci");
  const { uuid } = (await post("/v1/domains", definition("web"))).json;
  await post("/v1/domains", definition("db"), { token: secret });
  await post("/v1/domains/web/start", {});
  await post("/v1/domains/web/start", {});
  const operations = async (query: string) => (await entries(query)).map((entry) => entry.operation);
  expect(await operations("")).toEqual(["startDomain", "startDomain", "createDomain", "createDomain", "createToken"]);
  expect(await operations(`?token=${id}`)).toEqual(["createDomain"]);
  expect(await operations(`?object=${uuid}`)).toEqual(["startDomain", "startDomain", "createDomain"]);
  expect(await operations("?operation=createToken")).toEqual(["createToken"]);
  expect(await operations("?outcome=refused")).toEqual(["startDomain"]);
  expect(await operations("?outcome=done&operation=startDomain")).toEqual(["startDomain"]);
  expect(await operations("?problem=wrong-state")).toEqual(["startDomain"]);
  expect(await operations("?project=default&limit=2")).toEqual(["startDomain", "startDomain"]);
  const all = await entries();
  expect((await entries(`?from=${all[2].time}`)).length).toBeGreaterThanOrEqual(3);
  expect((await entries(`?to=${all[4].time}`)).length).toBe(0);
  const pages: Seen[] = [];
  for (let after: string | null = ""; after !== null; ) {
    const page: { items: Seen[]; next: string | null } = (
      await ask(service, `GET /v1/audit?limit=2${after && `&after=${after}`}`)
    ).json;
    pages.push(...page.items);
    after = page.next;
  }
  expect(pages).toEqual(all);
});

test("entries are forgotten when they are old, and not before", async () => {
  const now = Date.now();
  const write = (time: number) =>
    service.store.commit((writer) =>
      writer.access.appendAudit({
        time,
        token: "root",
        name: "root",
        address: null,
        operation: `at ${time - now}`,
        object: null,
        project: null,
        status: 200,
        problem: null,
        task: null,
      }),
    );
  await Promise.all(Array.from({ length: 1200 }, () => write(now - 1001)));
  await write(now - 999);
  const clock = { ...realClock, now: () => now };
  await new Audit({ store: service.store, clock, log: service.app.log, keptMs: 1000 }).prune();
  expect((await entries()).map((entry) => entry.operation)).toEqual(["at -999"]);
});

test("a flood of requests without a token fills neither the log nor the disk", async () => {
  for (let index = 0; index < 230; index++) await ask(service, "GET /v1/domains", { token: "wrong" });
  const written = (await entries("?outcome=refused")).length;
  expect(written).toBeGreaterThanOrEqual(200);
  expect(written).toBeLessThan(230);
  await post("/v1/domains", definition("web"));
  expect((await entries())[0].operation).toBe("createDomain");
});

test("no secret and no byte of a console is in the database or in the log", async () => {
  const { id, secret } = await token("ci");
  const { ticket } = (await post("/v1/tickets", undefined, { token: secret })).json;
  await post("/v1/domains", definition("web", { start: true }), { token: secret });
  await post("/v1/domains/web/console", "typed-password\r", { token: secret });
  await ask(service, `GET /v1/domains/web/console/ws?ticket=${ticket}`, { token: null });
  await ask(service, `GET /v1/domains?token=${secret}`, { token: secret });
  await ask(service, `GET /v1/domains/${secret}`, { token: "another-secret" });
  await post("/v1/tokens", `{"name":"x","secret":"${secret}"`, { token: secret });
  await ask(service, `DELETE /v1/tokens/${id}`);
  await entries();
  await service.kill();
  const files = readdirSync(service.stateDir).filter((name) => name.startsWith("domzero.db"));
  const kept = Buffer.concat(files.map((name) => readFileSync(join(service.stateDir, name)))).toString("latin1");
  const said = service.logged.join("");
  for (const hidden of [secret, ticket, "another-secret", "the-token-of-the-tests", "typed-password"]) {
    expect(kept.includes(hidden), `${hidden} in the database`).toBe(false);
    expect(said.includes(hidden), `${hidden} in the log`).toBe(false);
  }
  expect(said.length).toBeGreaterThan(1000);
  service = await startService();
});
