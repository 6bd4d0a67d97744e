/** Figures by HTTP: of domains now and over time, and of the host. */

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Recorder } from "../../src/history/recorder.ts";
import { Column, EXIT_COLUMNS, HYPERCALL_COLUMNS } from "../../src/hypervisor/statistics.ts";
import type { Clock, History } from "../../src/toolstack/ports.ts";
import { DOMAIN_SERIES, HOST_SERIES } from "../../src/toolstack/statistics/figures.ts";
import { SAMPLE_WIDTH, Sampler } from "../../src/toolstack/statistics/sampler.ts";
import { HOST } from "../../src/toolstack/statistics/statistics.ts";
import { ask, definition, problem, realClock, type Service, startService } from "./service.ts";

/** 10:00 on some day. */
const T0 = Date.UTC(2026, 10, 25, 10);
const iso = (seconds: number) => new Date(T0 + seconds * 1000).toISOString();

let now = T0;
const clock: Clock = { now: () => now, sleep: realClock.sleep };
let recorder: Recorder;
let history: History;
let service: Service;
let sampler: Sampler;
let broken = false;

beforeEach(async () => {
  now = T0;
  broken = false;
  recorder = new Recorder({
    path: ":memory:",
    stepSeconds: 10,
    width: SAMPLE_WIDTH,
    counters: {
      host: HOST_SERIES.map(({ kind }) => kind === "counter"),
      domain: DOMAIN_SERIES.map(({ kind }) => kind === "counter"),
    },
    host: HOST,
    log: () => undefined,
  });
  history = {
    record: (sample) => recorder.record(sample),
    read: async (query) => {
      if (broken) throw new Error("the thread is gone");
      return recorder.read(query);
    },
    forget: (object) => recorder.forget(object),
    retain: async () => undefined,
    close: async () => recorder.close(),
  };
  const process = () => ({ cpuSeconds: (now - T0) / 2000, residentBytes: 2 ** 28 });
  service = await startService({ clock, history: { store: history, stepSeconds: 10, process } });
  const { statistics } = service.toolstack;
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  sampler = new Sampler({ statistics, history, clock, log, stepSeconds: 10, process });
});

afterEach(async () => {
  await service.close();
  recorder.close();
});

async function start(name: string): Promise<Float64Array> {
  expect((await ask(service, "POST /v1/domains", { body: definition(name, { start: true }) })).status).toBe(201);
  return service.domctl.byName(name).row;
}

async function sampleAt(seconds: number): Promise<void> {
  now = T0 + seconds * 1000;
  await sampler.sample();
}

describe("now", () => {
  test("a live domain's figures, its exits and its hypercalls that were made", async () => {
    const row = await start("a");
    row[Column.running] = 2.5e9;
    row[Column.runnable] = 1e9;
    row[EXIT_COLUMNS[0]![0]] = 7;
    row[HYPERCALL_COLUMNS[29]![0]] = 5;
    const { status, json } = await ask(service, "GET /v1/domains/a/statistics");
    expect(status).toBe(200);
    expect(json).toMatchObject({ time: iso(0), domid: 1, exits: { hypercall: 7 }, hypercalls: { sched_op: 5 } });
    expect(json.figures).toMatchObject({ cpu: 2.5, steal: 1, memory: 16 * 2 ** 20, vcpus: 1 });
    expect(Object.keys(json.hypercalls)).toEqual(["sched_op"]);
  });

  test("a halted domain has none, and none is no domain", async () => {
    await ask(service, "POST /v1/domains", { body: definition("a") });
    expect(problem(await ask(service, "GET /v1/domains/a/statistics"))).toBe("wrong-state");
    expect(problem(await ask(service, "GET /v1/domains/b/statistics"))).toBe("domain-not-found");
  });
});

