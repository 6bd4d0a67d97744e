import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ask, definition, problem, type Service, startService, until } from "./service.ts";

let service: Service;
beforeEach(async () => {
  service = await startService();
});
afterEach(() => service.close());

describe("a domain's life", () => {
  test("is created halted, started, paused, unpaused, shut down and deleted", async () => {
    const created = await ask(service, "POST /v1/domains", { body: definition("web") });
    expect(created.status).toBe(201);
    expect(created.headers.location).toBe(`/v1/domains/${created.json.uuid}`);
    expect(created.headers.etag).toBe(`"1.1.${created.json.uuid.slice(0, 8)}"`);
    expect(created.json).toMatchObject({ name: "web", state: "halted", domid: null, runtime: null, task: null });
    const steps: [string, string][] = [
      ["start", "running"],
      ["pause", "paused"],
      ["unpause", "running"],
      ["reboot", "running"],
      ["shutdown", "halted"],
    ];
    for (const [operation, state] of steps) {
      const answer = await ask(service, `POST /v1/domains/web/${operation}`);
      expect([operation, answer.status, answer.json.state]).toEqual([operation, 200, state]);
    }
    const halted = await ask(service, "GET /v1/domains/web");
    expect(halted.json.lastStop).toMatchObject({ reason: "poweroff", domid: 2 });
    expect((await ask(service, "DELETE /v1/domains/web")).status).toBe(204);
    expect(problem(await ask(service, "GET /v1/domains/web"))).toBe("domain-not-found");
    expect(service.domctl.domains.size).toBe(0);
  });

  test("can begin with its creation", async () => {
    const created = await ask(service, "POST /v1/domains", { body: definition("web", { start: true }) });
    expect(created.status).toBe(201);
    expect(created.json).toMatchObject({ state: "running", domid: 1, runtime: { domid: 1, state: "running" } });
  });

  test("a creation whose start is refused leaves no definition behind", async () => {
    service.domctl.refusals.set("create", { ok: false, code: "bad-kernel", detail: "It is all zeros." });
    const refused = await ask(service, "POST /v1/domains", { body: definition("web", { start: true }) });
    expect(refused.status).toBe(422);
    expect(refused.json).toMatchObject({ detail: "It is all zeros.", field: "kernel" });
    expect((await ask(service, "GET /v1/domains")).json.items).toEqual([]);
    const { json: task } = await ask(service, `GET /v1/tasks/${refused.json.task}`);
    expect(task).toMatchObject({ operation: "create", state: "failed", refusal: { code: "bad-kernel" } });
  });

  test("a start whose guest cannot be let go leaves nothing running", async () => {
    await ask(service, "POST /v1/domains", { body: definition("web") });
    service.domctl.refusals.set("unpause", { ok: false, code: "internal", detail: "No." });
    expect((await ask(service, "POST /v1/domains/web/start")).status).toBe(500);
    expect((await ask(service, "GET /v1/domains/web")).json).toMatchObject({ state: "halted", domid: null });
    expect(service.domctl.domains.size).toBe(0);
  });

  test("a domain can be started paused", async () => {
    await ask(service, "POST /v1/domains", { body: definition("web") });
    const started = await ask(service, "POST /v1/domains/web/start", { body: { paused: true } });
    expect(started.json.state).toBe("paused");
    expect(service.domctl.calls).not.toContain("unpause 1");
  });

  test("is found by uuid, in any case, and by name", async () => {
    const { json } = await ask(service, "POST /v1/domains", { body: definition("web") });
    for (const reference of [json.uuid, json.uuid.toUpperCase(), "web"])
      expect((await ask(service, `GET /v1/domains/${reference}`)).json.uuid).toBe(json.uuid);
  });
});

