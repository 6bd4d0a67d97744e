/** What becomes of domains when the host dies under them, or stops in order: who comes back, how often, and who is named. */

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ask, definition, problem, type Service, type ServiceOptions, startService, until } from "./service.ts";

let service: Service;
beforeEach(async () => {
  service = await startService();
});
afterEach(() => service.close());

const create = (name: string, more: object = {}) =>
  ask(service, "POST /v1/domains", { body: definition(name, { start: true, ...more }) });
const look = async (name: string) => (await ask(service, `GET /v1/domains/${name}`)).json;
const files = () => readdirSync(join(service.stateDir, "suspended"));

async function crash(options: ServiceOptions = {}): Promise<void> {
  const { stateDir } = service;
  await service.kill();
  service = await startService({ stateDir, ...options });
}

/** Ends in order and starts again. */
async function restart(options: ServiceOptions = {}): Promise<void> {
  await service.toolstack.stop();
  await crash(options);
}

const back = (name: string, state = "running") => until(async () => (await look(name)).state === state);

async function reasonsOf(name: string): Promise<string[]> {
  const { events } = (await ask(service, "GET /v1/events?limit=1000")).json;
  return events
    .filter(
      (event: { class: string; object: { name: string } }) => event.class === "domain" && event.object.name === name,
    )
    .map((event: { reason: string }) => event.reason);
}

describe("after a crash of the host", () => {
  test("a domain is lost unless it is told otherwise, and restarted where it is", async () => {
    await create("plain");
    await create("phoenix", { onHostCrash: "restart" });
    await create("still", { onHostCrash: "restart" });
    await ask(service, "POST /v1/domains/still/pause");
    await crash();
    await back("phoenix");
    await back("still", "paused");
    expect(await look("plain")).toMatchObject({ state: "halted", lastStop: { reason: "host-restarted" } });
    expect(await look("phoenix")).toMatchObject({ bootEpoch: 2, lastStop: { reason: "host-restarted" } });
    expect((await reasonsOf("phoenix")).slice(-3)).toEqual(["host-crashed", "built", "started"]);
  });

  test("a restored domain goes on from its last suspend image, which stays while it runs", async () => {
    await create("web", { onHostCrash: "restore" });
    await ask(service, "POST /v1/domains/web/suspend");
    expect((await ask(service, "POST /v1/domains/web/resume")).json.state).toBe("running");
    expect(files()).toHaveLength(1);
    await crash();
    await back("web");
    expect(service.domctl.calls).toContain("restore web");
    expect((await reasonsOf("web")).slice(-3)).toEqual(["host-crashed", "loaded", "started"]);
    expect(files()).toHaveLength(1);
    expect((await ask(service, "POST /v1/domains/web/shutdown")).json.state).toBe("halted");
    expect(files()).toEqual([]);
  });

  test("one that was never suspended has nothing to be restored from, and says so", async () => {
    await create("web", { onHostCrash: "restore" });
    await crash();
    expect(await look("web")).toMatchObject({
      state: "halted",
      lastStop: { reason: "host-restarted", detail: "There is no suspend image to restore it from." },
    });
  });

  test("an image is kept until the domain runs from it, whatever fails", async () => {
    await create("web", { onHostCrash: "restore" });
    await ask(service, "POST /v1/domains/web/suspend");
    await ask(service, "POST /v1/domains/web/resume");
    await service.kill();
    const { stateDir } = service;
    let now = Date.now();
    const sleep = (ms: number) => {
      now += ms;
      return ms > 60_000 ? new Promise<void>(() => undefined) : Promise.resolve();
    };
    service = await startService({
      stateDir,
      clock: { now: () => now, sleep },
      prepare: (domctl) => domctl.refusals.set("restore", { ok: false, code: "no-memory", detail: "Full." }),
    });
    await until(async () => (await reasonsOf("web")).includes("return-given-up"));
    expect(await look("web")).toMatchObject({ state: "suspended", lastStop: { reason: "host-restarted" } });
    expect((await look("web")).lastStop.returnsTo).toBeUndefined();
    service.domctl.refusals.clear();
    expect((await ask(service, "POST /v1/domains/web/resume")).json.state).toBe("running");
  });

  test("it comes back three times in ten minutes, over all restarts, and again when they are over", async () => {
    let now = Date.now();
    const slept: number[] = [];
    const sleep = (ms: number) => {
      if (ms > 60_000) return new Promise<void>(() => undefined);
      slept.push(ms);
      now += ms;
      return Promise.resolve();
    };
    const clock = { now: () => now, sleep };
    await create("web", { onHostCrash: "restart" });
    for (const pause of [0, 2000, 10_000]) {
      await crash({ clock });
      await back("web");
      expect(slept.at(-1)).toBe(pause);
    }
    await crash({ clock });
    await until(async () => (await reasonsOf("web")).includes("return-given-up"));
    expect((await look("web")).state).toBe("halted");
    await ask(service, "POST /v1/domains/web/start");
    now += 600_000;
    await crash({ clock });
    await back("web");
  });

  test("whoever wants it no more says so while it is due", async () => {
    await create("web", { onHostCrash: "restart" });
    await service.kill();
    const { stateDir } = service;
    const gate = Promise.withResolvers<void>();
    service = await startService({ stateDir, prepare: (domctl) => domctl.gates.set("create", gate.promise) });
    await until(() => service.domctl.calls.includes("create web"));
    expect(
      (await ask(service, "DELETE /v1/domains/web?force=true", { headers: { prefer: "respond-async" } })).status,
    ).toBe(202);
    gate.resolve();
    await until(async () => (await ask(service, "GET /v1/domains")).json.items.length === 0);
    expect(service.domctl.domains.size).toBe(0);
  });
});

