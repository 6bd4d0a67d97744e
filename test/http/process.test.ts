/** The service as a process: what it prints, what it refuses to start on, how it ends, and what is left after `kill -9`. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { request } from "undici";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { until } from "./service.ts";

const MAIN = resolve(import.meta.dirname, "../../src/main.ts");

interface Run {
  readonly child: ChildProcess;
  readonly url: string;
  out: string;
  err: string;
  code: number | null;
}

let stateDir: string;
let runs: Run[];
beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), "domzero-process-"));
  runs = [];
});
afterEach(async () => {
  for (const { child } of runs) if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
  await until(() => runs.every(({ child }) => child.exitCode !== null || child.signalCode !== null));
  rmSync(stateDir, { recursive: true, force: true });
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  return port;
}

function run(port: number, env: Record<string, string> = {}): Run {
  const all = { ...process.env, DOMZERO_STATE_DIR: stateDir, DOMZERO_LISTEN: `127.0.0.1:${port}`, ...env };
  const child = spawn(process.execPath, [MAIN], { env: all, stdio: ["ignore", "pipe", "pipe"] });
  const made: Run = { child, url: `http://127.0.0.1:${port}`, out: "", err: "", code: null };
  child.stdout?.on("data", (text) => {
    made.out += text;
  });
  child.stderr?.on("data", (text) => {
    made.err += text;
  });
  child.on("exit", (code) => {
    made.code = code;
  });
  runs.push(made);
  return made;
}

async function start(port: number): Promise<Run> {
  const made = run(port, { DOMZERO_WORKERS: "1" });
  await until(() => {
    if (made.code !== null) throw new Error(made.err);
    return made.out.includes("Next,");
  }, 30_000);
  return made;
}

async function failed(made: Run): Promise<string> {
  await until(() => made.code !== null && made.err.endsWith("\n"), 30_000);
  expect([made.code, made.out]).toEqual([1, ""]);
  return made.err;
}

async function call({ url }: Run, line: string, body?: object) {
  const [method, path] = line.split(" ");
  const token = readFileSync(join(stateDir, "token"), "utf8").trim();
  const response = await request(`${url}${path}`, {
    method: method as "GET",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    ...(body && { body: JSON.stringify(body) }),
  });
  const text = await response.body.text();
  return { status: response.statusCode, text, json: text.startsWith("{") ? JSON.parse(text) : undefined };
}

const DEMO = { name: "first", kernel: "builtin:demo", memoryMiB: 16, vcpus: 1, start: true };

test("says where it listens, where its state is, and what to type next", async () => {
  const port = await freePort();
  const service = await start(port);
  expect(service.out).toContain(`http://127.0.0.1:${port}`);
  expect(service.out).toContain(stateDir);
  expect(service.out).toMatch(/\n {2}curl .*\/v1\/domains\n$/);
  expect(statSync(join(stateDir, "token")).mode & 0o777).toBe(0o600);
  expect(statSync(join(stateDir, "domzero.sock")).mode & 0o777).toBe(0o600);
});

describe("one clear line and exit 1:", () => {
  test("a second instance on the same state", async () => {
    const first = await start(await freePort());
    const line = await failed(run(await freePort()));
    expect(line).toBe(`domzero: the state folder ${stateDir} is in use by process ${first.child.pid}\n`);
    expect((await call(first, "GET /v1/host")).status).toBe(200);
  });

  test("a taken port, before anything is made or marked", async () => {
    const port = await freePort();
    const taken = createServer().listen(port, "127.0.0.1");
    await once(taken, "listening");
    expect(await failed(run(port))).toBe(`domzero: 127.0.0.1:${port} is taken by another process\n`);
    expect(existsSync(join(stateDir, "domzero.db"))).toBe(false);
    taken.close();
  });

  test.each([
    ["DOMZERO_LISTEN", "8006", "DOMZERO_LISTEN is 8006; it must be host:port"],
    ["DOMZERO_LISTEN", "127.0.0.1:99999", "DOMZERO_LISTEN is 127.0.0.1:99999; it must be host:port"],
    ["DOMZERO_WORKERS", "0", "DOMZERO_WORKERS is 0; it must be a number from 1 to 256"],
    ["LOG_LEVEL", "loud", "LOG_LEVEL is loud; it must be trace, debug, info, warn, error, fatal or silent"],
  ])("%s=%s", async (name, value, line) => {
    expect(await failed(run(1, { [name]: value }))).toBe(`domzero: ${line}\n`);
  });
});

test("a domain runs; after kill -9 its definition, console and events are there, and it can be started again", async () => {
  const port = await freePort();
  const first = await start(port);
  const created = await call(first, "POST /v1/domains", DEMO);
  expect(created).toMatchObject({ status: 201, json: { state: "running", domid: 1 } });
  await until(async () => (await call(first, "GET /v1/domains/first/console")).text.includes("demo>"), 30_000);
  const { text: printed } = await call(first, "GET /v1/domains/first/console");
  const { json: before } = await call(first, "GET /v1/events");
  first.child.kill("SIGKILL");
  await until(() => first.child.signalCode !== null);

  const second = await start(port);
  const { json: domain } = await call(second, "GET /v1/domains/first");
  expect(domain).toMatchObject({
    uuid: created.json.uuid,
    state: "halted",
    domid: null,
    lastStop: { reason: "host-restarted", domid: 1 },
  });
  expect((await call(second, "GET /v1/domains/first/console")).text).toBe(printed);
  const { json: after } = await call(second, `GET /v1/events?since=${before.token}`);
  expect(after.events.map((event: { reason: string }) => event.reason)).toEqual(["host-crashed"]);
  const again = await call(second, "POST /v1/domains/first/start");
  expect(again.json).toMatchObject({ state: "running", domid: 2, bootEpoch: 2 });
  const { json: tasks } = await call(second, "GET /v1/tasks");
  for (const task of tasks.items) expect(["succeeded", "failed"]).toContain(task.state);
});

describe("a signal", () => {
  test("ends it in order, and its repeat within 2 s counts as the same", async () => {
    const service = await start(await freePort());
    await call(service, "POST /v1/domains", DEMO);
    service.child.kill("SIGINT");
    service.child.kill("SIGTERM");
    await until(() => service.code !== null, 30_000);
    expect(service.code).toBe(0);
    expect(service.err.match(/"stopping"/g)).toHaveLength(1);
    expect(existsSync(join(stateDir, "domzero.sock"))).toBe(false);
    const again = await start(await freePort());
    expect((await call(again, "GET /v1/domains/first")).json.lastStop.reason).toBe("host-stopped");
  });

  test("ends those who listen", async () => {
    const service = await start(await freePort());
    await call(service, "POST /v1/domains", DEMO);
    const token = readFileSync(join(stateDir, "token"), "utf8").trim();
    const headers = { authorization: `Bearer ${token}`, accept: "text/event-stream" };
    const events = await request(`${service.url}/v1/events`, { headers });
    const console = await request(`${service.url}/v1/domains/first/console?follow=true`, { headers });
    const ended = Promise.allSettled([events.body.text(), console.body.text()]);
    await sleep(100);
    service.child.kill("SIGTERM");
    await ended;
    await until(() => service.code !== null, 30_000);
    expect(service.code).toBe(0);
  });
});