describe("shares of the CPU", () => {
  test("are given with the definition and kept, and change at once for a guest that runs", async () => {
    const shares = { cpuWeight: 512, cpuCap: 40, cpuAffinity: [0] };
    const created = await ask(service, "POST /v1/domains", { body: definition("web", { ...shares, start: true }) });
    expect(created.json).toMatchObject({ ...shares, runtime: { weight: 512, cap: 40, worker: 0 } });
    expect(service.domctl.domains.get(1)?.spec.scheduling).toEqual({ weight: 512, cap: 40, affinity: [0] });
    const changed = await ask(service, "PATCH /v1/domains/web", { body: { cpuCap: 0, cpuAffinity: null } });
    expect(changed.json).toMatchObject({
      cpuWeight: 512,
      cpuCap: 0,
      cpuAffinity: null,
      runtime: { weight: 512, cap: 0 },
    });
    expect(service.domctl.calls).toContain("schedule 1 512 0");
    const plain = await ask(service, "POST /v1/domains", { body: definition("plain") });
    expect(plain.json).toMatchObject({ cpuWeight: 256, cpuCap: 0, cpuAffinity: null });
    await ask(service, "PATCH /v1/domains/plain", { body: { cpuWeight: 1 } });
    expect(service.domctl.calls.filter((call) => call.startsWith("schedule"))).toEqual(["schedule 1 512 0"]);
  });

  test("that change while the guest is built are those that it gets", async () => {
    await ask(service, "POST /v1/domains", { body: definition("web") });
    const { promise, resolve } = Promise.withResolvers<void>();
    service.domctl.gates.set("create", promise);
    const started = ask(service, "POST /v1/domains/web/start");
    await until(() => service.domctl.calls.includes("create web"));
    await ask(service, "PATCH /v1/domains/web", { body: { cpuWeight: 1000 } });
    resolve();
    expect((await started).json.runtime).toMatchObject({ weight: 1000 });
  });

  test.each([
    ["a weight of nothing", { cpuWeight: 0 }, 400, "cpuWeight"],
    ["a weight above Xen's", { cpuWeight: 65_536 }, 400, "cpuWeight"],
    ["more than one CPU", { cpuCap: 101 }, 400, "cpuCap"],
    ["no worker at all", { cpuAffinity: [] }, 400, "cpuAffinity"],
    ["a worker twice", { cpuAffinity: [0, 0] }, 422, "cpuAffinity"],
    ["a worker that is not there", { cpuAffinity: [0, 1] }, 422, "cpuAffinity"],
  ])("%s is refused", async (_what, change, status, field) => {
    await ask(service, "POST /v1/domains", { body: definition("web") });
    const refused = await ask(service, "PATCH /v1/domains/web", { body: change });
    expect([refused.status, refused.json.field]).toEqual([status, field]);
  });
});

describe("configuration", () => {
  test("changes, is renamed, and counts its versions", async () => {
    await ask(service, "POST /v1/domains", { body: definition("web") });
    const changed = await ask(service, "PATCH /v1/domains/web", { body: { name: "shop", memoryMiB: 32 } });
    expect(changed.json).toMatchObject({ name: "shop", memoryMiB: 32, maxMemoryMiB: 32, configVersion: 2 });
    expect(changed.headers.etag).toBe(`"2.1.${changed.json.uuid.slice(0, 8)}"`);
    const same = await ask(service, "PATCH /v1/domains/shop", { body: { memoryMiB: 32 } });
    expect(same.json.configVersion).toBe(2);
  });

  test("keeps its version while the domain runs and stops", async () => {
    await ask(service, "POST /v1/domains", { body: definition("web") });
    const before = await ask(service, "GET /v1/domains/web");
    await ask(service, "POST /v1/domains/web/start");
    const after = await ask(service, "GET /v1/domains/web");
    expect(after.json.configVersion).toBe(before.json.configVersion);
    const headers = { "if-match": before.headers.etag };
    expect((await ask(service, "PATCH /v1/domains/web", { headers, body: { description: "runs" } })).status).toBe(200);
    expect((await ask(service, "PATCH /v1/domains/web", { headers, body: { description: "or" } })).status).toBe(412);
    expect(after.json.runtimeVersion).toBeGreaterThan(before.json.runtimeVersion);
  });

  test.each([
    ["the version that is there", '"1"', 200],
    ["one of several", '"7", "1"', 200],
    ["any version", "*", 200],
    ["another version", '"7"', 412],
    ["a weak tag, which never matches", 'W/"1"', 412],
    ["the tag of another domain, which had the name before", '"1.1.00000000"', 412],
    ["what is no tag", "1", 400],
  ])("If-Match with %s", async (_what, tag, status) => {
    await ask(service, "POST /v1/domains", { body: definition("web") });
    const headers = { "if-match": tag };
    const answer = await ask(service, "PATCH /v1/domains/web", { headers, body: { memoryMiB: 20 } });
    expect(answer.status).toBe(status);
    expect((await ask(service, "GET /v1/domains/web")).json.memoryMiB).toBe(status === 200 ? 20 : 16);
  });

  test("If-Match holds for deletion too", async () => {
    await ask(service, "POST /v1/domains", { body: definition("web") });
    expect((await ask(service, "DELETE /v1/domains/web", { headers: { "if-match": '"7"' } })).status).toBe(412);
    expect((await ask(service, "DELETE /v1/domains/web", { headers: { "if-match": '"1"' } })).status).toBe(204);
  });
});

