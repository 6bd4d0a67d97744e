/** What guests and workers do by themselves, and what a restart finds. */

import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { CrashReport } from "../../src/machine/domctl.ts";
import { ask, definition, problem, type Service, startService, until } from "./service.ts";

const CRASH: CrashReport = { reason: "page fault", vcpu: 0, registers: { rip: "0x10" }, stack: ["0x1"] };

let service: Service;
beforeEach(async () => {
  service = await startService();
});
afterEach(() => service.close());

async function create(name: string, more: object = {}) {
  return (await ask(service, "POST /v1/domains", { body: definition(name, { start: true, ...more }) })).json;
}

async function look(name: string) {
  return (await ask(service, `GET /v1/domains/${name}`)).json;
}

describe("a guest that ends by itself", () => {
  test("powers off: the domain is halted and everything given back", async () => {
    await create("web");
    service.domctl.guestStops(1, "poweroff");
    await until(async () => (await look("web")).state === "halted");
    expect(await look("web")).toMatchObject({
      domid: null,
      lastStop: { reason: "poweroff", domid: 1 },
      lastCrash: null,
    });
    expect(service.domctl.domains.size).toBe(0);
  });

  test("reboots: it is rebuilt and runs under another domid", async () => {
    await create("web");
    service.domctl.guestStops(1, "reboot");
    await until(async () => (await look("web")).domid === 2);
    await until(async () => (await look("web")).state === "running");
    expect((await look("web")).lastStop).toMatchObject({ reason: "reboot", domid: 1 });
  });

  test("crashes: destroyed unless told otherwise, and the report stays", async () => {
    await create("web");
    service.domctl.guestStops(1, "crash", CRASH);
    await until(async () => (await look("web")).state === "halted");
    expect(await look("web")).toMatchObject({
      lastStop: { reason: "crash", detail: "page fault" },
      lastCrash: { domid: 1, report: CRASH },
    });
  });

  test("crashes: what it printed last stays with the crash, whatever it prints after its next start", async () => {
    await create("web");
    service.domctl.print(1, `${"early\n".repeat(2000)}BUG: page fault\n`);
    service.domctl.guestStops(1, "crash", CRASH);
    await until(async () => (await look("web")).state === "halted");
    await ask(service, "POST /v1/domains/web/start");
    service.domctl.print(2, "later\n".repeat(2000));
    const { consoleTail } = (await look("web")).lastCrash;
    expect(consoleTail).toMatch(/^(early\n)+BUG: page fault\n$/);
    expect(consoleTail.length).toBeGreaterThan(4000);
    expect(consoleTail.length).toBeLessThanOrEqual(4096);
  });

  test("crashes with onCrash preserve: it stays for a look until it is destroyed", async () => {
    await create("web", { onCrash: "preserve" });
    service.domctl.guestStops(1, "crash", CRASH);
    await until(async () => (await look("web")).state === "crashed");
    expect(await look("web")).toMatchObject({ domid: 1, runtime: { state: "shutdown" }, lastCrash: { report: CRASH } });
    expect(problem(await ask(service, "POST /v1/domains/web/start"))).toBe("wrong-state");
    expect((await ask(service, "POST /v1/domains/web/destroy")).json).toMatchObject({ state: "halted" });
    expect((await look("web")).lastCrash.report).toEqual(CRASH);
  });

  test("crashes with onCrash restart: it runs again, three times in ten minutes", async () => {
    await service.close();
    let now = 1e12;
    // Short sleeps pass at once; the hourly ones never end.
    const sleep = (ms: number) => {
      if (ms > 60_000) return new Promise<void>(() => undefined);
      now += ms;
      return Promise.resolve();
    };
    const clock = { now: () => now, sleep };
    service = await startService({ clock });
    await create("web", { onCrash: "restart" });
    for (const domid of [1, 2, 3]) {
      service.domctl.guestStops(domid, "crash", CRASH);
      await until(async () => (await look("web")).domid === domid + 1 && (await look("web")).state === "running");
    }
    service.domctl.guestStops(4, "crash", CRASH);
    await until(async () => (await look("web")).state === "halted");
    expect(service.domctl.domains.size).toBe(0);
  });

  test("does otherwise than asked: the task says so, and the guest's will is done", async () => {
    await create("web");
    service.domctl.obeys = () => "reboot";
    const answer = await ask(service, "POST /v1/domains/web/shutdown");
    expect([answer.status, problem(answer)]).toEqual([409, "guest-did-otherwise"]);
    await until(async () => (await look("web")).domid === 2 && (await look("web")).state === "running");
  });

  test("an end that comes while the domain is destroyed changes nothing", async () => {
    await create("web");
    const gate = Promise.withResolvers<void>();
    service.domctl.gates.set("destroy", gate.promise);
    const destroy = ask(service, "POST /v1/domains/web/destroy");
    await until(() => service.domctl.calls.includes("destroy 1"));
    service.domctl.guestStops(1, "crash", CRASH);
    gate.resolve();
    expect((await destroy).json.state).toBe("halted");
    expect((await ask(service, "POST /v1/domains/web/start")).json.state).toBe("running");
  });
});

