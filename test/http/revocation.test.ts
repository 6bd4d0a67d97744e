/** What a token holds open ends with it, over real sockets. */

import { readdirSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { listenTcp } from "../../src/http/server.ts";
import { ask, definition, type Service, startService, until } from "./service.ts";

let service: Service;
let port: number;
let id: string;
let secret: string;
beforeEach(async () => {
  service = await startService();
  port = await listenTcp(service.app, "127.0.0.1", 0);
  service.listen.port = port;
  await ask(service, "POST /v1/projects", { body: { name: "red" } });
  await ask(service, "POST /v1/projects", { body: { name: "blue" } });
  await ask(service, "POST /v1/domains", { body: definition("web", { project: "red", start: true }) });
  const body = { name: "ci", role: "operator", projects: ["red"] };
  ({ id, secret } = (await ask(service, "POST /v1/tokens", { body })).json);
});
afterEach(() => service.close());

interface Open {
  text: string;
  status: number;
  ended: boolean;
  code: number;
}

function get(path: string, headers: object = {}): Promise<Open> {
  const seen: Open = { text: "", status: 0, ended: false, code: 0 };
  const options = { host: "127.0.0.1", port, path, headers: { authorization: `Bearer ${secret}`, ...headers } };
  return new Promise((resolve, reject) => {
    const asked = request(options, (response: IncomingMessage) => {
      seen.status = response.statusCode ?? 0;
      response.on("data", (chunk) => {
        seen.text += chunk;
      });
      response.on("error", () => undefined);
      response.on("close", () => {
        seen.ended = true;
      });
      resolve(seen);
    });
    asked.on("error", reject);
    asked.end();
  });
}

async function attach(): Promise<Open> {
  const headers = { authorization: `Bearer ${secret}` };
  const socket = new WebSocket(`ws://127.0.0.1:${port}/v1/domains/web/console/ws`, { headers });
  const seen: Open = { text: "", status: 0, ended: false, code: 0 };
  socket.on("message", (data) => {
    seen.text += data;
  });
  socket.on("close", (code) => {
    seen.code = code;
    seen.ended = true;
  });
  socket.on("error", () => undefined);
  await until(() => socket.readyState === WebSocket.OPEN && seen.text.length > 0);
  return seen;
}

const sse = { accept: "text/event-stream" };
const STREAMS: [string, () => Promise<Open>][] = [
  ["events", () => get("/v1/events", sse)],
  ["a followed console", () => get("/v1/domains/web/console?follow=true")],
  ["a watch on xenstore", () => get("/v1/domains/web/xenstore/watch")],
  ["a console's WebSocket", attach],
];

describe.each(STREAMS)("%s", (what, open) => {
  test("ends when the token is revoked", async () => {
    const seen = await open();
    expect(seen.ended).toBe(false);
    expect((await ask(service, `DELETE /v1/tokens/${id}`)).status).toBe(204);
    await until(() => seen.ended);
    if (/events|watch/.test(what)) expect(seen.text).toContain('event: end\ndata: {"detail":"The token was revoked."}');
    if (/WebSocket/.test(what)) expect(seen.code).toBe(4003);
  });

  test.each([
    ["role", { role: "viewer" }],
    ["projects", { projects: ["red", "blue"] }],
  ])("ends when the token has another %s", async (_what, body) => {
    const seen = await open();
    expect((await ask(service, `PATCH /v1/tokens/${id}`, { body })).status).toBe(200);
    await until(() => seen.ended);
  });

  test("goes on when the token has another name, and ends with it all the same", async () => {
    const seen = await open();
    await ask(service, `PATCH /v1/tokens/${id}`, { body: { name: "robot", quotas: { domains: 1 } } });
    service.domctl.print(1, "still here");
    if (/console/.test(what)) await until(() => seen.text.includes("still here"));
    expect(seen.ended).toBe(false);
    await ask(service, `DELETE /v1/tokens/${id}`);
    await until(() => seen.ended);
  });

  test("goes on when another token is revoked, and when its domain is renamed", async () => {
    const seen = await open();
    const other = (await ask(service, "POST /v1/tokens", { body: { name: "other", role: "viewer" } })).json;
    await ask(service, `DELETE /v1/tokens/${other.id}`);
    await ask(service, "PATCH /v1/domains/web", { body: { name: "shop" } });
    service.domctl.print(1, "still here");
    if (/console/.test(what)) await until(() => seen.text.includes("still here"));
    expect(seen.ended).toBe(false);
  });
});

test.each(STREAMS.slice(1))("%s ends when its domain moves out of sight", async (_what, open) => {
  const seen = await open();
  await ask(service, "PATCH /v1/domains/web", { body: { project: "blue" } });
  await until(() => seen.ended);
});

test("a stream ends when its token expires", async () => {
  const expiresAt = new Date(Date.now() + 300).toISOString();
  const body = { name: "short", role: "viewer", projects: ["red"], expiresAt };
  ({ secret } = (await ask(service, "POST /v1/tokens", { body })).json);
  const seen = await get("/v1/events", sse);
  await until(() => seen.ended);
  expect(seen.text).toContain("The token has expired.");
  expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(expiresAt));
});

test("a long poll is answered with what has happened to its token", async () => {
  const used = () => service.store.access.token(id)?.lastUsedAt !== null;
  const waiting = get("/v1/events?since=now&wait=30");
  await until(used);
  await ask(service, `DELETE /v1/tokens/${id}`);
  const seen = await waiting;
  await until(() => seen.ended);
  expect([seen.status, JSON.parse(seen.text).detail]).toEqual([401, "The token was revoked."]);
});

test("an upload breaks off, and leaves nothing behind", async () => {
  const options = { host: "127.0.0.1", port, path: "/v1/images?kind=ramdisk", method: "POST" };
  const upload = request({ ...options, headers: { authorization: `Bearer ${secret}` } });
  const broken = new Promise<Error>((resolve) => upload.once("error", resolve));
  upload.write("the first bytes");
  const files = () => readdirSync(join(service.stateDir, "images"));
  await until(() => files().length === 1);
  await ask(service, `DELETE /v1/tokens/${id}`);
  expect((await broken).message).toMatch(/hang up|ECONNRESET/);
  await until(() => files().length === 0);
});

test("a console that is attached, or refused, is in the audit log", async () => {
  await attach();
  const refused = new WebSocket(`ws://127.0.0.1:${port}/v1/domains/web/console/ws`);
  refused.on("error", () => undefined);
  await until(() => refused.readyState === WebSocket.CLOSED);
  await service.store.commit(() => undefined);
  const { items } = (await ask(service, "GET /v1/audit?operation=attachConsole")).json;
  expect(items.map(({ token, status, problem }: Record<string, unknown>) => [token, status, problem])).toEqual([
    ["nobody", 401, "unauthorized"],
    [id, 101, null],
  ]);
});

test("a stream of events has those of the token's projects alone, live and from the log", async () => {
  const live = await get("/v1/events", sse);
  const from = await get("/v1/events?since=first", sse);
  await ask(service, "POST /v1/domains", { body: definition("far", { project: "blue" }) });
  await ask(service, "POST /v1/domains", { body: definition("near", { project: "red" }) });
  for (const { text } of [live, from]) expect(text).not.toContain("blue");
  await until(() => [live, from].every(({ text }) => text.includes('"name":"near"')));
  for (const { text } of [live, from]) expect(text).not.toMatch(/blue|"far"|"class":"token"/);
  expect(live.text.match(/event: domain/g)).toHaveLength(1);
  expect(from.text).toContain('"name":"web"');
});
