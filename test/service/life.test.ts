/** Real guests through the whole service: what they print, what they read, how they end, and what is kept of it. */

import { request } from "undici";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { scratchFolder, until, WholeService } from "./whole-service.ts";

const scratch = scratchFolder();
let service: WholeService;
beforeAll(async () => {
  service = await WholeService.start(scratch.stateDir);
});
afterAll(async () => {
  await service?.end();
  scratch.remove();
});

/** A streamed answer; `text` grows as it comes. */
async function stream(path: string, headers: Record<string, string> = {}) {
  const { authorization, url } = service;
  const { body, statusCode } = await request(`${url}${path}`, { headers: { authorization, ...headers } });
  const seen = { status: statusCode, text: "", ended: false, stop: () => void body.destroy() };
  body.on("data", (chunk) => {
    seen.text += chunk;
  });
  body.on("error", () => undefined);
  body.on("close", () => {
    seen.ended = true;
  });
  return seen;
}

function attach(name: string, query = "", headers: Record<string, string> = {}) {
  const socket = new WebSocket(`ws://127.0.0.1:${service.port}/v1/domains/${name}/console/ws${query}`, { headers });
  const seen = { socket, text: "", open: false, refused: 0, closed: "" };
  socket.on("open", () => {
    seen.open = true;
  });
  socket.on("message", (data) => {
    seen.text += data;
  });
  socket.on("close", (code, reason) => {
    seen.closed = `${code} ${reason}`;
  });
  socket.on("unexpected-response", (_request, response) => {
    seen.refused = response.statusCode ?? 0;
    socket.terminate();
  });
  socket.on("error", () => undefined);
  return seen;
}

describe("the console", () => {
  test("is read whole, from an offset, and live, over a reboot and a new name, until the domain is deleted", async () => {
    await service.boot("live");
    const follower = await stream("/v1/domains/live/console?follow=true");
    await service.shown("live", /demo> $/);
    expect(await service.answerTo("live", "echo one two")).toContain("\none two");

    const whole = await service.ask("GET /v1/domains/live/console");
    const end = Number(whole.headers["console-end"]);
    expect(whole.headers["console-start"]).toBe("0");
    expect(end).toBe(whole.text.length);
    const part = await service.ask(`GET /v1/domains/live/console?offset=${end - 10}`);
    expect(part.text).toBe(whole.text.slice(-10));

    await service.ask("PATCH /v1/domains/live", { body: { name: "lively" } });
    const again = await service.ask("POST /v1/domains/lively/reboot");
    expect(again).toMatchObject({ status: 200, json: { state: "running" } });
    const text = await service.shown("lively", /control\/shutdown: reboot[\s\S]*, lively[\s\S]*demo> $/);
    expect(text.startsWith(whole.text)).toBe(true);
    await until("the follower to have it all", () => follower.text === text);

    expect((await service.ask("DELETE /v1/domains/lively?force=true")).status).toBe(204);
    await until("the follower's end", () => follower.ended);
    expect((await service.ask("GET /v1/domains/lively/console")).status).toBe(404);
  });

  test("goes both ways over a WebSocket, with the token as a header or with a ticket, once", async () => {
    await service.boot("talker");
    const first = attach("talker", "", { authorization: service.authorization });
    await until("the greeting", () => first.text.endsWith("demo> "));
    first.socket.send("echo from the socket\r");
    await until("the answer", () => first.text.endsWith("\nfrom the socket\r\ndemo> "));
    // A byte at a time, as keys come.
    for (const key of "uptime\r") first.socket.send(key);
    await until("the uptime", () => /up \d+\.\d+ s, [^>]*demo> $/.test(first.text));

    const { json } = await service.ask("POST /v1/tickets");
    const second = attach("talker", `?ticket=${json.ticket}`);
    await until("the second to see the same", () => second.text === first.text);
    const third = attach("talker", `?ticket=${json.ticket}`);
    await until("a used ticket to be refused", () => third.refused === 401);
    const foreign = attach("talker", "", { authorization: service.authorization, origin: "http://elsewhere.example" });
    await until("a foreign Origin to be refused", () => foreign.refused === 403);

    second.socket.send("halt\r");
    await until("both to see the end", () => [first, second].every(({ text }) => text.includes("Halting.")));
    await service.ask("DELETE /v1/domains/talker?force=true");
    await until("both to be told", () => first.closed !== "" && second.closed !== "");
  });
});

describe("who asks", () => {
  test.each([
    ["no token", {}, 401],
    ["another token", { authorization: "Bearer nonsense" }, 401],
    ["another Host", { host: "evil.example" }, 421],
  ])("with %s is refused", async (_what, headers: Record<string, string>, status) => {
    const answer = await request(`${service.url}/v1/domains`, { headers });
    expect(answer.statusCode).toBe(status);
    await answer.body.dump();
  });

  test.each(["/healthz", "/openapi.json", "/docs"])("for %s needs no token", async (path) => {
    const answer = await request(`${service.url}${path}`);
    expect(answer.statusCode).toBeLessThan(400);
    await answer.body.dump();
  });
});

