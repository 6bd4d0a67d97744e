/** The console over real sockets: reading, following, typing, and clients that do not read. */

import { readdirSync, statSync } from "node:fs";
import { request } from "node:http";
import { createConnection, type Socket } from "node:net";
import { join } from "node:path";
import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { Agent, request as http } from "undici";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { listenTcp, listenUnix } from "../../src/http/server.ts";
import { FakeConsoleLog } from "../toolstack/fake-domctl.ts";
import { ask, definition, problem, type Service, startService, TOKEN, until } from "./service.ts";

const authorization = `Bearer ${TOKEN}`;

let service: Service;
let port: number;
beforeEach(async () => {
  service = await startService({ console: new FakeConsoleLog(200_000) });
  port = await listenTcp(service.app, "127.0.0.1", 0);
  service.listen.port = port;
  await call("POST /v1/domains", JSON.stringify(definition("web", { start: true })));
});
afterEach(() => service.close());

async function call(line: string, body?: string | Buffer, headers: Record<string, string> = {}) {
  const [method, path] = line.split(" ");
  const response = await http(`http://127.0.0.1:${port}${path}`, {
    method: method as "GET",
    headers: { authorization, "content-type": "application/json", ...headers },
    ...(body !== undefined && { body }),
  });
  return { status: response.statusCode, headers: response.headers, text: await response.body.text() };
}

/** Follows the console; `text` grows. */
async function follow(path: string) {
  const seen = { text: "", start: -1, ended: false, stop: () => undefined as unknown };
  await new Promise<void>((resolve, reject) => {
    const asked = request({ host: "127.0.0.1", port, path, headers: { authorization } }, (response) => {
      seen.start = Number(response.headers["console-start"]);
      response.on("data", (chunk) => {
        seen.text += chunk;
      });
      response.on("error", () => undefined);
      response.on("close", () => {
        seen.ended = true;
      });
      resolve();
    });
    seen.stop = () => asked.destroy();
    asked.on("error", reject);
    asked.end();
  });
  return seen;
}

function attach(query = "", options: object = {}) {
  const url = `ws://127.0.0.1:${port}/v1/domains/web/console/ws${query}`;
  const socket = new WebSocket(url, { headers: { authorization }, ...options });
  const seen = { text: "", code: 0, reason: "", refused: 0, socket };
  socket.on("message", (data) => {
    seen.text += data;
  });
  socket.on("close", (code, reason) => {
    seen.code = code;
    seen.reason = String(reason);
  });
  socket.on("unexpected-response", (_request, response) => {
    seen.refused = response.statusCode ?? 0;
    socket.terminate();
  });
  socket.on("error", () => undefined);
  return seen;
}

describe("reading", () => {
  test("gives the whole log with its place", async () => {
    const answer = await call("GET /v1/domains/web/console");
    expect(answer).toMatchObject({ status: 200, text: "web boots\n" });
    expect(answer.headers).toMatchObject({
      "console-start": "0",
      "console-end": "10",
      "content-type": "text/plain; charset=utf-8",
    });
  });

  test.each([
    ["from an offset", "?offset=4", "4", "boots\n"],
    ["a part", "?offset=4&limit=3", "4", "boo"],
    ["from the end", "?offset=10", "10", ""],
    ["from beyond the end", "?offset=99", "10", ""],
  ])("%s", async (_what, query, start, text) => {
    const answer = await call(`GET /v1/domains/web/console${query}`);
    expect([answer.headers["console-start"], answer.text]).toEqual([start, text]);
  });

  test("an offset that was cut off answers from the oldest byte kept", async () => {
    service.domctl.print(1, "x".repeat(250_000));
    const answer = await call("GET /v1/domains/web/console?offset=5");
    expect([answer.headers["console-start"], answer.headers["console-end"]]).toEqual(["50010", "250010"]);
    expect(answer.text.length).toBe(200_000);
  });

  test("bytes come as the guest printed them", async () => {
    service.domctl.print(1, "\u001b[31mred\r\n\0");
    expect((await call("GET /v1/domains/web/console?offset=10")).text).toBe("\u001b[31mred\r\n\0");
  });

  test.each(["offset=-1", "offset=x", "offset=1.5", "follow=maybe", "limit=0", "of=1"])(
    "%s is refused",
    async (query) => {
      expect((await call(`GET /v1/domains/web/console?${query}`)).status).toBe(400);
    },
  );
});

