/**
 * Event channels: what a round trip between two domains costs when one worker runs both and when each has its own, beside two bare
 * threads that wake each other with Atomics in the same run; then a hypercall that does nothing, and mmu_update, as a guest sees them.
 *
 * Run with `node test/bench/event-channels.ts`, or all with `npm run bench`. The guests are guests/ping-pong.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { BenchService } from "./service.ts";

const KERNEL = join(import.meta.dirname, "guests/ping-pong/ping-pong.elf");
const ROUND_TRIPS = 20_000;
/** Before the domains' runs, and as many after: how busy the host is changes all of them. */
const REFERENCE_RUNS = 3;
const HYPERCALL_RUNS = 5;
const MEMORY_MIB = 16;
const PORT = /port (\d+)\r\n|failed:.*\n/;
const END = /the end\r\n|failed:.*\n/;

interface Placed {
  readonly runtime: { readonly domid: number; readonly worker: number };
}

await betweenDomains(1);
await betweenDomains(2);
await hypercalls();

/** Median, least and most of samples. */
function spread(samples: readonly number[]): { median: number; text: string } {
  const sorted = samples.toSorted((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)];
  return { median, text: `${median.toFixed(0)} ns (${sorted[0].toFixed(0)} to ${sorted.at(-1)!.toFixed(0)})` };
}

interface ThreadRun {
  readonly ns: number;
  /** Share of the waits that slept: in the others the answer was there already. */
  readonly slept: number;
}

/** A round trip between two threads: each sleeps in Atomics.wait until the other has counted up. */
async function betweenThreads(): Promise<ThreadRun> {
  const words = new SharedArrayBuffer(8);
  const code = `
    const { workerData: { words, mine, count, warmUp }, parentPort } = require("node:worker_threads");
    const word = new Int32Array(words);
    let begin = 0, slept = 0;
    const wait = (other, seen) => { if (Atomics.wait(word, other, seen) === "ok") slept++; };
    for (let i = 0; i < warmUp + count; i++) {
      if (i === warmUp) { begin = performance.now(); slept = 0; }
      if (mine === 1) wait(0, i);
      Atomics.add(word, mine, 1);
      Atomics.notify(word, mine);
      if (mine === 0) wait(1, i);
    }
    parentPort.postMessage({ ns: ((performance.now() - begin) * 1e6) / count, slept: slept / count });`;
  const side = (mine: number) =>
    new Promise<ThreadRun>((resolve, reject) => {
      const workerData = { words, mine, count: ROUND_TRIPS, warmUp: 2000 };
      const worker = new Worker(code, { eval: true, workerData });
      worker.once("message", resolve);
      worker.once("error", reject);
    });
  const [first, second] = await Promise.all([side(0), side(1)]);
  return { ns: first.ns, slept: (first.slept + second.slept) / 2 };
}

async function referenceRuns(): Promise<ThreadRun[]> {
  const runs: ThreadRun[] = [];
  for (let i = 0; i < REFERENCE_RUNS; i++) runs.push(await betweenThreads());
  return runs;
}

/** A fresh service hands out domids from 1 on, so each command line can name a domain that is yet to come. */
async function betweenDomains(workers: number): Promise<void> {
  const reference = await referenceRuns();
  const service = await BenchService.start({ DOMZERO_WORKERS: String(workers) });
  let each: number[];
  let polls: number;
  try {
    const { id } = await service.must<{ id: string }>(
      "POST",
      "/v1/images?kind=kernel",
      new Uint8Array(readFileSync(KERNEL)),
    );
    const listener = await start(service, id, "listener", 1, "listen 2");
    const [, port] = PORT.exec(await service.until("listener", PORT))!;
    if (port === undefined) throw new Error("the listener offers no port");
    const pinger = await start(service, id, "pinger", 2, `ping 1 ${port} ${ROUND_TRIPS}`);
    if ((listener === pinger) !== (workers === 1)) throw new Error(`placed on workers ${listener} and ${pinger}`);
    const said = await service.until("pinger", END);
    each = [...said.matchAll(/(\d+) ns each/g)].map(([, ns]) => Number(ns));
    if (each.length === 0) throw new Error(`the pinger measured nothing: ${said}`);
    polls = await pollsPerSend(service, "listener");
  } finally {
    await service.stop();
  }
  reference.push(...(await referenceRuns()));
  const slept = reference.reduce((sum, run) => sum + run.slept, 0) / reference.length;
  const workerText = workers === 1 ? "one worker" : "two workers";
  console.log(
    `round trip of two domains on ${workerText}  ${spread(each).text}, ${each.length} runs of ${ROUND_TRIPS}; ${polls.toFixed(2)} SCHEDOP_poll an answer`,
  );
  console.log(
    `  two threads, Atomics.wait and notify (reference)  ${spread(reference.map(({ ns }) => ns)).text}, before and after; ${(slept * 100).toFixed(0)} % of the waits slept`,
  );
}

interface Counters {
  readonly counters: readonly { readonly name: string; readonly subops: readonly { name: string; count: number }[] }[];
}

/** How often a domain went to sleep for each event that it sent; below 1 the next event was there before it asked. */
async function pollsPerSend(service: BenchService, name: string): Promise<number> {
  const { counters } = await service.must<Counters>("GET", `/v1/domains/${name}/hypercalls`);
  const count = (call: string, subop: string) =>
    counters.find((row) => row.name === call)?.subops.find((row) => row.name === subop)?.count ?? 0;
  return count("sched_op", "poll") / count("event_channel_op", "send");
}

/** Starts a domain that must get `domid`; gives the worker that it was placed on. */
async function start(
  service: BenchService,
  kernel: string,
  name: string,
  domid: number,
  cmdline: string,
): Promise<number> {
  await service.must("POST", "/v1/domains", { name, kernel, memoryMiB: MEMORY_MIB, vcpus: 1, cmdline, start: true });
  const { runtime } = await service.must<Placed>("GET", `/v1/domains/${name}`);
  if (runtime.domid !== domid) throw new Error(`${name} is domain ${runtime.domid}, not ${domid}`);
  return runtime.worker;
}

/** The demo kernel's own figures, ns a call; its first run warms up. */
async function hypercalls(): Promise<void> {
  const service = await BenchService.start({ DOMZERO_WORKERS: "1" });
  const runs: string[] = [];
  try {
    await service.demo("calls", MEMORY_MIB);
    let offset = Buffer.byteLength(await service.until("calls", /demo> /));
    for (let i = 0; i <= HYPERCALL_RUNS; i++) {
      await service.type("calls", "hypercalls\r");
      const said = await service.until("calls", /demo> /, offset);
      offset += Buffer.byteLength(said);
      if (i > 0) runs.push(said);
    }
  } finally {
    await service.stop();
  }
  const cost = (call: string) =>
    spread(
      runs.map((said) => {
        const line = said.split("\n").find((one) => one.trim().startsWith(`${call} `));
        const ns = Number(/(\d+) ns/.exec(line ?? "")?.[1]);
        if (!(ns > 0)) throw new Error(`no figure for ${call}: ${said}`);
        return ns;
      }),
    );
  const show = (what: string, call: string, updates: number) => {
    const { median, text } = cost(call);
    console.log(`${what}  ${((updates / median) * 1e3).toFixed(2)} M updates a second; a call ${text}`);
  };
  console.log(`null hypercall (xen_version)  ${cost("xen_version").text}, ${HYPERCALL_RUNS} runs`);
  show("mmu_update of an entry as it is, one a call", "mmu_update, 1 entry", 1);
  show("mmu_update of an entry as it is, 32 a call", "mmu_update, 32 entries", 32);
}