test("a lost worker takes its domains along, and nothing else", async () => {
  await create("a");
  await create("b", { onCrash: "preserve" });
  service.domctl.guestStops(2, "crash", CRASH);
  await until(async () => (await look("b")).state === "crashed");
  service.domctl.workerDies();
  for (const name of ["a", "b"]) {
    await until(async () => (await look(name)).state === "halted");
    expect((await look(name)).lastStop).toMatchObject({ reason: "worker-lost" });
  }
  expect((await ask(service, "POST /v1/domains/a/start")).json.state).toBe("running");
});

describe("a restart", () => {
  test("after a hard end finds definitions, halts what ran, and says so in the events", async () => {
    await create("ran");
    await ask(service, "POST /v1/domains", { body: definition("never") });
    const { token } = (await ask(service, "GET /v1/events")).json;
    await service.kill();
    service = await startService({ stateDir: service.stateDir, console: service.console });
    expect(await look("ran")).toMatchObject({
      state: "halted",
      domid: null,
      lastStop: { reason: "host-restarted", domid: 1 },
    });
    expect((await look("never")).lastStop).toBeNull();
    const { events } = (await ask(service, `GET /v1/events?since=${token}`)).json;
    expect(events.map((event: { reason: string }) => event.reason)).toEqual(["host-crashed"]);
    expect((await ask(service, "POST /v1/domains/ran/start")).json).toMatchObject({ domid: 2, bootEpoch: 2 });
    expect((await ask(service, "GET /v1/domains/ran/console")).text).toBe("ran boots\nran boots\n");
  });

  test("in the midst of a creation takes it back, and ends the task", async () => {
    service.domctl.gates.set("create", new Promise(() => undefined));
    const headers = { prefer: "respond-async" };
    const made = await ask(service, "POST /v1/domains", { headers, body: definition("half", { start: true }) });
    expect(made.status).toBe(202);
    expect((await look("half")).state).toBe("halted");
    await service.kill();
    service = await startService({ stateDir: service.stateDir });
    expect((await ask(service, "GET /v1/domains")).json.items).toEqual([]);
    const { json } = await ask(service, `GET ${made.headers.location}`);
    expect(json).toMatchObject({ state: "failed", refusal: { code: "host-restarted" } });
  });

  test("in the midst of a reboot, when the guest has rebooted, boots it", async () => {
    await create("web");
    service.domctl.gates.set("unpause", new Promise(() => undefined));
    service.domctl.guestStops(1, "reboot");
    await until(() => service.domctl.calls.includes("unpause 2"));
    const { stateDir } = service;
    await service.kill();
    service = await startService({ stateDir });
    expect(await look("web")).toMatchObject({
      state: "running",
      domid: 3,
      bootEpoch: 2,
      lastStop: { reason: "reboot" },
    });
    const { items } = (await ask(service, "GET /v1/tasks")).json;
    expect(items.at(-1)).toMatchObject({ operation: "guest-reboot", state: "succeeded" });
    expect(service.domctl.domains.size).toBe(1);
  });

  test("after an orderly end says that the host was stopped", async () => {
    await create("ran");
    await service.toolstack.stop();
    await service.kill();
    service = await startService({ stateDir: service.stateDir });
    expect((await look("ran")).lastStop).toMatchObject({ reason: "host-stopped" });
    const { events } = (await ask(service, "GET /v1/events")).json;
    expect(events.at(-1)).toMatchObject({ reason: "host-stopped", object: { name: "ran", state: "halted" } });
  });

  test("sweeps half-made uploads, and image files and logs that nobody knows", async () => {
    const image = await ask(service, "POST /v1/images?kind=ramdisk", { body: "bytes" });
    const folder = join(service.stateDir, "images");
    writeFileSync(join(folder, ".upload-x"), "half");
    writeFileSync(join(folder, "f".repeat(64)), "nobody's");
    service.console.append("0b7a6d8e-96a0-4b32-8d5e-0a3f8a5a1a11", Buffer.from("nobody's"));
    await service.kill();
    service = await startService({ stateDir: service.stateDir, console: service.console });
    expect(readdirSync(folder)).toEqual([image.json.sha256]);
    expect(service.console.list()).toEqual([]);
  });

  test("new work is refused while the service stops", async () => {
    await create("web");
    service.domctl.obeys = undefined;
    const shutdown = ask(service, "POST /v1/domains/web/shutdown");
    await until(() => service.domctl.calls.includes("requestShutdown poweroff"));
    await service.toolstack.stop();
    expect(problem(await shutdown)).toBe("cancelled");
    const answer = await ask(service, "POST /v1/domains/web/start");
    expect([answer.status, problem(answer), answer.headers["retry-after"]]).toEqual([503, "host-stopping", "1"]);
  });
});
