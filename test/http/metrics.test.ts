/** What Prometheus reads, line by line, and whether the service says that it is ready. */

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Metrics } from "../../src/http/metrics.ts";
import { Column, EXIT_COLUMNS, HYPERCALL_COLUMNS } from "../../src/hypervisor/statistics.ts";
import type { Toolstack } from "../../src/toolstack/toolstack.ts";
import { ask, definition, type Service, startService } from "./service.ts";

let service: Service;
beforeEach(async () => {
  service = await startService();
});
afterEach(() => service.close());

interface Scrape {
  /** Value by series, `name{labels}` as written. */
  readonly series: ReadonlyMap<string, number>;
  readonly types: ReadonlyMap<string, string>;
}

/** Reads the text format strictly: a family is said once, with help and type, and all its lines follow. */
async function scrape(): Promise<Scrape> {
  const answer = await ask(service, "GET /metrics");
  expect(answer.status).toBe(200);
  expect(answer.headers["content-type"]).toContain("text/plain");
  const series = new Map<string, number>();
  const types = new Map<string, string>();
  let family = "";
  for (const line of answer.text.split("\n")) {
    if (line === "" || line.startsWith("# HELP ")) continue;
    const type = /^# TYPE (\S+) (counter|gauge|histogram)$/.exec(line);
    if (type) {
      family = type[1]!;
      expect(types.has(family), `${family} is said once`).toBe(false);
      types.set(family, type[2]!);
      continue;
    }
    const value = /^([a-z_]+)(\{(?:[a-z_]+="(?:[^"\\]|\\.)*",?)*\})? (-?[0-9.e+-]+|\+Inf|NaN)$/.exec(line);
    expect(value, line).not.toBeNull();
    expect(value![1]!.startsWith(family), `${line} stands with ${family}`).toBe(true);
    const key = line.slice(0, line.lastIndexOf(" "));
    expect(series.has(key), `${key} is said once`).toBe(false);
    series.set(key, Number(value![3]));
  }
  return { series, types };
}

describe("metrics", () => {
  test("of a live domain: what it did, by cause and by name where there are several", async () => {
    const { json } = await ask(service, "POST /v1/domains", { body: definition("a", { start: true, vcpus: 2 }) });
    const { row } = service.domctl.byName("a");
    row[Column.running] = 1.5e9;
    row[Column.runnable] = 2e9;
    row[Column.upcalls] = 9;
    row[EXIT_COLUMNS[2]![0]] = 4;
    row[HYPERCALL_COLUMNS[29]![0]] = 6;
    const { series } = await scrape();
    const of = (name: string, more = "") => series.get(`domzero_domain_${name}{uuid="${json.uuid}",name="a"${more}}`);
    expect(of("cpu_seconds_total")).toBe(1.5);
    expect(of("steal_seconds_total")).toBe(2);
    expect(of("event_channel_upcalls_total")).toBe(9);
    expect(of("memory_bytes")).toBe(16 * 2 ** 20);
    expect(of("vcpus")).toBe(2);
    expect(of("exits_total", ',cause="page-fault"')).toBe(4);
    expect(of("hypercalls_total", ',hypercall="sched_op"')).toBe(6);
    expect([...series.keys()].filter((key) => key.startsWith("domzero_domain_hypercalls_total"))).toHaveLength(1);
  });

  test("of more domains than are written in one go", async () => {
    const names = Array.from({ length: 1203 }, (_, i) => `d${i}`);
    service.domctl.memoryTotalMiB = 2 ** 20;
    await Promise.all(
      names.map((name) => ask(service, "POST /v1/domains", { body: definition(name, { start: true }) })),
    );
    const { series } = await scrape();
    const memory = [...series].filter(([key]) => key.startsWith("domzero_domain_memory_bytes"));
    expect(memory.map(([key]) => /name="([^"]+)"/.exec(key)![1]).toSorted()).toEqual(names.toSorted());
    expect(series.get('domzero_domains{state="running"}')).toBe(1203);
  });

  test("of a domain that is halted there are none", async () => {
    await ask(service, "POST /v1/domains", { body: definition("a", { start: true }) });
    await ask(service, "POST /v1/domains/a/destroy");
    const { series } = await scrape();
    expect([...series.keys()].filter((key) => key.startsWith("domzero_domain_"))).toEqual([]);
    expect(series.get('domzero_domains{state="halted"}')).toBe(1);
  });

  test("of the service: requests, commits, events, workers, memory", async () => {
    await ask(service, "GET /v1/host");
    await ask(service, "GET /v1/domains/none-such");
    await ask(service, "POST /v1/domains", { body: definition("a", { start: true }) });
    const { series } = await scrape();
    const requests = (route: string, status: number) =>
      series.get(`domzero_http_request_duration_seconds_count{method="GET",route="${route}",status="${status}"}`);
    expect(requests("/v1/host", 200)).toBe(1);
    expect(requests("/v1/domains/:domain", 404)).toBe(1);
    expect(series.get('domzero_events_total{class="task",reason="succeeded"}')).toBe(1);
    expect(series.get('domzero_tasks{state="running"}')).toBe(0);
    const changes = series.get("domzero_store_commit_changes_sum")!;
    expect(changes).toBeGreaterThanOrEqual(series.get("domzero_store_commit_duration_seconds_count")!);
    expect(series.get("domzero_event_log_entries")).toBeGreaterThan(3);
    expect(series.get('domzero_worker_busy_seconds_total{worker="0"}')).toBe(6);
    expect(series.get('domzero_worker_idle_seconds_total{worker="0"}')).toBe(4);
    expect(series.get("domzero_memory_free_bytes")).toBe(1008 * 2 ** 20);
  });

  test("are those that are documented", async () => {
    await ask(service, "POST /v1/domains", { body: definition("a", { start: true }) });
    const { types } = await scrape();
    const families = new Metrics({} as Toolstack, false).families;
    expect(new Map(families.map(({ name, type }) => [name, type]))).toEqual(new Map(types));
  });

  test.each(new Metrics({} as Toolstack, false).families.map((family) => [family.name, family] as const))(
    "%s is named as Prometheus wants it",
    (name, { type, labels, help }) => {
      expect(name).toMatch(/^domzero_[a-z_]+$/);
      expect(name.endsWith("_total")).toBe(type === "counter");
      expect(name).not.toMatch(/_(ms|ns|kib|mib|milliseconds)(_|$)/);
      for (const label of labels) expect(label).toMatch(/^[a-z]+$/);
      expect(help).toMatch(/^[A-Zv].*\.$/);
    },
  );
});

describe("readiness", () => {
  test("a service that works is ready", async () => {
    const { status, json } = await ask(service, "GET /readyz");
    expect([status, json]).toEqual([200, { status: "ok", version: "0.0.0", reasons: [] }]);
  });

  test("one whose workers do not answer is alive and not ready, and says which", async () => {
    service.domctl.silentThreads = ["guest-0"];
    const { status, json } = await ask(service, "GET /readyz");
    expect([status, json.status]).toEqual([503, "failing"]);
    expect(json.reasons).toEqual(["The thread guest-0 has not answered within 2000 ms."]);
    expect((await ask(service, "GET /healthz")).status).toBe(200);
  });

  test("one whose store takes no writes is not ready", async () => {
    const broken = await startService();
    broken.store.close();
    const { status, json } = await ask(broken, "GET /readyz");
    expect([status, json.reasons]).toEqual([503, [expect.stringContaining("The store takes no writes: ")]]);
    await broken.app.close();
  });
});
