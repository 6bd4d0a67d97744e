/** Listeners by WebSocket and by Server-Sent Events over real connections: the same events, nothing lost, and slow ones told and cut. */

import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { MOST_BEHIND } from "../../src/http/event-feed.ts";
import { listenTcp } from "../../src/http/server.ts";
import { ask, definition, problem, type Service, startService, TOKEN, until } from "./service.ts";

let service: Service;
let port: number;
beforeEach(async () => {
  service = await startService();
  port = await listenTcp(service.app, "127.0.0.1", 0);
  service.listen.port = port;
});
afterEach(() => service.close());

const headers = { authorization: `Bearer ${TOKEN}` };
const create = (name: string) => ask(service, "POST /v1/domains", { body: definition(name) });
const listed = async (since: string) => (await ask(service, `GET /v1/events?since=${since}`)).json.events;

interface Listener {
  readonly socket: WebSocket;
  readonly seen: { token: string }[];
}

/** Collects from the first: what is sent at once comes with the answer to the upgrade. */
async function open(query: string, how: { headers?: Record<string, string> } = { headers }): Promise<Listener> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/v1/events/ws${query}`, how);
  const seen: { token: string }[] = [];
  socket.on("message", (data) => seen.push(JSON.parse(String(data))));
  await once(socket, "open");
  return { socket, seen };
}

/** More than a connection's buffers hold, and then one more. */
async function flood(): Promise<void> {
  const object = JSON.stringify({ text: "x".repeat(4096) });
  const event = { time: 0, class: "image", operation: "mod", reason: "flood", id: "i", project: null, object } as const;
  const append = (count: number) =>
    service.store.commit((writer) => {
      for (let index = 0; index < count; index++) writer.appendEvent(event);
    });
  await append(MOST_BEHIND + 4000);
  await until(() => service.toolstack.events.newest() > MOST_BEHIND);
  await append(1);
}

const sequence = (token: string) => Number(token.split(":")[1]);
const inARow = (tokens: string[]) => tokens.every((token, index) => sequence(token) === sequence(tokens[0]) + index);

describe("a WebSocket", () => {
  test("gets each event as the log has it, from any token on", async () => {
    await create("a");
    const { token } = (await ask(service, "GET /v1/events")).json;
    const { socket: live, seen } = await open("");
    await create("b");
    const { socket: resumed, seen: again } = await open(`?since=${token}&class=domain`);
    await create("c");
    await until(() => seen.length >= 2 && again.length >= 2);
    expect(seen).toEqual(await listed(token));
    expect(again).toEqual(await listed(token));
    live.terminate();
    resumed.terminate();
  });

  test("opens with a ticket, and ends with the service", async () => {
    const { ticket } = (await ask(service, "POST /v1/tickets")).json;
    const { socket } = await open(`?ticket=${ticket}`, {});
    const closed = once(socket, "close");
    void service.app.close();
    expect((await closed)[0]).toBe(1001);
  });

  test("is refused before it opens where its token cannot be continued", async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/v1/events/ws?since=ff:1`, { headers });
    const [, response] = (await once(socket, "unexpected-response")) as [unknown, IncomingMessage];
    expect(response.statusCode).toBe(410);
    response.destroy();
    const answer = await ask(service, "GET /v1/events?since=ff:1");
    expect([problem(answer), answer.json.token]).toEqual(["events-gone", expect.stringMatching(/^[0-9a-f]+:\d+$/)]);
  });

  test("that does not read is told where to go on from, and cut; what it got has no gap", async () => {
    const { socket, seen } = await open("?since=first");
    socket.pause();
    await flood();
    const closed = once(socket, "close");
    socket.resume();
    const [code, reason] = (await closed) as [number, Buffer];
    expect(code).toBe(4008);
    const last = seen.at(-1)?.token ?? "";
    expect(String(reason)).toBe(`slow; since=${last}`);
    expect(inARow(seen.map(({ token }) => token))).toBe(true);
    expect(sequence((await listed(last))[0].token)).toBe(sequence(last) + 1);
  });
});

describe("Server-Sent Events", () => {
  const stream = async (query: string, more = {}): Promise<IncomingMessage> => {
    const path = `/v1/events${query}`;
    const asked = request({
      host: "127.0.0.1",
      port,
      path,
      headers: { ...headers, accept: "text/event-stream", ...more },
    });
    asked.end();
    const [response] = (await once(asked, "response")) as [IncomingMessage];
    return response;
  };

  test("go on from Last-Event-ID", async () => {
    await create("a");
    const { token } = (await ask(service, "GET /v1/events")).json;
    await create("b");
    const response = await stream("", { "last-event-id": token });
    let text = "";
    for await (const chunk of response) {
      text += chunk;
      if (text.includes("event: domain")) break;
    }
    const [event] = await listed(token);
    expect(text).toContain(`id: ${event.token}\nevent: domain\ndata: ${JSON.stringify(event)}\n\n`);
  });

  test("tell one that does not read where to go on from, and end", async () => {
    const response = await stream("?since=first");
    await flood();
    let text = "";
    for await (const chunk of response) text += chunk;
    const tokens = [...text.matchAll(/^id: (.*)\nevent: image/gm)].map(([, token]) => token);
    expect(inARow(tokens)).toBe(true);
    const end = /event: slow\ndata: (.*)\n\n$/.exec(text);
    expect(JSON.parse(end?.[1] ?? "{}")).toEqual({ detail: expect.stringContaining("since="), token: tokens.at(-1) });
  });
});