describe("operations that the state does not allow", () => {
  test.each([
    ["halted", "pause"],
    ["halted", "unpause"],
    ["halted", "shutdown"],
    ["halted", "reboot"],
    ["halted", "destroy"],
    ["running", "start"],
    ["running", "unpause"],
    ["paused", "start"],
    ["paused", "pause"],
    ["paused", "shutdown"],
    ["paused", "reboot"],
  ])("a %s domain refuses %s", async (state, operation) => {
    await ask(service, "POST /v1/domains", { body: definition("web") });
    if (state !== "halted") await ask(service, "POST /v1/domains/web/start", { body: { paused: state === "paused" } });
    const answer = await ask(service, `POST /v1/domains/web/${operation}`);
    expect([answer.status, problem(answer)]).toEqual([409, "wrong-state"]);
    expect((await ask(service, "GET /v1/domains/web")).json.state).toBe(state);
  });

  test("a running domain is deleted only by force", async () => {
    await ask(service, "POST /v1/domains", { body: definition("web", { start: true }) });
    expect((await ask(service, "DELETE /v1/domains/web")).status).toBe(409);
    expect((await ask(service, "DELETE /v1/domains/web?force=true")).status).toBe(204);
    expect(service.domctl.domains.size).toBe(0);
  });
});

describe("waiting", () => {
  test("Prefer: respond-async answers 202 at once, with a task that ends", async () => {
    await ask(service, "POST /v1/domains", { body: definition("web") });
    const headers = { prefer: "respond-async" };
    const answer = await ask(service, "POST /v1/domains/web/start", { headers });
    expect(answer.status).toBe(202);
    expect(answer.headers["preference-applied"]).toBe("respond-async");
    expect(answer.headers.location).toBe(`/v1/tasks/${answer.json.id}`);
    await until(async () => (await ask(service, `GET ${answer.headers.location}`)).json.state === "succeeded");
    expect((await ask(service, "GET /v1/domains/web")).json.state).toBe("running");
  });

  test("an operation that takes longer than asked for answers 202", async () => {
    service.domctl.obeys = undefined;
    await ask(service, "POST /v1/domains", { body: definition("web", { start: true }) });
    const headers = { prefer: "wait=0" };
    const answer = await ask(service, "POST /v1/domains/web/shutdown", { headers });
    expect(answer.status).toBe(202);
    expect(answer.json).toMatchObject({ operation: "shutdown", state: "running" });
    expect((await ask(service, "GET /v1/domains/web")).json.task.id).toBe(answer.json.id);
  });

  test("a guest that does not answer a clean shutdown runs on", async () => {
    service.domctl.obeys = undefined;
    await ask(service, "POST /v1/domains", { body: definition("web", { start: true }) });
    const answer = await ask(service, "POST /v1/domains/web/shutdown", { body: { timeout: 1 } });
    expect([answer.status, problem(answer)]).toEqual([504, "guest-silent"]);
    expect((await ask(service, "GET /v1/domains/web")).json.state).toBe("running");
    service.domctl.obeys = () => "poweroff";
    expect((await ask(service, "POST /v1/domains/web/shutdown")).json.state).toBe("halted");
  });
});

