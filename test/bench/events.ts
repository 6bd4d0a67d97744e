/**
 * Event fan-out: what definitions made and deleted cost the service with no listener, with one and with a hundred.
 *
 * Run with `node test/bench/events.ts`, or all with `npm run bench`. The listeners read Server-Sent Events in this process.
 */
import type { Client } from "undici";
import { BenchService } from "./service.ts";

const DOMAINS = 1500;
const LANES = 8;

interface Cost {
  readonly events: number;
  readonly cpuSeconds: number;
  readonly seconds: number;
}

/** Opens a stream, and counts the events that come by it. */
async function listen(client: Client, counts: number[], index: number): Promise<void> {
  const answer = await client.request({
    method: "GET",
    path: "/v1/events?since=now",
    headers: { accept: "text/event-stream" },
  });
  answer.body.on("error", () => undefined);
  answer.body.on("data", (chunk: Buffer) => {
    for (let at = chunk.indexOf("event: domain"); at >= 0; at = chunk.indexOf("event: domain", at + 1)) counts[index]++;
  });
}

async function measure(service: BenchService, listeners: number): Promise<Cost> {
  const clients = Array.from({ length: listeners }, () => service.client());
  const counts = clients.map(() => 0);
  await Promise.all(clients.map((client, index) => listen(client, counts, index)));
  const cpu = service.cpuSeconds();
  const begin = performance.now();
  let next = 0;
  const lane = async () => {
    while (next < DOMAINS) {
      const name = `d${next++}`;
      await service.must("POST", "/v1/domains", { name, kernel: "builtin:demo", memoryMiB: 16, vcpus: 1 });
      await service.must("DELETE", `/v1/domains/${name}`);
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  while (counts.some((count) => count < 2 * DOMAINS)) await new Promise((resolve) => setTimeout(resolve, 5));
  const cost = {
    events: 2 * DOMAINS,
    cpuSeconds: service.cpuSeconds() - cpu,
    seconds: (performance.now() - begin) / 1000,
  };
  await Promise.all(clients.map((client) => client.destroy()));
  return cost;
}

const service = await BenchService.start();
try {
  await measure(service, 0);
  const costs = new Map<number, Cost>();
  for (const listeners of [0, 1, 100]) costs.set(listeners, await measure(service, listeners));
  const one = costs.get(1)!;
  for (const [listeners, { events, cpuSeconds, seconds }] of costs) {
    const each = (cpuSeconds / events) * 1e6;
    const ratio = (cpuSeconds / one.cpuSeconds).toFixed(2);
    console.log(
      `${listeners} listeners  ${(events / seconds).toFixed(0)} domain events a second, ${each.toFixed(0)} us of the service each, ${ratio} of one listener's`,
    );
  }
} finally {
  await service.stop();
}
