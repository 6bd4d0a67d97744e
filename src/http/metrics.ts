/** What Prometheus reads at /metrics. */

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import { POWER_STATES } from "../toolstack/model.ts";
import type { Toolstack } from "../toolstack/toolstack.ts";

export class Metrics {
  readonly #registry = new Registry();
  readonly #toolstack: Toolstack;
  readonly #requests: Histogram<"method" | "route" | "status">;
  readonly #domains: Gauge<"state">;
  readonly #memoryFree: Gauge;
  readonly #cpu: Counter<"uuid" | "name">;
  readonly #memory: Gauge<"uuid" | "name">;

  constructor(toolstack: Toolstack, ofProcess: boolean) {
    this.#toolstack = toolstack;
    const registers = [this.#registry];
    if (ofProcess) collectDefaultMetrics({ register: this.#registry });
    this.#requests = new Histogram({
      name: "domzero_http_request_seconds",
      help: "Requests by method, route and status, with their time to the last byte.",
      labelNames: ["method", "route", "status"],
      buckets: [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10],
      registers,
    });
    this.#domains = new Gauge({ name: "domzero_domains", help: "Domains by state.", labelNames: ["state"], registers });
    this.#memoryFree = new Gauge({
      name: "domzero_memory_free_bytes",
      help: "What new domains may still take.",
      registers,
    });
    this.#cpu = new Counter({
      name: "domzero_domain_cpu_seconds_total",
      help: "Processor time of live domains.",
      labelNames: ["uuid", "name"],
      registers,
    });
    this.#memory = new Gauge({
      name: "domzero_domain_memory_bytes",
      help: "Memory of live domains.",
      labelNames: ["uuid", "name"],
      registers,
    });
  }

  request(method: string, route: string | undefined, status: number, ms: number): void {
    this.#requests.observe({ method, route: route ?? "none", status: String(status) }, ms / 1000);
  }

  async render(): Promise<{ type: string; text: string }> {
    const { domains } = this.#toolstack;
    const counts = domains.counts();
    for (const state of POWER_STATES) this.#domains.set({ state }, counts[state] ?? 0);
    const host = await this.#toolstack.host();
    this.#memoryFree.set(host.memoryFreeMiB * 2 ** 20);
    this.#cpu.reset();
    this.#memory.reset();
    await Promise.all(
      domains.live().map(async (record) => {
        const runtime = await domains.runtime(record);
        if (!runtime) return;
        const labels = { uuid: record.uuid, name: record.name };
        this.#cpu.inc(labels, runtime.cpuTimeNs / 1e9);
        this.#memory.set(labels, runtime.memoryKiB * 1024);
      }),
    );
    return { type: this.#registry.contentType, text: await this.#registry.metrics() };
  }
}
