/** Suspend and resume by the API: what is kept, what is taken back, and what a restart of the service finds. */
import { existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { DomctlRefusal } from "../../src/machine/domctl.ts";
import { ask, definition, problem, type Service, startService, until } from "./service.ts";

let service: Service;

beforeEach(async () => {
  service = await startService();
  await ask(service, "POST /v1/domains", { body: definition("web", { start: true }) });
});
afterEach(() => service.close());

const files = () => readdirSync(join(service.stateDir, "suspended"));
const web = async () => (await ask(service, "GET /v1/domains/web")).json;
const no = (code: DomctlRefusal["code"]): DomctlRefusal => ({ ok: false, code, detail: "It does not go." });

async function restart(): Promise<void> {
  const { stateDir } = service;
  await service.kill();
  service = await startService({ stateDir });
}

describe("suspend", () => {
  test("puts the domain in a file and gives its memory back; resume takes it from there", async () => {
    const suspended = await ask(service, "POST /v1/domains/web/suspend");
    expect(suspended.status).toBe(200);
    expect(suspended.json).toMatchObject({
      state: "suspended",
      domid: null,
      runtime: null,
      lastStop: { reason: "suspend" },
    });
    expect(service.domctl.domains.size).toBe(0);
    expect(files()).toEqual([`${suspended.json.uuid}.suspended`]);
    const resumed = await ask(service, "POST /v1/domains/web/resume");
    expect(resumed.json).toMatchObject({ state: "running", domid: 2 });
    expect(files()).toEqual([]);
    expect((await ask(service, "POST /v1/domains/web/suspend")).json.state).toBe("suspended");
  });

  test.each([
    ["cannot be saved", "cannot-save", 500],
    ["the disk has no room for", "storage-full", 507],
  ] as const)("that %s leaves the domain running, and it can be asked again", async (_what, code, status) => {
    service.domctl.refusals.set("suspend", no(code));
    const refused = await ask(service, "POST /v1/domains/web/suspend");
    expect([refused.status, problem(refused)]).toEqual([status, code]);
    expect(await web()).toMatchObject({ state: "running", domid: 1, task: null });
    expect(service.domctl.calls).toContain("resume 1");
    expect(files()).toEqual([]);
    service.domctl.refusals.clear();
    expect((await ask(service, "POST /v1/domains/web/suspend")).json.state).toBe("suspended");
  });

  test("of a guest that does not answer is taken back", async () => {
    service.domctl.obeys = undefined;
    const silent = await ask(service, "POST /v1/domains/web/suspend", { body: { timeout: 1 } });
    expect(problem(silent)).toBe("guest-silent");
    expect(service.domctl.calls).toContain("withdrawShutdown 1");
    expect((await web()).state).toBe("running");
  });

  test("that nobody asked for is answered in place", async () => {
    service.domctl.guestStops(1, "suspend");
    await until(() => service.domctl.calls.includes("resume 1"));
    expect((await web()).state).toBe("running");
    expect((await ask(service, "POST /v1/domains/web/shutdown")).json.state).toBe("halted");
  });

  test("can be ended by destroy while the guest takes its time", async () => {
    service.domctl.obeys = undefined;
    const waiting = ask(service, "POST /v1/domains/web/suspend");
    await until(() => service.domctl.calls.includes("requestShutdown suspend"));
    expect((await ask(service, "POST /v1/domains/web/destroy")).json.state).toBe("halted");
    expect(problem(await waiting)).toBe("cancelled");
    expect(files()).toEqual([]);
  });
});

describe("a suspended domain", () => {
  beforeEach(async () => {
    await ask(service, "POST /v1/domains/web/suspend");
  });

  test("is still suspended after the service has ended in any way, and resumes", async () => {
    await restart();
    expect((await web()).state).toBe("suspended");
    await restart();
    expect((await ask(service, "POST /v1/domains/web/resume", { body: { paused: true } })).json.state).toBe("paused");
    await restart();
    expect(await web()).toMatchObject({ state: "halted", lastStop: { reason: "host-restarted" } });
    expect(files()).toEqual([]);
  });

  test("keeps its file when it cannot be restored, or not be let go", async () => {
    for (const method of ["restore", "unpause"] as const) {
      service.domctl.refusals.set(method, { ok: false, code: "no-memory", detail: "Full." });
      expect(problem(await ask(service, "POST /v1/domains/web/resume"))).toBe("no-memory");
      expect(await web()).toMatchObject({ state: "suspended", domid: null });
      expect(files()).toHaveLength(1);
      service.domctl.refusals.clear();
    }
    expect(service.domctl.domains.size).toBe(0);
    expect((await ask(service, "POST /v1/domains/web/resume")).json.state).toBe("running");
  });

  test("is refused when its file is damaged or gone; destroy gives it up", async () => {
    const path = join(service.stateDir, "suspended", files()[0]!);
    writeFileSync(path, "x");
    expect(problem(await ask(service, "POST /v1/domains/web/resume"))).toBe("bad-image");
    rmSync(path);
    expect(problem(await ask(service, "POST /v1/domains/web/resume"))).toBe("bad-image");
    expect(problem(await ask(service, "POST /v1/domains/web/start"))).toBe("wrong-state");
    expect((await ask(service, "POST /v1/domains/web/destroy")).json.state).toBe("halted");
    expect((await ask(service, "POST /v1/domains/web/start")).json.state).toBe("running");
  });

  test("takes its file with it when it is destroyed or deleted", async () => {
    await ask(service, "POST /v1/domains", { body: definition("other", { start: true }) });
    await ask(service, "POST /v1/domains/other/suspend");
    expect(files()).toHaveLength(2);
    expect((await ask(service, "DELETE /v1/domains/web")).status).toBe(204);
    expect(files()).toHaveLength(1);
    expect((await ask(service, "POST /v1/domains/other/destroy")).json.state).toBe("halted");
    expect(files()).toEqual([]);
  });

  test("a file that no domain wants is removed at the next start", async () => {
    const stray = join(service.stateDir, "suspended", "00000000-0000-4000-8000-000000000000.suspended");
    writeFileSync(stray, "");
    writeFileSync(`${stray}.tmp`, "");
    await restart();
    expect(existsSync(stray)).toBe(false);
    expect(files()).toHaveLength(1);
  });
});
