/**
 * A service with 10,000 definitions: how long it takes to start, a page of the list, an event to reach 100 listeners, and how long its
 * event loop keeps others waiting meanwhile.
 *
 * Run with `node test/bench/many.ts`, or all with `npm run bench`.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Client } from "undici";
import { lanes } from "./peers/lanes.ts";
import { BenchService, percentiles } from "./service.ts";

const DEFINITIONS = 10_000;
const LISTENERS = 100;
const CHANGES = 200;
/** The event loop's p99, and the goal of it. */
const MOST_DELAY_MS = 10;

const ms = (value: number) => `${value.toFixed(2)} ms`;
let service = await BenchService.start();
let headers: Record<string, string> = {};

function connect(): Client {
  return new Client(service.url, { pipelining: 1 });
}

async function call(client: Client, method: "GET" | "POST" | "PATCH", path: string, value?: unknown): Promise<string> {
  const { statusCode, body } = await client.request({
    method,
    path,
    headers: value === undefined ? headers : { ...headers, "content-type": "application/json" },
    ...(value !== undefined && { body: JSON.stringify(value) }),
  });
  const text = await body.text();
  if (statusCode >= 300) throw new Error(`${method} ${path}: ${statusCode} ${text}`);
  return text;
}

/** Event-loop delay since this was last asked. */
async function delay(): Promise<string> {
  const client = connect();
  const text = await call(client, "GET", "/metrics");
  await client.close();
  const of = (quantile: string) =>
    Number(new RegExp(`^domzero_event_loop_delay_seconds\\{quantile="${quantile}"\\} (\\S+)$`, "m").exec(text)![1]) *
    1000;
  return `event loop p99 ${ms(of("0.99"))}${of("0.99") > MOST_DELAY_MS ? " (over 10)" : ""}, at most ${ms(of("1"))}`;
}

function show(what: string, figures: string, loop: string): void {
  console.log(`${what.padEnd(36)}${figures.padEnd(58)}${loop}`);
}

/** Reads a stream of events; `sees` is called with the time of each event of the domain. */
async function listen(sees: (version: number, time: number) => void, signal: AbortSignal): Promise<void> {
  const client = new Client(service.url);
  const { body } = await client.request({
    method: "GET",
    path: "/v1/events?class=domain",
    headers: { ...headers, accept: "text/event-stream" },
    signal,
  });
  let rest = "";
  const reading = async () => {
    try {
      for await (const chunk of body) {
        const time = performance.now();
        const parts = (rest + String(chunk)).split("\n\n");
        rest = parts.pop()!;
        for (const part of parts) {
          const version = /"configVersion":(\d+)/.exec(part)?.[1];
          if (version !== undefined) sees(Number(version), time);
        }
      }
    } catch {
      // Aborted: it has heard enough.
    }
    await client.destroy();
  };
  void reading();
}

async function fanOut(): Promise<void> {
  const client = connect();
  const stop = new AbortController();
  const sent = new Map<number, number>();
  const times: number[] = [];
  const all = Promise.withResolvers<void>();
  const first = JSON.parse(await call(client, "GET", "/v1/domains/d-0"));
  const sees = (version: number, time: number) => {
    times.push(time - sent.get(version)!);
    if (times.length === CHANGES * LISTENERS) all.resolve();
  };
  await Promise.all(Array.from({ length: LISTENERS }, () => listen(sees, stop.signal)));
  await delay();
  for (let change = 1; change <= CHANGES; change++) {
    sent.set(first.configVersion + change, performance.now());
    await call(client, "PATCH", "/v1/domains/d-0", { description: `change ${change}` });
  }
  await all.promise;
  const { p50, p99 } = percentiles(times);
  const figures = `${CHANGES} events, none lost; p50 ${ms(p50)}, p99 ${ms(p99)}`;
  show(`an event to ${LISTENERS} listeners`, figures, await delay());
  stop.abort();
  await client.close();
}

try {
  headers = { authorization: `Bearer ${readFileSync(join(service.stateDir, "token"), "utf8").trim()}` };
  await delay();
  const made = await lanes(16, DEFINITIONS, connect, (client, index) =>
    call(client, "POST", "/v1/domains", { name: `d-${index}`, kernel: "builtin:demo", memoryMiB: 16, vcpus: 1 }),
  );
  show(
    `${DEFINITIONS} definitions, 16 clients`,
    `${made.perSecond.toFixed(0)} a second, p99 ${ms(made.p99)}`,
    await delay(),
  );

  const started: number[] = [];
  for (let turn = 0; turn < 3; turn++) {
    const { stateDir } = service;
    await service.end();
    const begin = performance.now();
    service = await BenchService.start({}, stateDir);
    started.push(performance.now() - begin);
  }
  show(
    "start with all of them",
    `${(Math.min(...started) / 1000).toFixed(2)} s at best, ${(Math.max(...started) / 1000).toFixed(2)} s at worst`,
    await delay(),
  );

  let place = "";
  let listed = 0;
  const page = async (client: Client) => {
    const answer = JSON.parse(await call(client, "GET", `/v1/domains?limit=1000${place}`));
    listed += answer.items.length;
    place = answer.next === null ? "" : `&after=${encodeURIComponent(answer.next)}`;
  };
  await lanes(1, 20, connect, page);
  await delay();
  listed = 0;
  const pages = await lanes(1, 200, connect, page);
  if (listed !== 20 * DEFINITIONS) throw new Error(`${listed} domains were listed in 20 rounds`);
  show(
    "a page of 1000 of the list",
    `p50 ${ms(pages.p50)}, p99 ${ms(pages.p99)} with the client's own reading`,
    await delay(),
  );

  await fanOut();
} finally {
  await service.stop();
}