describe("over time", () => {
  test("counters as rates, gauges as they are, null where nothing is known", async () => {
    const row = await start("a");
    await sampleAt(0);
    row[Column.running] = 5e9;
    row[Column.hypercalls] = 30;
    await sampleAt(10);
    const answer = await ask(
      service,
      `GET /v1/domains/a/statistics/history?from=${iso(0)}&to=${iso(30)}&metrics=cpu,hypercalls,memory`,
    );
    expect(answer.status).toBe(200);
    expect(answer.json).toEqual({
      from: iso(0),
      step: 10,
      units: { cpu: "s/s", hypercalls: "/s", memory: "bytes" },
      points: { cpu: [null, 0.5, null], hypercalls: [null, 3, null], memory: [2 ** 24, 2 ** 24, null] },
    });
  });

  test("the last hour of everything unless something else is asked for", async () => {
    await start("a");
    await sampleAt(0);
    now += 10_000;
    const { json } = await ask(service, "GET /v1/domains/a/statistics/history");
    expect(json.from).toBe(iso(10 - 3600));
    expect(Object.keys(json.points)).toEqual(DOMAIN_SERIES.map(({ key }) => key));
    expect(json.points.memory).toHaveLength(360);
    expect(json.points.memory.at(-1)).toBe(2 ** 24);
  });

  test("the host's own", async () => {
    await start("a");
    await sampleAt(0);
    await sampleAt(10);
    const { json } = await ask(service, `GET /v1/host/statistics/history?from=${iso(0)}&to=${iso(20)}`);
    expect(json.points).toEqual({
      busy: [null, 0],
      cpu: [null, 0.5],
      resident: [2 ** 28, 2 ** 28],
      memoryFree: [1008 * 2 ** 20, 1008 * 2 ** 20],
      domains: [1, 1],
    });
  });

  test("a reboot is a gap in rates, for its counters are others", async () => {
    const row = await start("a");
    row[Column.running] = 100e9;
    await sampleAt(0);
    await ask(service, "POST /v1/domains/a/destroy");
    expect((await ask(service, "POST /v1/domains/a/start")).status).toBe(200);
    service.domctl.byName("a").row[Column.running] = 200e9;
    await sampleAt(10);
    service.domctl.byName("a").row[Column.running] = 201e9;
    await sampleAt(20);
    const { json } = await ask(
      service,
      `GET /v1/domains/a/statistics/history?from=${iso(0)}&to=${iso(30)}&metrics=cpu`,
    );
    expect(json.points.cpu).toEqual([null, null, expect.closeTo(0.1)]);
  });

  test("goes with its domain", async () => {
    await start("a");
    await sampleAt(0);
    expect(recorder.objects()).toHaveLength(2);
    expect((await ask(service, "DELETE /v1/domains/a?force=true")).status).toBe(204);
    expect(recorder.objects()).toEqual([HOST]);
  });

  const refused: [string, string, string, string][] = [
    ["a metric that there is not", "metrics=cpu,heat", "bad-value", "metrics"],
    ["an end before the beginning", `from=${iso(10)}&to=${iso(10)}`, "bad-value", "from"],
    ["more points than one answer has", `from=${iso(-86_400 * 300)}&to=${iso(0)}`, "out-of-range", "step"],
    ["a time that is none", "from=yesterday", "bad-request", "from"],
    ["a step that is none", "step=0", "bad-request", "step"],
  ];
  test.each(refused)("refuses %s", async (_, query, code, field) => {
    const answer = await ask(service, `GET /v1/host/statistics/history?${query}`);
    expect([problem(answer), answer.json.field]).toEqual([code, field]);
  });

  test("a history that cannot be read is 503, and the service goes on", async () => {
    broken = true;
    const answer = await ask(service, "GET /v1/host/statistics/history");
    expect([answer.status, problem(answer)]).toEqual([503, "history-unavailable"]);
    expect((await ask(service, "GET /v1/host")).status).toBe(200);
  });

  test("where none is kept that is said", async () => {
    const without = await startService();
    expect(problem(await ask(without, "GET /v1/host/statistics/history"))).toBe("history-off");
    await without.close();
  });
});
