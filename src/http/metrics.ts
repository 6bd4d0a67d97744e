/**
 * What Prometheus reads at /metrics: the service's own metrics from a registry, those of domains as they are asked for.
 *
 * Labels are bounded: routes, not paths; states, not tasks. A domain's series end with its instance, and a reader sees its counters begin
 * anew.
 */

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import { POWER_STATES } from "../toolstack/model.ts";
import type { Snapshot } from "../toolstack/statistics/statistics.ts";
import type { Toolstack } from "../toolstack/toolstack.ts";
import { DOMAIN_FAMILIES, domainMetrics, type MetricFamily } from "./domain-metrics.ts";
import { EventLoopDelay } from "./event-loop-delay.ts";

const UNFINISHED = ["queued", "running"] as const;

export class Metrics {
  readonly #registry = new Registry();
  readonly #toolstack: Toolstack;
  readonly #families: MetricFamily[] = [];
  readonly #requests = this.#histogram(
    "domzero_http_request_duration_seconds",
    "Requests by method, route and status, with their time to the last byte.",
    ["method", "route", "status"],
    [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10],
  );
  /** Those of requests by what they are told apart by: looking them up by their labels costs more than the rest. */
  readonly #series = new Map<string, Histogram.Internal<"method" | "route" | "status">>();
  readonly #commits = this.#histogram(
    "domzero_store_commit_duration_seconds",
    "Transactions of the store, with their time until they were on the disk.",
    [],
    [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1],
  );
  readonly #changes = this.#histogram(
    "domzero_store_commit_changes",
    "Changes that one transaction took along.",
    [],
    [1, 2, 5, 10, 20, 50, 100, 200],
  );
  readonly #domains = this.#gauge("domzero_domains", "Domains by state.", ["state"]);
  readonly #tasks = this.#gauge("domzero_tasks", "Tasks that have not ended, by state.", ["state"]);
  readonly #eventsKept = this.#gauge("domzero_event_log_entries", "Events that the log holds.");
  readonly #events = this.#counter("domzero_events_total", "Events since the service started, by class and reason.", [
    "class",
    "reason",
  ]);
  readonly #delay = this.#gauge(
    "domzero_event_loop_delay_seconds",
    "How long the control plane's thread kept others waiting since it was last asked; quantile 1 is the longest.",
    ["quantile"],
  );
  readonly #eventLoop: EventLoopDelay | undefined;
  readonly #memoryTotal = this.#gauge("domzero_memory_total_bytes", "What domains may take together.");
  readonly #memoryFree = this.#gauge("domzero_memory_free_bytes", "What new domains may still take.");
  readonly #pool = this.#gauge("domzero_memory_pool_bytes", "Memories of domains that are gone, kept for the next.");
  readonly #busy = this.#counter("domzero_worker_busy_seconds_total", "Time that a guest worker ran.", ["worker"]);
  readonly #idle = this.#counter("domzero_worker_idle_seconds_total", "Time that a guest worker slept.", ["worker"]);

  constructor(toolstack: Toolstack, ofProcess: boolean) {
    this.#toolstack = toolstack;
    if (!ofProcess) return;
    this.#eventLoop = new EventLoopDelay();
    collectDefaultMetrics({ register: this.#registry });
  }

  /** Every metric that is not Node's own: for the documentation. */
  get families(): readonly MetricFamily[] {
    return [...this.#families, ...DOMAIN_FAMILIES];
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  request(method: string, route = "none", status: number, ms: number): void {
    const key = `${method} ${status} ${route}`;
    let series = this.#series.get(key);
    if (!series) {
      series = this.#requests.labels({ method, route, status: String(status) });
      this.#series.set(key, series);
    }
    series.observe(ms / 1000);
  }

  commit(seconds: number, changes: number): void {
    this.#commits.observe(seconds);
    this.#changes.observe(changes);
  }

  /** The text, in pieces; those of domains are made as they are read. */
  async render(): Promise<AsyncGenerator<string>> {
    const snapshot = await this.#toolstack.statistics.snapshot();
    this.#set(snapshot);
    const own = await this.#registry.metrics();
    return (async function* () {
      yield `${own}\n`;
      yield* domainMetrics(snapshot.domains);
    })();
  }

  #set({ host, workers }: Snapshot): void {
    const { domains, events } = this.#toolstack;
    const counts = domains.counts();
    for (const state of POWER_STATES) this.#domains.set({ state }, counts[state] ?? 0);
    const tasks = this.#toolstack.unfinishedTasks();
    for (const state of UNFINISHED) this.#tasks.set({ state }, tasks[state] ?? 0);
    for (const [quantile, seconds] of this.#eventLoop?.take() ?? []) this.#delay.set({ quantile }, seconds);
    this.#eventsKept.set(events.size());
    this.#events.reset();
    for (const { class: kind, reason, count } of events.counts()) this.#events.inc({ class: kind, reason }, count);
    this.#memoryTotal.set(host.memoryTotalMiB * 2 ** 20);
    this.#memoryFree.set(host.memoryFreeMiB * 2 ** 20);
    this.#pool.set(host.poolBytes);
    this.#busy.reset();
    this.#idle.reset();
    for (const { worker, upNs, idleNs } of workers) {
      this.#busy.inc({ worker }, (upNs - idleNs) / 1e9);
      this.#idle.inc({ worker }, idleNs / 1e9);
    }
  }

  #gauge<L extends string>(name: string, help: string, labelNames: L[] = []): Gauge<L> {
    this.#families.push({ name, type: "gauge", help, labels: labelNames });
    return new Gauge({ name, help, labelNames, registers: [this.#registry] });
  }

  #counter<L extends string>(name: string, help: string, labelNames: L[] = []): Counter<L> {
    this.#families.push({ name, type: "counter", help, labels: labelNames });
    return new Counter({ name, help, labelNames, registers: [this.#registry] });
  }

  #histogram<L extends string>(name: string, help: string, labelNames: L[], buckets: number[]): Histogram<L> {
    this.#families.push({ name, type: "histogram", help, labels: labelNames });
    return new Histogram({ name, help, labelNames, buckets, registers: [this.#registry] });
  }
}
