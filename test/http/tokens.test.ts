/** Tokens and projects: what they let in, what they count, and when they end. */

import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Clock } from "../../src/toolstack/ports.ts";
import { type Ask, ask, definition, problem, type Service, startService } from "./service.ts";

const EPOCH = Date.parse("2026-11-25T12:00:00Z");

/** Stands still but where a test moves it; whoever sleeps is woken at the time. */
class SetClock implements Clock {
  #now = EPOCH;
  readonly #sleepers = new Set<{ until: number; wake: () => void }>();

  readonly now = (): number => this.#now;

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const sleeper = {
        until: this.#now + ms,
        wake: () => {
          this.#sleepers.delete(sleeper);
          resolve();
        },
      };
      this.#sleepers.add(sleeper);
      signal?.addEventListener("abort", sleeper.wake, { once: true });
    });
  }

  pass(ms: number): void {
    this.#now += ms;
    for (const { until: time, wake } of [...this.#sleepers]) if (time <= this.#now) wake();
  }
}

let service: Service;
let clock: SetClock;
beforeEach(async () => {
  clock = new SetClock();
  service = await startService({ clock });
});
afterEach(async () => {
  await service.close();
});

const post = (path: string, body: unknown, more: Ask = {}) => ask(service, `POST ${path}`, { body, ...more });

async function token(name: string, more: object = {}): Promise<{ id: string; secret: string }> {
  const answer = await post("/v1/tokens", { name, role: "operator", ...more });
  expect(answer.status, answer.text).toBe(201);
  return answer.json;
}

/** A token as the admins see it, when what its uses left to write is written. */
async function look(id: string): Promise<Record<string, unknown>> {
  await service.store.commit(() => undefined);
  return (await ask(service, `GET /v1/tokens/${id}`)).json;
}

async function status(line: string, secret: string): Promise<number> {
  return (await ask(service, line, { token: secret })).status;
}

describe("a token", () => {
  test("lets in until it is revoked, and its secret is shown once", async () => {
    const { id, secret } = await token("ci", { role: "viewer" });
    expect(secret).toMatch(/^domzero_[\w-]{43}$/);
    expect(await status("GET /v1/domains", secret)).toBe(200);
    expect(await look(id)).toEqual({
      id,
      name: "ci",
      role: "viewer",
      projects: "all",
      rateLimit: null,
      quotas: null,
      createdAt: "2026-11-25T12:00:00.000Z",
      createdBy: "root",
      expiresAt: null,
      lastUsedAt: "2026-11-25T12:00:00.000Z",
      usage: { domains: 0, vcpus: 0, memoryMiB: 0 },
    });
    expect((await ask(service, "GET /v1/tokens")).json.items.map((item: { id: string }) => item.id)).toEqual([id]);
    expect((await ask(service, `DELETE /v1/tokens/${id}`)).status).toBe(204);
    expect(await status("GET /v1/domains", secret)).toBe(401);
    expect((await ask(service, `GET /v1/tokens/${id}`)).status).toBe(404);
  });

  test("is there after a restart, and its secret is in no file", async () => {
    const { secret } = await token("ci");
    await service.kill();
    const files = readdirSync(service.stateDir, { recursive: true, encoding: "utf8" })
      .map((name) => join(service.stateDir, name))
      .filter((path) => path.includes("domzero.db") && existsSync(path));
    expect(files.length).toBeGreaterThan(0);
    const bytes = Buffer.concat(files.map((path) => readFileSync(path)));
    expect(bytes.includes(secret)).toBe(false);
    expect(bytes.includes(createHash("sha256").update(secret).digest("hex"))).toBe(true);
    service = await startService({ stateDir: service.stateDir, clock });
    expect(await status("GET /v1/domains", secret)).toBe(200);
  });

  test("ends when its time comes", async () => {
    const { secret } = await token("ci", { expiresAt: "2026-11-25T12:10:00+00:00" });
    clock.pass(599_999);
    expect(await status("GET /v1/domains", secret)).toBe(200);
    clock.pass(1);
    expect(await status("GET /v1/domains", secret)).toBe(401);
  });

  test("has its last use written down once a minute at most", async () => {
    const { id, secret } = await token("ci");
    const lastUse = async () => (await look(id)).lastUsedAt;
    expect(await lastUse()).toBeNull();
    await status("GET /v1/domains", secret);
    expect(await lastUse()).toBe("2026-11-25T12:00:00.000Z");
    clock.pass(59_999);
    await status("GET /v1/domains", secret);
    expect(await lastUse()).toBe("2026-11-25T12:00:00.000Z");
    clock.pass(1);
    await status("GET /v1/domains", secret);
    expect(await lastUse()).toBe("2026-11-25T12:01:00.000Z");
  });

  test.each([
    ["without a role", { name: "a" }, 400, "bad-request", "role"],
    ["of an unknown role", { name: "a", role: "root" }, 400, "bad-request", "role"],
    ["with a name of nothing", { name: "", role: "viewer" }, 400, "bad-request", "name"],
    ["for no project", { name: "a", role: "viewer", projects: [] }, 400, "bad-request", "projects"],
    [
      "for a project that is not there",
      { name: "a", role: "viewer", projects: ["x"] },
      422,
      "project-unknown",
      "projects",
    ],
    ["of an admin of one project", { name: "a", role: "admin", projects: ["default"] }, 422, "bad-value", "projects"],
    [
      "that has expired",
      { name: "a", role: "viewer", expiresAt: "2026-11-25T12:00:00Z" },
      422,
      "out-of-range",
      "expiresAt",
    ],
    ["that expires some day", { name: "a", role: "viewer", expiresAt: "soon" }, 400, "bad-request", "expiresAt"],
    [
      "with a rate of 0",
      { name: "a", role: "viewer", rateLimit: { perSecond: 0, burst: 1 } },
      400,
      "bad-request",
      "rateLimit/perSecond",
    ],
    [
      "with a burst of 0",
      { name: "a", role: "viewer", rateLimit: { perSecond: 1, burst: 0 } },
      400,
      "bad-request",
      "rateLimit/burst",
    ],
    ["with an unknown quota", { name: "a", role: "viewer", quotas: { disks: 1 } }, 400, "bad-request", "quotas/disks"],
    ["with a negative quota", { name: "a", role: "viewer", quotas: { vcpus: -1 } }, 400, "bad-request", "quotas/vcpus"],
  ])("%s is not made", async (_what, body, code, type, field) => {
    const answer = await post("/v1/tokens", body);
    expect([answer.status, problem(answer), answer.json.field]).toEqual([code, type, field]);
    expect((await ask(service, "GET /v1/tokens")).json.items).toEqual([]);
  });

  test("of a name that is taken is not made", async () => {
    await token("ci");
    const answer = await post("/v1/tokens", { name: "ci", role: "viewer" });
    expect([answer.status, problem(answer), answer.json.field]).toEqual([409, "name-taken", "name"]);
  });
});

describe("a token that is changed", () => {
  const change = (id: string, body: object) => ask(service, `PATCH /v1/tokens/${id}`, { body });

  test("is what it was but for what was said, under the same secret, after a restart too", async () => {
    await post("/v1/projects", { name: "red" });
    const { id, secret } = await token("ci", { role: "viewer", expiresAt: "2026-12-01T00:00:00Z" });
    const changed = await change(id, {
      name: "robot",
      role: "operator",
      projects: ["red", "default", "red"],
      rateLimit: { perSecond: 5, burst: 9 },
      quotas: { domains: 1 },
    });
    expect(changed.json).toMatchObject({
      id,
      name: "robot",
      role: "operator",
      projects: ["default", "red"],
      rateLimit: { perSecond: 5, burst: 9 },
      quotas: { domains: 1 },
      expiresAt: "2026-12-01T00:00:00.000Z",
      usage: { domains: 0 },
    });
    expect((await post("/v1/domains", definition("one"), { token: secret })).status).toBe(201);
    expect(problem(await post("/v1/domains", definition("two"), { token: secret }))).toBe("quota-exceeded");
    await service.kill();
    service = await startService({ clock, stateDir: service.stateDir });
    expect(await look(id)).toMatchObject({ name: "robot", role: "operator", quotas: { domains: 1 } });
    const answer = await ask(service, "GET /v1/domains", { token: secret });
    expect([answer.status, answer.headers["ratelimit-limit"]]).toEqual([200, "9"]);
  });

  test("loses its limits and its expiry by null, and comes back to life with another expiry", async () => {
    const { id, secret } = await token("ci", {
      expiresAt: "2026-11-25T12:01:00Z",
      rateLimit: { perSecond: 1, burst: 1 },
    });
    expect((await change(id, { expiresAt: null, rateLimit: null, quotas: null })).json).toMatchObject({
      expiresAt: null,
      rateLimit: null,
      quotas: null,
    });
    clock.pass(120_000);
    expect(await status("GET /v1/domains", secret)).toBe(200);
    expect((await change(id, { expiresAt: "2026-11-25T12:03:00Z" })).status).toBe(200);
    clock.pass(120_000);
    expect(await status("GET /v1/domains", secret)).toBe(401);
    await change(id, { expiresAt: "2026-11-25T13:00:00Z" });
    expect(await status("GET /v1/domains", secret)).toBe(200);
  });

  test("is told in an event and in the audit log, and says nothing where nothing changed", async () => {
    const { id } = await token("ci");
    const { json: host } = await ask(service, "GET /v1/host");
    await change(id, { name: "ci", role: "operator" });
    await change(id, { name: "robot" });
    const { json } = await ask(service, `GET /v1/events?since=${host.eventToken}`);
    expect(json.events).toMatchObject([
      { class: "token", operation: "mod", reason: "changed", id, object: { name: "robot" } },
    ]);
    const { json: audit } = await ask(service, "GET /v1/audit?operation=changeToken");
    expect(audit.items).toMatchObject([{ object: id }, { object: id }]);
  });

  test("keeps what its use leaves to be written apart from the change", async () => {
    const { id, secret } = await token("ci");
    // The use and the change are in one transaction, the use behind it.
    const [, changed] = await Promise.all([status("GET /v1/domains", secret), change(id, { name: "robot" })]);
    expect(changed.status).toBe(200);
    clock.pass(60_000);
    await Promise.all([change(id, { role: "viewer" }), status("GET /v1/domains", secret)]);
    expect(await look(id)).toMatchObject({ name: "robot", role: "viewer", lastUsedAt: "2026-11-25T12:01:00.000Z" });
  });

  test.each([
    ["an admin of some projects", { role: "admin" }, "bad-value", "projects"],
    ["a name that is taken", { name: "taken" }, "name-taken", "name"],
    ["a project that is not there", { projects: ["blue"] }, "project-unknown", "projects"],
    ["an expiry that has passed", { expiresAt: "2020-01-01T00:00:00Z" }, "out-of-range", "expiresAt"],
    ["a role that there is not", { role: "king" }, "bad-request", "role"],
    ["its secret", { secret: "domzero_x" }, "bad-request", "secret"],
    ["a name of null", { name: null }, "bad-request", "name"],
  ])("is not changed to %s", async (_what, body, code, field) => {
    await token("taken");
    const { id } = await token("ci", { projects: ["default"] });
    const before = await look(id);
    const refused = await change(id, body);
    expect([problem(refused), refused.json.field]).toEqual([code, field]);
    expect(await look(id)).toEqual(before);
  });
});

describe("a rate limit", () => {
  test("lets a burst through, then so many a second, and says when to come back", async () => {
    const { secret } = await token("ci", { rateLimit: { perSecond: 0.5, burst: 3 } });
    const other = await token("other");
    const left: string[] = [];
    for (let index = 0; index < 3; index++) {
      const answer = await ask(service, "GET /v1/domains", { token: secret });
      expect(answer.status).toBe(200);
      left.push(String(answer.headers["ratelimit-remaining"]));
    }
    expect(left).toEqual(["2", "1", "0"]);
    const refused = await ask(service, "GET /v1/domains", { token: secret });
    expect([refused.status, problem(refused), refused.json.limit]).toEqual([429, "rate-limited", 0.5]);
    expect(refused.headers).toMatchObject({ "retry-after": "2", "ratelimit-limit": "3", "ratelimit-reset": "6" });
    expect(await status("GET /v1/domains", other.secret)).toBe(200);
    clock.pass(1999);
    expect(await status("GET /v1/domains", secret)).toBe(429);
    clock.pass(1);
    expect(await status("GET /v1/domains", secret)).toBe(200);
    expect(await status("GET /v1/domains", secret)).toBe(429);
  });
});

describe("a quota", () => {
  const create = (secret: string, name: string, more: object = {}) =>
    post("/v1/domains", definition(name, more), { token: secret });

  test.each([
    ["domains", { domains: 1 }, {}, 1],
    ["vcpus", { vcpus: 3 }, { vcpus: 2 }, 3],
    ["memoryMiB", { memoryMiB: 40 }, { memoryMiB: 16, maxMemoryMiB: 24 }, 40],
  ] as const)("of %s is refused with its field and limit", async (field, quotas, second, limit) => {
    const { secret } = await token("ci", { quotas });
    expect((await create(secret, "a", { vcpus: 2 })).status).toBe(201);
    const refused = await create(secret, "b", { ...second, memoryMiB: 25, maxMemoryMiB: 25 });
    expect([refused.status, problem(refused)]).toEqual([409, "quota-exceeded"]);
    expect(refused.json).toMatchObject({ field, limit });
    expect((await ask(service, "GET /v1/domains")).json.items).toHaveLength(1);
  });

  test("is not passed by many at once", async () => {
    const { id, secret } = await token("ci", { quotas: { domains: 5, vcpus: 100 } });
    const names = Array.from({ length: 20 }, (_, index) => `d${index}`);
    const answers = await Promise.all(names.map((name) => create(secret, name, { start: name > "d5" })));
    expect(answers.filter((answer) => answer.status === 201)).toHaveLength(5);
    expect((await ask(service, `GET /v1/tokens/${id}`)).json.usage).toEqual({ domains: 5, vcpus: 5, memoryMiB: 80 });
  });

  test("counts to the token that made a domain, whoever changes it", async () => {
    const { secret } = await token("ci", { quotas: { memoryMiB: 32 } });
    await create(secret, "a");
    const grow = (memoryMiB: number) => ask(service, "PATCH /v1/domains/a", { body: { memoryMiB } });
    const refused = await grow(33);
    expect([refused.status, refused.json.field, refused.json.limit]).toEqual([409, "memoryMiB", 32]);
    expect((await grow(32)).status).toBe(200);
    await ask(service, "DELETE /v1/domains/a");
    expect((await create(secret, "b", { memoryMiB: 32 })).status).toBe(201);
  });

  test("that is passed already lets a domain shrink and be renamed", async () => {
    const { secret } = await token("ci", { quotas: { memoryMiB: 16 } });
    await create(secret, "a");
    await service.store.commit((writer) => {
      const [record] = writer.domains({ after: 0, limit: 1 }).items;
      writer.putDomain({ ...record, memoryMiB: 64, maxMemoryMiB: 64 });
    });
    for (const body of [{ name: "b" }, { memoryMiB: 32 }, { memoryMiB: 20 }])
      expect((await ask(service, `PATCH /v1/domains/${body.name ? "a" : "b"}`, { body, token: secret })).status).toBe(
        200,
      );
    expect((await ask(service, "PATCH /v1/domains/b", { body: { memoryMiB: 21 }, token: secret })).status).toBe(409);
  });
});

describe("a project", () => {
  beforeEach(async () => {
    for (const name of ["red", "blue"]) expect((await post("/v1/projects", { name })).status).toBe(201);
  });

  test("is where a limited token's domains and images go, and all that it sees", async () => {
    const red = await token("red", { projects: ["red"] });
    const both = await token("both", { projects: ["red", "blue"] });
    const made = await post("/v1/domains", definition("web"), { token: red.secret });
    expect([made.status, made.json.project, made.json.createdBy]).toEqual([201, "red", red.id]);
    await post("/v1/domains", definition("db", { project: "blue" }));
    const image = await post("/v1/images?kind=ramdisk", "bytes", { token: red.secret });
    expect(image.json.project).toBe("red");
    const names = async (path: string, secret: string) =>
      (await ask(service, `GET ${path}`, { token: secret })).json.items.map((item: { name: string }) => item.name);
    expect(await names("/v1/domains", red.secret)).toEqual(["web"]);
    expect(await names("/v1/domains", both.secret)).toEqual(["web", "db"]);
    expect(await names("/v1/projects", red.secret)).toEqual(["red"]);
    expect((await ask(service, "GET /v1/images", { token: both.secret })).json.items).toHaveLength(1);
    const unsaid = await post("/v1/domains", definition("x"), { token: both.secret });
    expect([unsaid.status, problem(unsaid), unsaid.json.field]).toEqual([422, "project-unknown", "project"]);
  });

  test("that a token does not see is as good as none", async () => {
    const { secret } = await token("red", { projects: ["red"] });
    await post("/v1/domains", definition("db", { project: "blue" }));
    const create = (project: string) => post("/v1/domains", definition("x", { project }), { token: secret });
    const [foreign, none] = [await create("blue"), await create("none")];
    expect([foreign.status, problem(foreign), foreign.json.field]).toEqual([422, "project-unknown", "project"]);
    expect(foreign.json.detail.replace("blue", "none")).toBe(none.json.detail);
    const lookAt = async (name: string) => (await ask(service, `GET /v1/domains/${name}`, { token: secret })).json;
    const [there, nowhere] = [await lookAt("db"), await lookAt("no")];
    expect({ ...there, requestId: "", detail: there.detail.replace("db", "no") }).toEqual({
      ...nowhere,
      requestId: "",
    });
    const taken = await post("/v1/domains", definition("db"), { token: secret });
    expect([taken.status, taken.json.detail]).toEqual([409, "Another domain is called db already."]);
  });

  test("keeps its images to itself", async () => {
    const { secret } = await token("red", { projects: ["red"] });
    const blue = (await post("/v1/images?kind=ramdisk&project=blue", "the same bytes")).json;
    const refused = await post("/v1/domains", definition("web", { ramdisk: blue.id }), { token: secret });
    expect([refused.status, problem(refused), refused.json.field]).toEqual([422, "image-unknown", "ramdisk"]);
    const red = await post("/v1/images?kind=ramdisk", "the same bytes", { token: secret });
    expect([red.status, red.json.id === blue.id, red.json.sha256]).toEqual([201, false, blue.sha256]);
    expect((await post("/v1/domains", definition("web", { ramdisk: red.json.id }), { token: secret })).status).toBe(
      201,
    );
    await ask(service, `DELETE /v1/images/${blue.id}`);
    expect(existsSync(join(service.stateDir, "images", blue.sha256))).toBe(true);
  });

  test("is deleted when it is empty, and its name is not given again", async () => {
    await post("/v1/domains", definition("web", { project: "red" }));
    await token("ci", { projects: ["blue"] });
    const remove = (name: string) => ask(service, `DELETE /v1/projects/${name}`);
    const full = await remove("red");
    expect([full.status, problem(full), full.json.detail]).toEqual([
      409,
      "project-in-use",
      "Project red has 1 domains; delete them first.",
    ]);
    expect((await remove("blue")).json.detail).toContain("1 tokens");
    expect((await remove("default")).status).toBe(409);
    await ask(service, "DELETE /v1/domains/web");
    expect((await remove("red")).status).toBe(204);
    expect((await remove("red")).status).toBe(404);
    expect(problem(await post("/v1/projects", { name: "red" }))).toBe("name-taken");
    expect(problem(await post("/v1/domains", definition("web", { project: "red" })))).toBe("project-unknown");
  });

  test("that goes while an image is on its way to it leaves no file behind", async () => {
    async function* body() {
      yield Buffer.from("the first half, ");
      expect((await ask(service, "DELETE /v1/projects/red")).status).toBe(204);
      yield Buffer.from("the second");
    }
    const uploaded = await service.toolstack.images.upload(body(), "red", "ramdisk");
    expect(uploaded).toMatchObject({ ok: false, code: "project-unknown", field: "project" });
    expect(readdirSync(join(service.stateDir, "images"))).toEqual([]);
  });

  test("is changed by admins alone, and who sees the old one sees the domain go", async () => {
    const red = await token("red", { projects: ["red"] });
    const blue = await token("blue", { projects: ["blue"] });
    await post("/v1/domains", definition("web"), { token: red.secret });
    const move = (secret?: string) =>
      ask(service, "PATCH /v1/domains/web", { body: { project: "blue" }, ...(secret && { token: secret }) });
    const refused = await move(red.secret);
    expect([refused.status, problem(refused), refused.json.field]).toEqual([403, "role-too-low", "project"]);
    expect((await move()).json.project).toBe("blue");
    expect(await status("GET /v1/domains/web", red.secret)).toBe(404);
    expect(await status("GET /v1/domains/web", blue.secret)).toBe(200);
    const told = async (secret: string) =>
      (await ask(service, "GET /v1/events?class=domain", { token: secret })).json.events.map(
        ({ operation, reason, project, object }: Record<string, { project: string }>) =>
          [operation, reason, project, object.project].join(),
      );
    expect(await told(red.secret)).toEqual(["add,created,red,red", "del,moved,red,red"]);
    expect(await told(blue.secret)).toEqual(["add,moved,blue,blue"]);
  });

  test("bounds events: those of tokens are the admins' alone", async () => {
    const { secret } = await token("red", { projects: ["red"] });
    const wide = await token("wide", { role: "viewer" });
    await post("/v1/domains", definition("web", { project: "blue" }));
    const classes = async (with_: string | undefined) =>
      new Set(
        (await ask(service, "GET /v1/events", with_ === undefined ? {} : { token: with_ })).json.events.map(
          (event: { class: string; project: string | null }) => `${event.class} ${event.project}`,
        ),
      );
    expect(await classes(secret)).toEqual(new Set(["project red"]));
    expect(await classes(wide.secret)).toEqual(new Set(["project red", "project blue", "domain blue"]));
    expect(await classes(undefined)).toContain("token null");
  });
});

describe("a ticket", () => {
  test("dies with its token", async () => {
    const { id, secret } = await token("ci");
    const { ticket } = (await post("/v1/tickets", undefined, { token: secret })).json;
    await ask(service, `DELETE /v1/tokens/${id}`);
    const headers = { upgrade: "websocket", connection: "Upgrade" };
    const answer = await ask(service, `GET /v1/domains/x/console/ws?ticket=${ticket}`, { token: null, headers });
    expect(answer.status).toBe(401);
  });
});
