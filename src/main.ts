/** domzero: takes the state folder, starts the machine, and serves. The only file that knows all the parts. */

import { readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join, relative, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pino from "pino";
import { ConsoleLogReader } from "./backends/console/log-reader.ts";
import { HistoryThread } from "./history/history-thread.ts";
import { buildApp } from "./http/app.ts";
import { escapeControls } from "./http/escape.ts";
import { checkPortFree, listenTcp, listenUnix, PortTaken, TrustedSockets } from "./http/server.ts";
import { BadTls, readTls, replaceTls, type TlsFiles } from "./http/tls.ts";
import { Machine } from "./machine/machine.ts";
import { SchemaTooNew } from "./store/migrator.ts";
import { SqliteStore, StateDamaged } from "./store/sqlite-store.ts";
import { lockState, StateLocked } from "./store/state-lock.ts";
import { newSecret } from "./toolstack/access/tokens.ts";
import { inspectKernelFile } from "./toolstack/kernel-inspection.ts";
import type { Clock } from "./toolstack/ports.ts";
import { DOMAIN_SERIES, HOST_SERIES } from "./toolstack/statistics/figures.ts";
import { type ProcessLoad, SAMPLE_WIDTH } from "./toolstack/statistics/sampler.ts";
import { HOST } from "./toolstack/statistics/statistics.ts";
import { Toolstack } from "./toolstack/toolstack.ts";

class BadSetting extends Error {}

interface Settings {
  readonly stateDir: string;
  readonly host: string;
  readonly port: number;
  readonly hosts: readonly string[];
  /** Undefined: plain HTTP. */
  readonly tls: TlsFiles | undefined;
  /** Origins whose pages may use the API from a browser. */
  readonly origins: readonly string[];
  readonly auditDays: number;
  readonly workers: number;
  readonly sampleSeconds: number;
  readonly faults: boolean;
  readonly stopTimeoutMs: number;
  readonly logLevel: string;
}

const HOME = resolve(import.meta.dirname, "..");
const { version } = JSON.parse(readFileSync(join(HOME, "package.json"), "utf8")) as { version: string };

/** Repeats of a signal within this time are one: Ctrl-C reaches node from the terminal and from npm. */
const SIGNAL_ECHO_MS = 2000;

const clock: Clock = {
  now: () => Date.now(),
  sleep: (ms, signal) => sleep(ms, undefined, signal && { signal }).catch(() => undefined),
};

function readSettings(env: NodeJS.ProcessEnv): Settings {
  const listen = env.DOMZERO_LISTEN || "127.0.0.1:8006";
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(listen);
  if (!match || Number(match[3]) > 65535) throw new BadSetting(`DOMZERO_LISTEN is ${listen}; it must be host:port`);
  const workers = env.DOMZERO_WORKERS || String(Math.max(1, availableParallelism() - 1));
  if (!/^\d+$/.test(workers) || Number(workers) < 1 || Number(workers) > 256)
    throw new BadSetting(`DOMZERO_WORKERS is ${workers}; it must be a number from 1 to 256`);
  const sample = env.DOMZERO_SAMPLE_SECONDS || "10";
  if (!/^\d+$/.test(sample) || (sample !== "0" && 60 % Number(sample) !== 0))
    throw new BadSetting(`DOMZERO_SAMPLE_SECONDS is ${sample}; it must divide 60, or be 0 for no history`);
  const faults = env.DOMZERO_FAULTS || "0";
  if (faults !== "0" && faults !== "1") throw new BadSetting(`DOMZERO_FAULTS is ${faults}; it must be 1, or 0`);
  const auditDays = env.DOMZERO_AUDIT_DAYS || "90";
  if (!/^\d{1,5}$/.test(auditDays) || Number(auditDays) < 1)
    throw new BadSetting(`DOMZERO_AUDIT_DAYS is ${auditDays}; it must be a number of days, 1 at least`);
  const stopTimeout = env.DOMZERO_STOP_TIMEOUT || "60";
  if (!/^\d{1,5}$/.test(stopTimeout))
    throw new BadSetting(`DOMZERO_STOP_TIMEOUT is ${stopTimeout}; it must be a number of seconds`);
  const logLevel = env.LOG_LEVEL || "info";
  if (!["trace", "debug", "info", "warn", "error", "fatal", "silent"].includes(logLevel))
    throw new BadSetting(`LOG_LEVEL is ${logLevel}; it must be trace, debug, info, warn, error, fatal or silent`);
  return {
    stateDir: resolve(env.DOMZERO_STATE_DIR || "state"),
    host: match[1] ?? match[2],
    port: Number(match[3]),
    hosts: (env.DOMZERO_HOSTS ?? "").split(",").filter(Boolean),
    tls: readTlsFiles(env),
    origins: readOrigins(env),
    auditDays: Number(auditDays),
    workers: Number(workers),
    sampleSeconds: Number(sample),
    faults: faults === "1",
    stopTimeoutMs: Number(stopTimeout) * 1000,
    logLevel,
  };
}

function processLoad(): ProcessLoad {
  const { user, system } = process.cpuUsage();
  return { cpuSeconds: (user + system) / 1e6, residentBytes: process.memoryUsage.rss() };
}

const countersOf = (series: readonly { kind: string }[]) => series.map(({ kind }) => kind === "counter");

function readTlsFiles({ DOMZERO_TLS_CERT: cert, DOMZERO_TLS_KEY: key }: NodeJS.ProcessEnv): TlsFiles | undefined {
  if (!cert && !key) return undefined;
  if (!cert || !key) throw new BadSetting("DOMZERO_TLS_CERT and DOMZERO_TLS_KEY go together: one of them is missing");
  return { cert: resolve(cert), key: resolve(key) };
}

function readOrigins(env: NodeJS.ProcessEnv): string[] {
  const origins = (env.DOMZERO_CORS_ORIGINS ?? "").split(",").filter(Boolean);
  for (const origin of origins)
    if (!URL.canParse(origin) || new URL(origin).origin !== origin)
      throw new BadSetting(`DOMZERO_CORS_ORIGINS has ${origin}; an origin is like https://console.example:8443`);
  return origins;
}

/** The bearer token, made at the first start. */
function readToken(stateDir: string): string {
  const path = join(stateDir, "token");
  try {
    const token = readFileSync(path, "utf8").trim();
    if (token) return token;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  const token = newSecret();
  writeFileSync(path, `${token}\n`, { mode: 0o600 });
  return token;
}

/**
 * A testing aid, off unless DOMZERO_CRASH_POINTS=1: the parent process names a crash point over its channel, and the process dies there as
 * by `kill -9`.
 */
function crashPoint(env: NodeJS.ProcessEnv): ((point: string) => void) | undefined {
  if (env.DOMZERO_CRASH_POINTS !== "1" || !process.send) return undefined;
  let armed: unknown;
  process.on("message", (point) => {
    armed = point;
    process.send?.(point);
  });
  return (point) => {
    if (point === armed) process.kill(process.pid, "SIGKILL");
  };
}

async function main(): Promise<void> {
  const settings = readSettings(process.env);
  const { stateDir, host } = settings;
  const tls = settings.tls && readTls(settings.tls, Date.now());
  const lock = lockState(stateDir);
  await checkPortFree(host, settings.port);

  const logFile = pino.destination({ dest: 2, sync: false });
  const log = pino({ level: settings.logLevel, base: null, timestamp: pino.stdTimeFunctions.isoTime }, logFile);
  const store = new SqliteStore({ stateDir, migrationsDir: join(HOME, "migrations"), now: clock.now });
  if (store.backup) log.info({ backup: store.backup }, "the state was migrated; the old database is kept");
  const consoleDir = join(stateDir, "console");
  const machine = await Machine.start({
    workers: settings.workers,
    consoleDir,
    servicesWorker: new URL("./backends/services-worker.ts", import.meta.url),
    builderWorker: new URL("./builder/builder-worker.ts", import.meta.url),
    firstDomid: store.highestDomid() + 1,
    onFatal: (error) => {
      log.fatal({ err: error }, "a worker that no domain survives is gone");
      logFile.flushSync();
      process.exit(1);
    },
  });
  const history =
    settings.sampleSeconds === 0
      ? undefined
      : new HistoryThread({
          path: join(stateDir, "metrics.db"),
          stepSeconds: settings.sampleSeconds,
          width: SAMPLE_WIDTH,
          counters: { host: countersOf(HOST_SERIES), domain: countersOf(DOMAIN_SERIES) },
          host: HOST,
          log,
        });
  if (settings.faults) log.warn("faults are injected on request: this service is for tests");
  const passed = crashPoint(process.env);
  const toolstack = await Toolstack.start({
    ...(passed && { passed }),
    stopTimeoutMs: settings.stopTimeoutMs,
    faults: settings.faults,
    ...(history && {
      history: { store: history, stepSeconds: settings.sampleSeconds, process: processLoad },
    }),
    store,
    domctl: machine,
    consoleLog: new ConsoleLogReader(consoleDir),
    stateDir,
    builtins: new Map([["builtin:demo", join(HOME, "src/builder/demo-kernel/demo.elf")]]),
    clock,
    log: {
      debug: (fields, text) => log.debug(fields, escapeControls(text)),
      info: (fields, text) => log.info(fields, escapeControls(text)),
      warn: (fields, text) => log.warn(fields, escapeControls(text)),
      error: (fields, text) => log.error(fields, escapeControls(text)),
    },
    auditKeptMs: settings.auditDays * 24 * 3600_000,
    inspectKernel: inspectKernelFile,
  });

  const trusted = new TrustedSockets();
  const listen = { host, port: settings.port };
  const app = await buildApp({
    toolstack,
    version,
    log,
    access: {
      token: readToken(stateDir),
      listen,
      hosts: settings.hosts,
      origins: settings.origins,
      trusted: trusted.has,
    },
    ...(tls && { tls }),
    now: clock.now,
    processMetrics: true,
  });
  listen.port = await listenTcp(app, host, settings.port);
  const unix = await listenUnix(app, join(stateDir, "domzero.sock"), trusted);

  let stoppedAt = 0;
  const stop = (signal: NodeJS.Signals) => {
    const now = Date.now();
    if (stoppedAt > 0 && now - stoppedAt < SIGNAL_ECHO_MS) return;
    if (stoppedAt > 0) process.exit(1);
    stoppedAt = now;
    log.info({ signal }, "stopping");
    close().then(
      () => process.exit(0),
      (error) => {
        log.fatal({ err: error }, "stopping failed");
        logFile.flushSync();
        process.exit(1);
      },
    );
  };
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  if (settings.tls) {
    const files = settings.tls;
    process.on("SIGHUP", () => {
      try {
        replaceTls(app, readTls(files, clock.now()));
        log.info(files, "the certificate was read again");
      } catch (error) {
        log.error({ err: error }, "the certificate was not read again; the one before stays");
      }
    });
  }
  greet(settings, listen.port);

  async function close(): Promise<void> {
    unix.close();
    await toolstack.stop();
    await app.close();
    await history?.close();
    await machine.close();
    store.close();
    lock.release();
    logFile.flushSync();
  }
}

function greet({ stateDir, host, tls }: Settings, port: number): void {
  const shown = relative(process.cwd(), stateDir);
  const folder = shown.startsWith("..") ? stateDir : shown || ".";
  const name = host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host.includes(":") ? `[${host}]` : host;
  const url = `${tls ? "https" : "http"}://${name}:${port}`;
  const definition = '{"name":"first","kernel":"builtin:demo","memoryMiB":16,"vcpus":1,"start":true}';
  process.stdout.write(
    `domzero ${version}
  listens on   ${url} (token in ${folder}/token) and ${folder}/domzero.sock (no token)
  state        ${stateDir}
  description  ${url}/docs

Next, in another terminal:
  curl -s --unix-socket ${folder}/domzero.sock --json '${definition}' http://localhost/v1/domains
`,
  );
}

try {
  await main();
} catch (error) {
  const expected = [BadSetting, BadTls, StateLocked, PortTaken, SchemaTooNew, StateDamaged].some(
    (kind) => error instanceof kind,
  );
  process.stderr.write(`domzero: ${expected ? (error as Error).message : ((error as Error).stack ?? String(error))}\n`);
  process.exit(1);
}