describe("races", () => {
  test("of two creations with one name, one wins and the other hears why", async () => {
    for (const start of [false, true]) {
      const body = definition(start ? "b" : "a", { start });
      const answers = await Promise.all([1, 2, 3].map(() => ask(service, "POST /v1/domains", { body })));
      expect(answers.map(({ status }) => status).sort()).toEqual([201, 409, 409]);
      expect(answers.filter(({ status }) => status === 409).map(problem)).toEqual(["name-taken", "name-taken"]);
    }
    expect(service.domctl.domains.size).toBe(1);
  });

  test("of two starts, one starts and the other finds it running", async () => {
    await ask(service, "POST /v1/domains", { body: definition("web") });
    const answers = await Promise.all([1, 2].map(() => ask(service, "POST /v1/domains/web/start")));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 409]);
    expect(service.domctl.calls.filter((call) => call.startsWith("create"))).toHaveLength(1);
  });

  test("destroy during a start ends the start", async () => {
    await ask(service, "POST /v1/domains", { body: definition("web") });
    const gate = Promise.withResolvers<void>();
    service.domctl.gates.set("create", gate.promise);
    const start = ask(service, "POST /v1/domains/web/start");
    await until(() => service.domctl.calls.length > 0);
    const destroy = ask(service, "POST /v1/domains/web/destroy");
    await until(() => service.store.unfinishedTasks().some(({ operation }) => operation === "destroy"));
    gate.resolve();
    expect(problem(await start)).toBe("cancelled");
    expect((await destroy).json).toMatchObject({ state: "halted", domid: null });
    expect(service.domctl.domains.size).toBe(0);
  });

  test("destroy during creation leaves it defined and halted", async () => {
    const gate = Promise.withResolvers<void>();
    service.domctl.gates.set("create", gate.promise);
    const create = ask(service, "POST /v1/domains", { body: definition("web", { start: true }) });
    await until(() => service.domctl.calls.length > 0);
    const destroy = ask(service, "POST /v1/domains/web/destroy");
    await until(() => service.store.unfinishedTasks().some(({ operation }) => operation === "destroy"));
    gate.resolve();
    expect(problem(await create)).toBe("cancelled");
    expect((await destroy).status).toBe(200);
    expect((await ask(service, "GET /v1/domains/web")).json.state).toBe("halted");
  });

  test("a clean shutdown that waits is the only operation, but for destroy", async () => {
    service.domctl.obeys = undefined;
    await ask(service, "POST /v1/domains", { body: definition("web", { start: true }) });
    const shutdown = ask(service, "POST /v1/domains/web/shutdown");
    await until(() => service.domctl.calls.includes("requestShutdown poweroff"));
    for (const operation of ["pause", "shutdown", "reboot"]) {
      const answer = await ask(service, `POST /v1/domains/web/${operation}`);
      expect([answer.status, problem(answer)]).toEqual([409, "operation-pending"]);
      expect(answer.json.task).toMatch(/^[0-9a-f-]{36}$/);
    }
    expect((await ask(service, "POST /v1/domains/web/destroy")).json.state).toBe("halted");
    expect(problem(await shutdown)).toBe("cancelled");
  });

  test("no more than 16 operations wait for a domain", async () => {
    await ask(service, "POST /v1/domains", { body: definition("web") });
    const gate = Promise.withResolvers<void>();
    service.domctl.gates.set("create", gate.promise);
    const answers = Promise.all(Array.from({ length: 20 }, () => ask(service, "POST /v1/domains/web/start")));
    await until(() => service.domctl.calls.length > 0);
    setTimeout(gate.resolve, 50);
    const statuses = (await answers).map(({ status }) => status);
    const count = (wanted: number) => statuses.filter((status) => status === wanted).length;
    expect([count(200), count(409), count(429)]).toEqual([1, 16, 3]);
  });
});

test("lists come in pages that stay put", async () => {
  for (const name of ["a", "b", "c"]) await ask(service, "POST /v1/domains", { body: definition(name) });
  const first = await ask(service, "GET /v1/domains?limit=2");
  expect(first.json.items.map((item: { name: string }) => item.name)).toEqual(["a", "b"]);
  await ask(service, "DELETE /v1/domains/a");
  const second = await ask(service, `GET /v1/domains?limit=2&after=${first.json.next}`);
  expect(second.json.items.map((item: { name: string }) => item.name)).toEqual(["c"]);
  expect(second.json.next).toBeNull();
});
