/** Faults that are asked for: each strikes where it should, as often as it should, and is marked. */

import { once } from "node:events";
import { readdirSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { request } from "undici";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import type { Statements } from "../../src/store/statements.ts";
import { FAULT_KINDS } from "../../src/toolstack/faults.ts";
import { STEPS } from "../../src/toolstack/operations/operation-table.ts";
import { type Answer, ask, definition, problem, type Service, startService, TOKEN, until } from "./service.ts";

let service: Service;
beforeEach(async () => {
  service = await startService({ faults: true });
  await ask(service, "POST /v1/domains", { body: definition("a", { start: true }) });
  await ask(service, "POST /v1/domains", { body: definition("b") });
});
afterEach(() => service.close());

const header = (answer: Answer) => answer.headers["x-domzero-fault"];

async function inject(fault: object): Promise<string> {
  const answer = await ask(service, "POST /v1/faults", { body: fault });
  expect(answer.json).toMatchObject({ ...fault, id: expect.any(String) });
  expect(answer.status).toBe(201);
  return answer.json.id;
}

/** Reasons of the events of a fault, in order. */
async function told(id: string): Promise<string[]> {
  const { json } = await ask(service, `GET /v1/events?class=fault&id=${id}`);
  return json.events.map(({ operation, reason }: { operation: string; reason: string }) => `${operation} ${reason}`);
}

const logged = (id: string) => service.logged.filter((line) => line.includes(id) && line.includes("strikes"));

describe("requests", () => {
  test("the next calls of an operation fail with the problem that was chosen, and then no more", async () => {
    const id = await inject({ kind: "fail-request", operationId: "getDomain", problem: "no-memory", count: 2 });
    for (let i = 0; i < 2; i++) {
      const answer = await ask(service, "GET /v1/domains/a");
      expect([answer.status, problem(answer), answer.json.fault, header(answer)]).toEqual([507, "no-memory", id, id]);
    }
    const after = await ask(service, "GET /v1/domains/a");
    expect([after.status, header(after)]).toEqual([200, undefined]);
    expect(await told(id)).toEqual(["add armed", "mod struck", "del spent"]);
    expect(logged(id)).toHaveLength(2);
  });

  test("those of other operations and of other domains are spared", async () => {
    const { uuid } = (await ask(service, "GET /v1/domains/b")).json;
    await inject({ kind: "fail-request", operationId: "pauseDomain", domain: uuid });
    expect((await ask(service, "POST /v1/domains/a/pause")).status).toBe(200);
    expect((await ask(service, "GET /v1/domains/b")).status).toBe(200);
  });

  test("a domain is meant whatever it is called by", async () => {
    const { json } = await ask(service, "GET /v1/domains/a");
    const answer = await ask(service, "POST /v1/faults", { body: { kind: "fail-request", domain: "a" } });
    expect(answer.json.domain).toBe(json.uuid);
    expect(problem(await ask(service, `GET /v1/domains/${json.uuid}`))).toBe("internal");
    expect((await ask(service, "GET /v1/domains/a")).status).toBe(200);
  });

  test("a refusal that asks for patience says for how long", async () => {
    await inject({ kind: "fail-request", operationId: "getHost", problem: "history-unavailable" });
    expect((await ask(service, "GET /v1/host")).headers["retry-after"]).toBe("1");
  });

  test("one that is delayed is answered late, as it would be, with a mark", async () => {
    const id = await inject({ kind: "delay-request", operationId: "getHost", delayMs: 30 });
    const begin = performance.now();
    const answer = await ask(service, "GET /v1/host");
    expect([answer.status, header(answer)]).toEqual([200, id]);
    expect(performance.now() - begin).toBeGreaterThanOrEqual(28);
    expect(header(await ask(service, "GET /v1/host"))).toBeUndefined();
  });

  test("without limits every request but those to the faults fails", async () => {
    await inject({ kind: "fail-request", count: 100 });
    expect(problem(await ask(service, "GET /v1/host"))).toBe("internal");
    expect(problem(await ask(service, "GET /healthz"))).toBe("internal");
    expect((await ask(service, "GET /v1/faults")).json.items).toMatchObject([{ struck: 2, left: 98 }]);
    expect((await ask(service, "DELETE /v1/faults")).status).toBe(204);
    expect((await ask(service, "GET /v1/host")).status).toBe(200);
  });
});

describe("steps of tasks", () => {
  test("one that fails is undone with all before it, and the task says which fault it was", async () => {
    const id = await inject({ kind: "fail-step", step: "release", operation: "start", problem: "worker-lost" });
    const answer = await ask(service, "POST /v1/domains/b/start");
    expect([problem(answer), answer.json.fault, header(answer)]).toEqual(["worker-lost", id, id]);
    expect((await ask(service, "GET /v1/domains/b")).json.state).toBe("halted");
    expect(service.domctl.domains.size).toBe(1);
    expect((await ask(service, `GET /v1/tasks/${answer.json.task}`)).json.refusal).toMatchObject({ fault: id });
    expect((await ask(service, "POST /v1/domains/b/start")).status).toBe(200);
    expect(logged(id)).toEqual([expect.stringContaining('"step":"release"')]);
  });

  test("a step without effect fails before its record", async () => {
    const id = await inject({ kind: "fail-step", step: "define", problem: "name-taken" });
    const answer = await ask(service, "POST /v1/domains", { body: definition("c", { start: true }) });
    expect([answer.status, header(answer)]).toEqual([409, id]);
    expect(problem(await ask(service, "GET /v1/domains/c"))).toBe("domain-not-found");
  });

  test("one that is slow can be seen under way, and the task can be cancelled", async () => {
    const id = await inject({ kind: "slow-step", step: "build", delayMs: 600_000 });
    const { status, headers } = await ask(service, "POST /v1/domains/b/start", {
      headers: { prefer: "respond-async" },
    });
    expect(status).toBe(202);
    expect((await ask(service, `GET ${headers.location}`)).json).toMatchObject({ state: "running", step: "build" });
    expect((await ask(service, "POST /v1/domains/b/destroy")).status).toBe(200);
    expect((await ask(service, `GET ${headers.location}`)).json.state).toBe("cancelled");
    expect(await told(id)).toEqual(["add armed", "del spent"]);
  });

  test("those of other domains and operations are spared", async () => {
    await inject({ kind: "fail-step", step: "build", operation: "reboot" });
    expect((await ask(service, "POST /v1/domains/b/start")).status).toBe(200);
  });
});

describe("at once", () => {
  test("a domain crashes as by its guest, and its policy decides", async () => {
    await ask(service, "PATCH /v1/domains/a", { body: { onCrash: "preserve" } });
    const { uuid } = (await ask(service, "GET /v1/domains/a")).json;
    const id = await inject({ kind: "crash-domain", domain: uuid });
    await until(async () => (await ask(service, "GET /v1/domains/a")).json.state === "crashed");
    expect((await ask(service, "GET /v1/domains/a")).json.lastCrash.report.reason).toContain(id);
    expect(await told(id)).toEqual(["add struck", "del spent"]);
    expect((await ask(service, "GET /v1/faults")).json.items).toEqual([]);
  });

  test("a domain that does not run has no guest to crash", async () => {
    expect(problem(await ask(service, "POST /v1/faults", { body: { kind: "crash-domain", domain: "b" } }))).toBe(
      "wrong-state",
    );
  });

  test("a worker is lost with its domains", async () => {
    const id = await inject({ kind: "lose-worker", worker: 0 });
    await until(async () => (await ask(service, "GET /v1/domains/a")).json.state === "halted");
    expect((await ask(service, "GET /v1/domains/a")).json.lastStop.reason).toBe("worker-lost");
    expect(await told(id)).toEqual(["add struck", "del spent"]);
  });

  test("there is no worker to lose behind the last", async () => {
    const answer = await ask(service, "POST /v1/faults", { body: { kind: "lose-worker", worker: 1 } });
    expect([problem(answer), answer.json.field, answer.json.limit]).toEqual(["out-of-range", "worker", 0]);
  });

  test("open streams of events are cut, and what was missed is read from the last token on", async () => {
    await service.app.listen({ host: "127.0.0.1", port: 0 });
    const { port } = service.app.server.address() as AddressInfo;
    service.listen.port = port;
    const url = `http://127.0.0.1:${port}/v1/events`;
    const headers = { authorization: `Bearer ${TOKEN}`, accept: "text/event-stream" };
    const stream = await request(url, { headers });
    const socket = new WebSocket(`ws://127.0.0.1:${port}/v1/domains/a/console/ws`, { headers });
    await once(socket, "open");
    const socketClosed = once(socket, "close");
    let seen = "";
    const cut = (async () => {
      for await (const chunk of stream.body) seen += chunk;
    })();
    const rejected = expect(cut).rejects.toThrow();
    const id = await inject({ kind: "drop-streams" });
    await rejected;
    await socketClosed;
    const token = /id: (\S+)/.exec(seen)![1];
    const { json } = await ask(service, `GET /v1/events?since=${token}`);
    expect(json.events.map(({ id: of }: { id: string }) => of)).toContain(id);
    expect(service.logged.some((line) => line.includes('"streams":2'))).toBe(true);
  });
});

describe("a full disk", () => {
  test("refuses all that would be stored, changes nothing, lets everything be read, and is lifted", async () => {
    const id = await inject({ kind: "fill-disk" });
    const refused = await ask(service, "POST /v1/domains", { body: definition("c") });
    expect([refused.status, problem(refused), header(refused)]).toEqual([507, "storage-full", id]);
    expect(problem(await ask(service, "POST /v1/domains/b/start"))).toBe("storage-full");
    expect(problem(await ask(service, "PATCH /v1/domains/b", { body: { memoryMiB: 32 } }))).toBe("storage-full");
    expect((await ask(service, "GET /v1/domains")).json.items).toHaveLength(2);
    expect((await ask(service, "GET /readyz")).json).toMatchObject({ status: "failing" });
    expect((await ask(service, `GET /v1/faults/${id}`)).json).toMatchObject({ left: null });
    expect((await ask(service, `DELETE /v1/faults/${id}`)).status).toBe(204);
    expect((await ask(service, "POST /v1/domains", { body: definition("c") })).status).toBe(201);
    expect((await ask(service, "POST /v1/domains/b/start")).status).toBe(200);
    expect(await told(id)).toEqual(["add armed", "del lifted"]);
  });
});

describe("a disk that is full indeed", () => {
  /** The database's file may grow by no page, or by as many as it likes. */
  const grow = (may: boolean) => {
    const { statements } = service.store as unknown as { statements: Statements };
    const { page_count: pages } = statements.prepare("PRAGMA page_count").get() as { page_count: number };
    statements.prepare(`PRAGMA max_page_count = ${may ? 2 ** 30 : pages}`).get();
  };
  /** What was left in the file's last pages is used up. */
  async function fill(): Promise<void> {
    grow(false);
    let size = 1000;
    for (let index = 0; ; index++) {
      const body = { name: `p${index}`, description: "x".repeat(size) };
      const answer = await ask(service, "POST /v1/projects", { body });
      if (answer.status === 507 && size === 0) return;
      if (answer.status === 507) size = 0;
      else expect(answer.status).toBe(201);
    }
  }

  test("is 507 for all that would be stored, changes nothing, and all goes on when there is room", async () => {
    await fill();
    const before = (await ask(service, "GET /v1/domains")).json;
    const tries: [string, unknown?][] = [
      ["POST /v1/domains", definition("c", { description: "x".repeat(1000) })],
      ["PATCH /v1/domains/b", { description: "x".repeat(1000) }],
      ["POST /v1/domains/b/start"],
      ["POST /v1/domains/a/suspend"],
      ["POST /v1/domains/a/destroy"],
      ["DELETE /v1/domains/b"],
      ["POST /v1/images?kind=ramdisk", "bytes"],
    ];
    for (const [line, body] of tries) {
      const refused = await ask(service, line, body === undefined ? {} : { body });
      expect([line, refused.status, problem(refused)]).toEqual([line, 507, "storage-full"]);
    }
    expect((await ask(service, "GET /v1/domains")).json).toEqual(before);
    expect(readdirSync(join(service.stateDir, "images"))).toEqual([]);
    grow(true);
    for (const [line, body] of tries) {
      const answer = await ask(service, line, body === undefined ? {} : { body });
      expect([line, answer.status < 300 || problem(answer) === "wrong-state"]).toEqual([line, true]);
    }
  });

  test("keeps what happens meanwhile until it can be told: guests that stop, and operations that were under way", async () => {
    service.domctl.obeys = undefined;
    const stopping = ask(service, "POST /v1/domains/a/shutdown");
    await until(() => service.domctl.calls.includes("requestShutdown poweroff"));
    await ask(service, "POST /v1/domains/b/start");
    await fill();
    service.domctl.guestStops(1, "poweroff");
    service.domctl.guestStops(2, "reboot");
    await until(() => service.logged.some((line) => line.includes("recorded when there is room")));
    for (const name of ["a", "b"]) expect((await ask(service, `GET /v1/domains/${name}`)).json.state).toBe("running");
    grow(true);
    expect(problem(await stopping)).toBe("storage-full");
    await until(async () => (await ask(service, "GET /v1/domains/a")).json.state === "halted");
    expect((await ask(service, "GET /v1/domains/a")).json.lastStop).toMatchObject({ reason: "poweroff", domid: 1 });
    await until(async () => (await ask(service, "GET /v1/tasks?state=queued,running")).json.items.length === 0);
    await until(async () => (await ask(service, "GET /v1/domains/b")).json.state === "running");
    expect((await ask(service, "GET /v1/domains/b")).json).toMatchObject({ domid: 3, lastStop: { reason: "reboot" } });
  });
});

describe("what is asked for", () => {
  const refused: [string, object, string, string][] = [
    ["a kind that there is not", { kind: "flood" }, "bad-request", "kind"],
    ["a delay without a time", { kind: "delay-request" }, "bad-value", "delayMs"],
    ["a field of another kind", { kind: "fill-disk", count: 3 }, "bad-value", "count"],
    ["an operation that the API has not", { kind: "fail-request", operationId: "flyAway" }, "bad-value", "operationId"],
    ["a step that there is not", { kind: "fail-step", step: "leap" }, "bad-request", "step"],
    ["a slow step that is one transaction", { kind: "slow-step", step: "admit", delayMs: 5 }, "bad-value", "step"],
  ];
  test.each(refused)("%s is refused", async (_, body, code, field) => {
    const answer = await ask(service, "POST /v1/faults", { body });
    expect([problem(answer), answer.json.field]).toEqual([code, field]);
  });

  test("a domain that there is not is refused", async () => {
    expect(problem(await ask(service, "POST /v1/faults", { body: { kind: "crash-domain", domain: "x" } }))).toBe(
      "domain-not-found",
    );
  });

  test("a fault that is lifted or spent is no more", async () => {
    const id = await inject({ kind: "fail-request", operationId: "getHost" });
    expect((await ask(service, `DELETE /v1/faults/${id}`)).status).toBe(204);
    expect((await ask(service, "GET /v1/host")).status).toBe(200);
    expect(problem(await ask(service, `GET /v1/faults/${id}`))).toBe("fault-not-found");
    expect(problem(await ask(service, `DELETE /v1/faults/${id}`))).toBe("fault-not-found");
  });

  test.each(Object.keys(STEPS))("step %s can be made to fail", async (step) => {
    await inject({ kind: "fail-step", step });
  });
});

describe("a service that was not started with them", () => {
  test.each([
    "GET /v1/faults",
    "POST /v1/faults",
    "DELETE /v1/faults",
    "GET /v1/faults/6d1f4f2e-3c0c-4b7a-9f44-0a4f4d6f2f10",
    "DELETE /v1/faults/6d1f4f2e-3c0c-4b7a-9f44-0a4f4d6f2f10",
  ])("refuses %s", async (line) => {
    const without = await startService();
    const answer = await ask(without, line, line.startsWith("POST") ? { body: { kind: FAULT_KINDS[0] } } : {});
    expect([answer.status, problem(answer)]).toEqual([403, "faults-off"]);
    await without.close();
  });
});
