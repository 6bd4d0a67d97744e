/**
 * What a domain costs: POST to first console byte, resident memory, a hypercall, and an idle guest's CPU.
 *
 * Run with `node test/bench/domains.ts`, or all with `npm run bench`.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { BenchService, percentiles } from "./service.ts";

const GOLDEN = join(import.meta.dirname, "../golden/demo-kernel-xen417.log");
const GOAL_MS = 50;
const WARM_UP = 5;
const CREATIONS = 30;
const IDLE_DOMAINS = 50;
const MEMORY_MIB = 16;

const service = await BenchService.start({ DOMZERO_WORKERS: "1" });
try {
  await firstByte();
  await hypercalls();
  await idle();
} finally {
  await service.stop();
}

/** The definition, the start and the wait for the first byte of output, as a client with one connection sees them. */
async function firstByte(): Promise<void> {
  const samples: number[] = [];
  for (let i = 0; i < WARM_UP + CREATIONS; i++) {
    const name = `first-${i}`;
    const begin = performance.now();
    await service.demo(name, MEMORY_MIB);
    await service.until(name, /./);
    if (i >= WARM_UP) samples.push(performance.now() - begin);
    await service.call("DELETE", `/v1/domains/${name}?force=true`);
  }
  const { p50, p99 } = percentiles(samples);
  console.log(
    `create to first console byte  p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms (${CREATIONS} domains); ratio to the goal of 50 ms ${(p50 / GOAL_MS).toFixed(2)}`,
  );
}

async function hypercalls(): Promise<void> {
  await service.demo("calls", MEMORY_MIB);
  const greeting = await service.until("calls", /demo> /);
  await service.type("calls", "hypercalls\r");
  const answer = await service.until("calls", /demo> /, Buffer.byteLength(greeting));
  // The same kernel's figures on the golden recording's host: real Xen 4.17 under QEMU's emulation.
  const reference = new Map(timings(readFileSync(GOLDEN, "utf8")));
  console.log("hypercall, ns; beside real Xen 4.17 under QEMU TCG as recorded in test/golden:");
  for (const [what, ns] of timings(answer)) {
    const theirs = reference.get(what);
    console.log(`  ${what.padEnd(44)} ${String(ns).padStart(6)}  ${theirs ? (ns / theirs).toFixed(2) : "-"}`);
  }
  await service.call("DELETE", "/v1/domains/calls?force=true");
}

/** Lines of the demo kernel's `hypercalls`: what was timed, and ns each. */
function timings(text: string): [string, number][] {
  return [...text.matchAll(/^ {2}(\S.*?) +(\d+) ns {2}->/gm)].map(([, what, ns]) => [what, Number(ns)]);
}

async function idle(): Promise<void> {
  const before = service.residentBytes();
  for (let i = 0; i < IDLE_DOMAINS; i++) await service.demo(`idle-${i}`, MEMORY_MIB);
  for (let i = 0; i < IDLE_DOMAINS; i++) await service.until(`idle-${i}`, /demo> /);
  const each = (service.residentBytes() - before) / IDLE_DOMAINS / 1024;
  console.log(
    `resident memory  ${each.toFixed(0)} KiB a domain, its touched pages included (${IDLE_DOMAINS} domains of ${MEMORY_MIB} MiB)`,
  );
  const { overheadBytes } =
    (await service.must<{ runtime?: { overheadBytes?: Record<string, number> } }>("GET", "/v1/domains/idle-0"))
      .runtime ?? {};
  for (const [part, bytes] of Object.entries(overheadBytes ?? {}))
    console.log(`  ${part}  ${(bytes / 1024).toFixed(0)} KiB`);
  const cpu = service.cpuSeconds();
  const seconds = 5;
  await sleep(seconds * 1000);
  const share = ((service.cpuSeconds() - cpu) / seconds) * 100;
  console.log(`idle CPU  ${share.toFixed(1)} % of one core for ${IDLE_DOMAINS} idle domains`);
}
