/** A whole service on a fake machine, in a folder of its own: what the tests of the API talk to. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { FastifyInstance } from "fastify";
import pino from "pino";
import { buildApp } from "../../src/http/app.ts";
import { TrustedSockets } from "../../src/http/server.ts";
import type { TlsCredentials } from "../../src/http/tls.ts";
import { SqliteStore } from "../../src/store/sqlite-store.ts";
import type { Clock } from "../../src/toolstack/ports.ts";
import { Toolstack, type ToolstackOptions } from "../../src/toolstack/toolstack.ts";
import { FakeConsoleLog, FakeDomctl } from "../toolstack/fake-domctl.ts";

export const TOKEN = "the-token-of-the-tests";
export const DEMO = "builtin:demo";

export const realClock: Clock = {
  now: () => Date.now(),
  sleep: (ms, signal) => sleep(ms, undefined, signal && { signal }).catch(() => undefined),
};

export interface Service {
  readonly app: FastifyInstance;
  readonly toolstack: Toolstack;
  readonly store: SqliteStore;
  readonly domctl: FakeDomctl;
  readonly console: FakeConsoleLog;
  readonly stateDir: string;
  readonly trusted: TrustedSockets;
  readonly listen: { host: string; port: number };
  /** Lines of the log. */
  readonly logged: string[];
  /** As `kill -9` would: nothing is told, nothing is closed but the files. */
  kill(): Promise<void>;
  close(): Promise<void>;
}

export interface ServiceOptions {
  readonly stateDir?: string;
  readonly console?: FakeConsoleLog;
  readonly clock?: Clock;
  readonly eventsKept?: number;
  readonly mostImageBytes?: number;
  readonly inspectKernel?: ToolstackOptions["inspectKernel"];
  readonly hosts?: readonly string[];
  readonly origins?: readonly string[];
  readonly tls?: TlsCredentials;
  readonly history?: ToolstackOptions["history"];
  readonly faults?: boolean;
  readonly stopTimeoutMs?: number;
  /** Done to the machine before the toolstack recovers. */
  readonly prepare?: (domctl: FakeDomctl) => void;
}

export async function startService(options: ServiceOptions = {}): Promise<Service> {
  const stateDir = options.stateDir ?? mkdtempSync(join(tmpdir(), "domzero-test-"));
  const clock = options.clock ?? realClock;
  const console = options.console ?? new FakeConsoleLog();
  const { eventsKept, mostImageBytes, inspectKernel, hosts, origins, tls, history } = options;
  const store = new SqliteStore({
    stateDir,
    migrationsDir: resolve(import.meta.dirname, "../../migrations"),
    now: clock.now,
    ...(eventsKept !== undefined && { eventsKept }),
  });
  const domctl = new FakeDomctl({ console, firstDomid: store.highestDomid() + 1 });
  options.prepare?.(domctl);
  const logged: string[] = [];
  const log = pino({ level: "debug", base: null }, { write: (line: string) => void logged.push(line) });
  const toolstack = await Toolstack.start({
    store,
    domctl,
    consoleLog: console,
    stateDir,
    builtins: new Map([[DEMO, "/demo.elf"]]),
    clock,
    log,
    ...(mostImageBytes !== undefined && { mostImageBytes }),
    ...(inspectKernel && { inspectKernel }),
    ...(history && { history }),
    ...(options.faults && { faults: true }),
    ...(options.stopTimeoutMs !== undefined && { stopTimeoutMs: options.stopTimeoutMs }),
  });
  const trusted = new TrustedSockets();
  const listen = { host: "127.0.0.1", port: 80 };
  const app = await buildApp({
    toolstack,
    version: "0.0.0",
    log,
    access: { token: TOKEN, listen, trusted: trusted.has, ...(hosts && { hosts }), ...(origins && { origins }) },
    ...(tls && { tls }),
    now: clock.now,
  });
  const kill = async () => {
    await app.close();
    store.close();
  };
  const close = async () => {
    await toolstack.stop();
    await kill();
    rmSync(stateDir, { recursive: true, force: true });
  };
  return { app, toolstack, store, domctl, console, stateDir, trusted, listen, logged, kill, close };
}

export interface Answer {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests read whatever comes.
  readonly json: any;
}

export interface Ask {
  readonly headers?: Record<string, string>;
  /** An object is sent as JSON. */
  readonly body?: unknown;
  readonly token?: string | null;
}

/** One request with the token, straight into the application. */
export async function ask(
  service: Service,
  line: string,
  { headers = {}, body, token = TOKEN }: Ask = {},
): Promise<Answer> {
  const [method, url] = line.split(" ") as ["GET", string];
  const raw = typeof body === "string" || body instanceof Uint8Array;
  const response = await service.app.inject({
    method,
    url,
    headers: {
      host: "127.0.0.1",
      ...(token !== null && { authorization: `Bearer ${token}` }),
      ...(body !== undefined && { "content-type": "application/json" }),
      ...headers,
    },
    ...(body !== undefined && { payload: raw ? (body as string) : JSON.stringify(body) }),
  });
  const text = response.body;
  const json = text && /json/.test(String(response.headers["content-type"])) ? JSON.parse(text) : undefined;
  return { status: response.statusCode, headers: response.headers as Record<string, string>, text, json };
}

/** The last word of a problem's type. */
export function problem(answer: Answer): string {
  return String(answer.json?.type).replace("urn:domzero:problem:", "");
}

export const definition = (name: string, more: object = {}) => ({
  name,
  kernel: DEMO,
  memoryMiB: 16,
  vcpus: 1,
  ...more,
});

export async function until(what: () => boolean | Promise<boolean>, ms = 5000): Promise<void> {
  const deadline = Date.now() + ms;
  while (!(await what())) {
    if (Date.now() > deadline) throw new Error(`still not: ${what}`);
    await sleep(5);
  }
}
