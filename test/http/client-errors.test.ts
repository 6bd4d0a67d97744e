/** What is sent on a bare connection and is no HTTP is answered with a problem as everything else is, and logged by its id. */

import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { listenTcp } from "../../src/http/server.ts";
import { definition, type Service, startService, TOKEN, until } from "./service.ts";

let service: Service;
let port: number;
beforeAll(async () => {
  service = await startService();
  port = await listenTcp(service.app, "127.0.0.1", 0);
  service.listen.port = port;
});
afterAll(() => service.close());

const authorization = `Authorization: Bearer ${TOKEN}\r\n`;
const host = "Host: 127.0.0.1\r\n";
const json = "Content-Type: application/json\r\n";

async function open(allowHalfOpen = false): Promise<Socket & { text: string }> {
  const socket = Object.assign(connect({ port, host: "127.0.0.1", allowHalfOpen }), { text: "" });
  socket.setEncoding("latin1");
  socket.on("data", (text) => {
    socket.text += text;
  });
  await once(socket, "connect");
  return socket;
}

/** All answers to `text` until the service ends the connection. */
async function say(text: string): Promise<{ head: string; body: unknown }[]> {
  const socket = await open();
  socket.write(text);
  await once(socket, "end");
  socket.destroy();
  return socket.text
    .split(/(?=HTTP\/1\.1 )/)
    .map((answer) => answer.split("\r\n\r\n"))
    .map(([head, body]) => ({ head, body: JSON.parse(body) }));
}

const logged = () => service.logged.map((line) => JSON.parse(line));

test.each([
  ["garbage", "garbage\r\n\r\n", 400, "bad-request", "Invalid"],
  ["a TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "bad-request", "Invalid"],
  [
    "a length with chunks",
    `POST /v1/domains HTTP/1.1\r\n${host}${authorization}${json}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    400,
    "bad-request",
    "Content-Length",
  ],
  [
    "a bad chunk",
    `POST /v1/domains HTTP/1.1\r\n${host}${authorization}${json}Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n`,
    400,
    "bad-request",
    "chunk size",
  ],
  [
    "headers of 20 KiB",
    `GET /v1/host HTTP/1.1\r\n${host}X: ${"x".repeat(20 * 1024)}\r\n\r\n`,
    431,
    "header-too-large",
    "16384",
  ],
])("%s", async (_what, text, status, type, words) => {
  const [{ head, body }, ...more] = await say(text);
  expect(more).toEqual([]);
  expect(head).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  expect(head).toContain("Content-Type: application/problem+json");
  expect(body).toMatchObject({ type: `urn:domzero:problem:${type}`, status, detail: expect.stringContaining(words) });
  const { requestId } = body as { requestId: string };
  expect(head).toContain(`X-Request-Id: ${requestId}`);
  expect(logged().filter(({ reqId, status: given }) => reqId === requestId && given === status)).not.toEqual([]);
});

test("HTTP/1.1 without Host is refused, even on an open route", async () => {
  const [{ head, body }] = await say("GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n");
  expect(head).toMatch(/^HTTP\/1.1 400 /);
  expect(body).toMatchObject({ type: "urn:domzero:problem:bad-request", in: "headers", field: "host" });
});

test("garbage behind a request is answered after it, in a packet of its own or in the same", async () => {
  const body = JSON.stringify(definition("before"));
  const create = `POST /v1/domains HTTP/1.1\r\n${host}${authorization}${json}Content-Length: ${body.length}\r\n\r\n${body}`;
  const both = await say(`${create}garbage\r\n\r\n`);
  expect(both.map(({ head }) => head.slice(9, 12))).toEqual(["201", "400"]);

  const socket = await open();
  socket.write(`GET /v1/host HTTP/1.1\r\n${host}${authorization}\r\n`);
  await until(() => socket.text.includes(`"eventToken"`));
  socket.write("garbage\r\n\r\n");
  await once(socket, "end");
  expect(socket.text.match(/HTTP\/1.1 \d+/g)).toEqual(["HTTP/1.1 200", "HTTP/1.1 400"]);
  socket.destroy();
});

test("a body that turns bad after the answer has begun ends the connection without another answer", async () => {
  const socket = await open();
  socket.write(`POST /v1/domains HTTP/1.1\r\n${host}${json}Transfer-Encoding: chunked\r\n\r\n`);
  await until(() => socket.text.includes("unauthorized"));
  socket.write("zz\r\n");
  await once(socket, "close");
  expect(socket.text.match(/HTTP\/1.1 \d+/g)).toEqual(["HTTP/1.1 401"]);
});

test("a client that goes on sending is cut, with one answer", async () => {
  const socket = await open(true);
  // A write on the connection that was cut.
  socket.on("error", () => undefined);
  const sending = setInterval(() => socket.write("garbage\r\n\r\n"), 10);
  await until(() => socket.destroyed);
  clearInterval(sending);
  expect(socket.text.match(/HTTP\/1.1 \d+/g)).toEqual(["HTTP/1.1 400"]);
});

test("none of it was a fault of the service", () => {
  expect(logged().filter(({ level }) => level >= 40)).toEqual([]);
});