describe("a guest that ends by itself", () => {
  const ended = async (name: string, state: string) => {
    let domain: Record<string, unknown> = {};
    await until(`${name} to be ${state}`, async () => {
      domain = (await service.ask(`GET /v1/domains/${name}`)).json;
      return domain.state === state && domain.task === null;
    });
    return domain;
  };

  test("halts: its events say so on the stream and in the list alike, and its configuration has not changed", async () => {
    const created = await service.boot("halter");
    await service.shown("halter", /demo> $/);
    const { json: host } = await service.ask("GET /v1/host");
    const events = await stream(`/v1/events?since=${host.eventToken}`, { accept: "text/event-stream" });
    const waiting = service.ask(`GET /v1/events?since=${host.eventToken}&wait=30`);
    await service.type("halter", "halt\r");
    expect(await ended("halter", "halted")).toMatchObject({ domid: null, lastStop: { reason: "poweroff" } });
    expect((await waiting).json.events.length).toBeGreaterThan(0);
    const { json: page } = await service.ask(`GET /v1/events?since=${host.eventToken}`);
    expect(page.events.map(({ reason }: { reason: string }) => reason)).toContain("powered-off");
    await until("the stream to have as many", () => events.text.includes(page.events.at(-1).token));
    const streamed = [...events.text.matchAll(/^data: ?(.*)$/gm)].map(([, json]) => JSON.parse(json));
    expect(streamed.slice(0, page.events.length)).toEqual(page.events);
    events.stop();
    const { headers } = await service.ask("GET /v1/domains/halter");
    const configuration = (etag: unknown) => String(etag).split(".")[0];
    expect(configuration(headers.etag)).toBe(configuration(created.headers.etag));
  });

  test("reboots: it runs again, with another domid", async () => {
    const { json } = await service.boot("rebooter");
    await service.shown("rebooter", /demo> $/);
    await service.type("rebooter", "reboot\r");
    await service.shown("rebooter", /Rebooting\.[\s\S]*demo> $/);
    const domain = await ended("rebooter", "running");
    expect(domain.domid).toBeGreaterThan(json.domid);
    expect(domain.lastStop).toMatchObject({ reason: "reboot", domid: json.domid });
  });

  test("crashes: the report has its registers and its stack", async () => {
    await service.boot("crasher");
    await service.shown("crasher", /demo> $/);
    await service.type("crasher", "crash fault\r");
    const domain = await ended("crasher", "halted");
    expect(domain).toMatchObject({
      lastStop: { reason: "crash" },
      lastCrash: {
        report: { reason: "no handler for page fault at 0x0, error code 16", vcpu: 0, registers: { rip: "0x0" } },
      },
    });
    expect((await service.ask("POST /v1/domains/crasher/start")).status).toBe(200);
  });

  test("crashes and is preserved for a look: its console and hypercalls are there until it is destroyed", async () => {
    await service.boot("corpse", { onCrash: "preserve" });
    await service.shown("corpse", /demo> $/);
    await service.type("corpse", "crash panic\r");
    const domain = await ended("corpse", "crashed");
    expect(domain).toMatchObject({ runtime: { state: "shutdown", shutdownReason: "crash" } });
    const { json } = await service.ask("GET /v1/domains/corpse/hypercalls");
    expect(json.counters.map(({ name }: { name: string }) => name)).toContain("sched_op");
    expect((await service.ask("POST /v1/domains/corpse/unpause")).status).toBe(409);
    expect((await service.ask("POST /v1/domains/corpse/destroy")).json.state).toBe("halted");
  });
});

test("hypercalls are counted always, traced when asked, and refused page-table updates say why", async () => {
  await service.boot("traced");
  await service.shown("traced", /demo> $/);
  await service.ask("PUT /v1/domains/traced/hypercalls/trace", { body: { enabled: true } });
  await service.answerTo("traced", "pt");
  const { json } = await service.ask("GET /v1/domains/traced/hypercalls");
  const names: string[] = json.trace.map(({ name }: { name: string }) => name);
  expect(names.some((name) => name.startsWith("mmu_update"))).toBe(true);
  expect(json.refusals.length).toBeGreaterThanOrEqual(15);
  for (const { text, rule } of json.refusals) expect([text, rule].every((words) => words.length > 0)).toBe(true);
  const failed = await service.ask("GET /v1/domains/traced/hypercalls?name=mmu_update&failed=true");
  expect(failed.json.trace.length).toBeGreaterThan(0);
  for (const { result, refusals, text } of failed.json.trace) {
    expect(Number(result)).toBeLessThan(0);
    expect(text).toContain(refusals[0]);
  }
});

test("paused before its first instruction it prints nothing; unpaused it runs", async () => {
  await service.boot("sleeper", { start: false });
  const started = await service.ask("POST /v1/domains/sleeper/start", { body: { paused: true } });
  expect(started.json).toMatchObject({ state: "paused", runtime: { vcpus: [{ instructions: 0 }] } });
  expect((await service.ask("GET /v1/domains/sleeper/console")).text).toBe("");
  await service.ask("POST /v1/domains/sleeper/unpause");
  await service.shown("sleeper", /demo> $/);
});

test("after kill -9 all that was written is there: definitions, console, events; and what ran says that it was lost", async () => {
  const { text: printed, headers } = await service.ask("GET /v1/domains/sleeper/console");
  const { json: before } = await service.ask("GET /v1/events");
  const { json: domains } = await service.ask("GET /v1/domains");
  const { port, stateDir } = service;
  await service.end("SIGKILL");
  service = await WholeService.start(stateDir, port);
  const after = await service.ask("GET /v1/domains/sleeper/console");
  expect([after.text, after.headers["console-end"]]).toEqual([printed, headers["console-end"]]);
  const { json: events } = await service.ask("GET /v1/events");
  expect(events.events.slice(0, before.events.length)).toEqual(before.events);
  const { json: found } = await service.ask("GET /v1/domains");
  for (const [index, { uuid, name, state }] of domains.items.entries())
    expect(found.items[index]).toMatchObject({
      uuid,
      name,
      state: "halted",
      ...(state !== "halted" && { lastStop: { reason: "host-restarted" } }),
    });
  await service.ask("POST /v1/domains/sleeper/start");
  const grown = await service.shown("sleeper", /demo> $/, printed.length);
  expect((await service.ask("GET /v1/domains/sleeper/console")).text).toBe(printed + grown);
});