describe("following", () => {
  test("shows the log and what comes, over a reboot, until the domain is deleted", async () => {
    const seen = await follow("/v1/domains/web/console?follow=true");
    await until(() => seen.text === "web boots\n");
    service.domctl.print(1, "hello\n");
    await until(() => seen.text === "web boots\nhello\n");
    await call("POST /v1/domains/web/reboot");
    await until(() => seen.text === "web boots\nhello\nweb boots\n");
    await call("DELETE /v1/domains/web?force=true");
    await until(() => seen.ended);
  });

  test("names its place before there is anything to show", async () => {
    const seen = await follow("/v1/domains/web/console?follow=true&offset=10");
    expect(seen.start).toBe(10);
    seen.stop();
  });

  test("ends when the service stops", async () => {
    const seen = await follow("/v1/domains/web/console?follow=true");
    const closed = service.app.close();
    await until(() => seen.ended);
    await closed;
  });

  test("a client that reads nothing costs one chunk, and is cut when the log leaves it behind", async () => {
    const socket = await connectDeaf("GET /v1/domains/web/console?follow=true HTTP/1.1");
    const block = "y".repeat(100_000);
    for (let index = 0; index < 400; index++) {
      service.domctl.print(1, block);
      if (index % 20 === 0) await sleep(1);
    }
    // What the kernel's socket buffers took, and one chunk; not the 40 MB that were printed.
    expect(service.console.bytesRead).toBeLessThan(12 * 2 ** 20);
    socket.resume();
    await until(() => socket.destroyed);
    // The rest of the service did not notice.
    expect((await call("GET /healthz")).status).toBe(200);
  });
});

/** A connection that asks and then never reads. */
async function connectDeaf(line: string, headers: readonly string[] = []): Promise<Socket> {
  const socket = createConnection({ host: "127.0.0.1", port });
  socket.on("error", () => undefined);
  socket.pause();
  const all = [line, `Host: 127.0.0.1:${port}`, `Authorization: ${authorization}`, ...headers, "", ""];
  socket.write(all.join("\r\n"));
  await sleep(50);
  return socket;
}

describe("typing", () => {
  test("hands over the bytes as they are, whatever the content type", async () => {
    const bytes = Buffer.from([0, 13, 10, 27, 255]);
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    const answer = await call("POST /v1/domains/web/console", bytes, headers);
    expect([answer.status, answer.text]).toEqual([200, '{"accepted":5}\n']);
    expect(service.domctl.byName("web").typed).toEqual([...bytes]);
  });

  test("says how much was taken when the guest does not read", async () => {
    service.domctl.consoleRoom = 3;
    const answer = await ask(service, "POST /v1/domains/web/console", { body: "hello", headers: local() });
    expect([answer.status, problem(answer), answer.json.accepted]).toEqual([429, "console-full", 3]);
  });

  test.each([
    ["more than 64 KiB at once", "x".repeat(65_537), 413, "body-too-large"],
    ["to a halted domain", "x", 409, "wrong-state"],
  ])("%s is refused", async (_what, body, status, type) => {
    if (type === "wrong-state") await call("POST /v1/domains/web/destroy");
    const answer = await ask(service, "POST /v1/domains/web/console", { body, headers: local() });
    expect([answer.status, problem(answer)]).toEqual([status, type]);
  });
});

const local = () => ({ host: `127.0.0.1:${port}` });