test("a lost worker is a host that crashed, for its domains", async () => {
  await create("phoenix", { onHostCrash: "restart" });
  await create("plain");
  service.domctl.workerDies();
  await until(async () => (await look("phoenix")).domid === 3);
  await back("phoenix");
  expect(await look("plain")).toMatchObject({ state: "halted", lastStop: { reason: "worker-lost" } });
});

describe("an orderly stop", () => {
  test("suspends everybody, the highest priority first, and the next start brings them back as they were", async () => {
    const stopTimeoutMs = 10_000;
    await crash({ stopTimeoutMs });
    await create("a");
    await create("b", { stopPriority: 5 });
    await create("c", { stopPriority: -5 });
    await ask(service, "POST /v1/domains/c/pause");
    await service.toolstack.stop();
    const saved = service.domctl.calls.filter((call) => /^suspend|^pause/.test(call));
    expect(saved.slice(-6)).toEqual(["pause 2", "pause 1", "pause 3", "suspend 2", "suspend 1", "suspend 3"]);
    expect(await look("a")).toMatchObject({
      state: "suspended",
      lastStop: { reason: "host-stopped", returnsTo: "running" },
    });
    await crash({ stopTimeoutMs });
    for (const [name, state] of Object.entries({ a: "running", b: "running", c: "paused" })) await back(name, state);
    expect(files()).toEqual([]);
    await restart({ stopTimeoutMs });
    await back("a");
  });

  test("names who cannot be suspended; they follow onHostCrash", async () => {
    await crash({ stopTimeoutMs: 200 });
    await create("mute");
    await create("phoenix", { onHostCrash: "restart" });
    await create("corpse", { onCrash: "preserve" });
    service.domctl.guestStops(3, "crash");
    await back("corpse", "crashed");
    service.domctl.obeys = undefined;
    await service.toolstack.stop();
    expect(await look("mute")).toMatchObject({
      state: "halted",
      lastStop: { reason: "host-stopped", detail: "Its guest cannot be suspended: it never offered it." },
    });
    expect((await look("corpse")).lastStop.detail).toBe("Its guest had crashed.");
    const named = service.logged.map((line) => JSON.parse(line)).filter(({ msg }) => msg === "ends with the service");
    expect(named.map(({ name }) => name).sort()).toEqual(["corpse", "mute", "phoenix"]);
    expect((await reasonsOf("mute")).at(-1)).toBe("host-stopped");
    await crash();
    await back("phoenix");
    expect((await look("mute")).state).toBe("halted");
    expect((await look("corpse")).state).toBe("halted");
  });

  test("refuses new work of every kind while it goes on, and answers who only looks", async () => {
    await create("web");
    await service.toolstack.stop();
    for (const line of [
      "POST /v1/domains",
      "POST /v1/images?kind=kernel",
      "PATCH /v1/domains/web",
      "DELETE /v1/domains/web",
    ]) {
      const answer = await ask(service, line, { body: {} });
      expect([line, answer.status, problem(answer), answer.headers["retry-after"]]).toEqual([
        line,
        503,
        "host-stopping",
        "1",
      ]);
    }
    expect((await ask(service, "GET /v1/domains/web")).status).toBe(200);
    expect((await ask(service, "GET /readyz")).status).toBe(503);
  });
});

test("guests that are asked to suspend and are silent keep the others from no file", async () => {
  await service.close();
  service = await startService({ stopTimeoutMs: 2000 });
  const names = ["a", "b", "c", "d", "e"];
  for (const [index, name] of names.entries())
    await ask(service, "POST /v1/domains", { body: definition(name, { start: true, stopPriority: -index }) });
  service.domctl.obeys = undefined;
  const stopped = service.toolstack.stop();
  // As many as are asked at a time.
  const asked = () => service.domctl.calls.filter((call) => call === "requestShutdown suspend").length;
  await until(() => asked() === 4);
  service.domctl.obeys = () => "suspend";
  await stopped;
  expect((await ask(service, "GET /v1/domains/e")).json).toMatchObject({ state: "suspended" });
  expect((await ask(service, "GET /v1/domains/a")).json).toMatchObject({ lastStop: { reason: "host-stopped" } });
});