describe("a WebSocket", () => {
  test("goes both ways", async () => {
    const seen = attach();
    await until(() => seen.text === "web boots\n");
    seen.socket.send("ls\n");
    seen.socket.send(Buffer.from([3]));
    await until(() => service.domctl.byName("web").typed.length === 4);
    expect(service.domctl.byName("web").typed).toEqual([108, 115, 10, 3]);
    service.domctl.print(1, "bin etc\n");
    await until(() => seen.text.endsWith("bin etc\n"));
    seen.socket.close();
  });

  test("waits with its input while the guest does not read, and loses none", async () => {
    service.domctl.consoleRoom = 2;
    const seen = attach("?offset=10");
    await until(() => seen.socket.readyState === WebSocket.OPEN);
    seen.socket.send("abc");
    seen.socket.send("def");
    await until(() => service.domctl.byName("web").typed.length === 2);
    await sleep(120);
    service.domctl.consoleRoom = 100;
    await until(() => Buffer.from(service.domctl.byName("web").typed).toString() === "abcdef");
    seen.socket.terminate();
  });

  test("is told when the domain does not run, and when it is deleted", async () => {
    const typist = attach();
    const reader = attach();
    await until(() => reader.text !== "" && typist.text !== "");
    await call("POST /v1/domains/web/destroy");
    typist.socket.send("x");
    await until(() => typist.code === 4009);
    expect(typist.reason).toContain("start it first");
    await call("DELETE /v1/domains/web");
    await until(() => reader.code === 4004);
  });

  test("that never reads costs one chunk, and is cut when the log leaves it behind", async () => {
    const socket = await connectDeaf("GET /v1/domains/web/console/ws HTTP/1.1", [
      "Connection: Upgrade",
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 13",
      "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    ]);
    const block = "z".repeat(100_000);
    for (let index = 0; index < 400; index++) {
      service.domctl.print(1, block);
      if (index % 20 === 0) await sleep(1);
    }
    // What the kernel's socket buffers took, and one chunk; not the 40 MB that were printed.
    expect(service.console.bytesRead).toBeLessThan(12 * 2 ** 20);
    let tail = "";
    socket.on("data", (chunk) => {
      tail = (tail + chunk.toString("latin1")).slice(-200);
    });
    socket.resume();
    await until(() => socket.destroyed);
    expect(tail).toContain("fell behind");
  });

  test("that breaks the protocol is cut, and it is no fault of the service", async () => {
    const talker = attach();
    await until(() => talker.text === "web boots\n");
    talker.socket.send("x".repeat(64 * 1024 + 1));
    await until(() => talker.code !== 0);
    const codes = service.logged.map((line) => JSON.parse(line)).filter(({ code }) => /^WS_ERR_/.test(code));
    expect(codes).toMatchObject([{ level: 20, code: "WS_ERR_UNSUPPORTED_MESSAGE_LENGTH" }]);
    expect(service.logged.filter((line) => JSON.parse(line).level >= 50)).toEqual([]);
    expect(service.domctl.byName("web").typed).toEqual([]);
  });

  test("may come with a ticket in place of the token, once", async () => {
    const { ticket } = JSON.parse((await call("POST /v1/tickets", "{}")).text);
    const first = attach(`?ticket=${ticket}`, { headers: {} });
    await until(() => first.text === "web boots\n");
    const second = attach(`?ticket=${ticket}`, { headers: {} });
    await until(() => second.refused === 401);
    first.socket.terminate();
  });

  test.each([
    ["without token or ticket", "", { headers: {} }, 401],
    ["with the token in the URL", `?token=${TOKEN}`, { headers: {} }, 401],
    ["from a foreign Origin", "", { origin: "http://evil.example" }, 403],
    ["from an Origin that is no URL", "", { origin: "null" }, 403],
    ["with a foreign Host", "", { headers: { authorization, host: "evil.example" } }, 421],
    ["with an unknown query", "?x=1", {}, 400],
  ])("%s is refused", async (_what, query, options, status) => {
    const seen = attach(query, options);
    await until(() => seen.refused !== 0);
    expect(seen.refused).toBe(status);
  });

  test("of its own Origin is taken", async () => {
    const seen = attach("", { origin: `http://127.0.0.1:${port}` });
    await until(() => seen.text === "web boots\n");
    seen.socket.terminate();
  });

  test("for an unknown domain is 404, and a plain GET is told to upgrade", async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/v1/domains/nobody/console/ws`, { headers: { authorization } });
    const status = await new Promise((resolve) => {
      socket.on("unexpected-response", (_request, response) => resolve(response.statusCode));
      socket.on("error", () => undefined);
    });
    expect(status).toBe(404);
    expect((await call("GET /v1/domains/web/console/ws")).status).toBe(426);
  });
});

test("the unix socket needs no token, and only its owner can open it", async () => {
  const path = join(service.stateDir, "domzero.sock");
  const unix = await listenUnix(service.app, path, service.trusted);
  const { mode } = statSync(path);
  expect(mode & 0o777).toBe(0o600);
  const dispatcher = new Agent({ connect: { socketPath: path } });
  const response = await http("http://localhost/v1/domains", { dispatcher });
  expect([response.statusCode, ((await response.body.json()) as { items: object[] }).items.length]).toEqual([200, 1]);
  const tcp = await http(`http://127.0.0.1:${port}/v1/domains`);
  expect(tcp.statusCode).toBe(401);
  await tcp.body.dump();
  await dispatcher.close();
  unix.close();
});

test("a chunked upload is taken as it comes, one that breaks off leaves nothing", async () => {
  const response = await http(`http://127.0.0.1:${port}/v1/images?kind=ramdisk`, {
    method: "POST",
    headers: { authorization },
    body: Readable.from([Buffer.from("in "), Buffer.from("pieces")]),
  });
  expect([response.statusCode, ((await response.body.json()) as { size: number }).size]).toEqual([201, 9]);
  const broken = createConnection({ host: "127.0.0.1", port });
  const head = [
    "POST /v1/images?kind=ramdisk HTTP/1.1",
    `Host: 127.0.0.1:${port}`,
    `Authorization: ${authorization}`,
    "Content-Length: 100",
  ];
  broken.write(`${head.join("\r\n")}\r\n\r\nhalf`);
  await sleep(50);
  broken.destroy();
  await until(() => readdirSync(join(service.stateDir, "images")).length === 1);
});

describe("events as a stream", () => {
  async function listen(headers: Record<string, string> = {}, query = "") {
    const seen = { text: "", stop: () => undefined as unknown };
    const sent = { authorization, accept: "text/event-stream", ...headers };
    await new Promise<void>((resolve) => {
      const asked = request({ host: "127.0.0.1", port, path: `/v1/events${query}`, headers: sent }, (response) => {
        response.on("data", (chunk) => {
          seen.text += chunk;
        });
        response.on("error", () => undefined);
        resolve();
      });
      seen.stop = () => asked.destroy();
      asked.on("error", () => undefined);
      asked.end();
    });
    return seen;
  }

  test("follow one another from now on, and go on from the last id", async () => {
    const first = await listen({}, "?class=domain");
    await call("PATCH /v1/domains/web", JSON.stringify({ description: "one" }));
    await until(() => first.text.includes('"reason":"changed"'));
    first.stop();
    const id = first.text.match(/id: (\S+)\nevent: domain/)?.[1] as string;
    await call("PATCH /v1/domains/web", JSON.stringify({ description: "two" }));
    const second = await listen({ "last-event-id": id });
    await until(() => second.text.includes('"description":"two"'));
    expect(second.text).not.toContain('"description":"one"');
    second.stop();
  });

  test("a hundred listeners get all of a thousand events, one that does not read loses none", async () => {
    const listeners = await Promise.all(Array.from({ length: 100 }, () => listen({}, "?class=domain")));
    const deaf = await connectDeaf("GET /v1/events HTTP/1.1", ["Accept: text/event-stream"]);
    for (let index = 0; index < 1000; index += 50) {
      const changes = Array.from({ length: 50 }, (_, more) =>
        service.toolstack.domains.update("web", { description: `v${index + more}` }),
      );
      await Promise.all(changes);
    }
    const count = (text: string) => text.match(/"reason":"changed"/g)?.length ?? 0;
    await until(() => listeners.every(({ text }) => count(text) === 1000));
    let heard = "";
    deaf.on("data", (chunk) => {
      heard += chunk;
    });
    deaf.resume();
    await until(() => count(heard) === 1000);
    for (const listener of listeners) listener.stop();
    deaf.destroy();
  });
});
