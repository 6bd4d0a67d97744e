/**
 * API reads: requests a second against a bare fastify server in the same run, and latency while guests spin.
 *
 * Run with `node test/bench/api.ts`, or all with `npm run bench`. Client and server are processes of their own.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { Client } from "undici";
import { BenchService, percentiles } from "./service.ts";

const SECONDS = 4;
const CONNECTIONS = 16;

interface Load {
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
}

/** GETs `path` over some keep-alive connections for some seconds. Latencies in ms. */
async function load(socketPath: string, path: string, connections = CONNECTIONS): Promise<Load> {
  const samples: number[] = [];
  const end = performance.now() + SECONDS * 1000;
  const lane = async () => {
    const client = new Client("http://localhost", { socketPath });
    while (performance.now() < end) {
      const begin = performance.now();
      const answer = await client.request({ method: "GET", path });
      await answer.body.dump();
      if (answer.statusCode !== 200) throw new Error(`GET ${path}: ${answer.statusCode}`);
      samples.push(performance.now() - begin);
    }
    await client.close();
  };
  await Promise.all(Array.from({ length: connections }, lane));
  return { perSecond: samples.length / SECONDS, ...percentiles(samples) };
}

function show(what: string, { perSecond, p50, p99 }: Load, reference?: Load): void {
  const ratio = reference ? `, ${(perSecond / reference.perSecond).toFixed(2)} of the reference` : "";
  console.log(`${what}  ${perSecond.toFixed(0)} a second, p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms${ratio}`);
}

/** A bare fastify server that answers a body of the same size, on a thread of its own. */
async function bareServer(body: string): Promise<{ socketPath: string; stop: () => Promise<number> }> {
  const folder = mkdtempSync(join(tmpdir(), "domzero-bare-"));
  const socketPath = join(folder, "bare.sock");
  const worker = new Worker(
    `const { workerData, parentPort } = require("node:worker_threads");
     const app = require("fastify")();
     app.get("/", (_, reply) => reply.type("application/json").send(workerData.body));
     app.listen({ path: workerData.socketPath }).then(() => parentPort.postMessage("up"));`,
    { eval: true, workerData: { body, socketPath } },
  );
  await new Promise((resolve) => worker.once("message", resolve));
  const stop = async () => {
    rmSync(folder, { recursive: true, force: true });
    return worker.terminate();
  };
  return { socketPath, stop };
}

const service = await BenchService.start({ DOMZERO_WORKERS: "2" });
const socketPath = join(service.stateDir, "domzero.sock");
try {
  await service.demo("quiet");
  const one = await service.call("GET", "/v1/domains/quiet");
  const bare = await bareServer(one.body);
  await load(bare.socketPath, "/", 4);
  const reference = await load(bare.socketPath, "/");
  await bare.stop();
  show("bare fastify, same body (reference)", reference);
  await load(socketPath, "/v1/domains/quiet", 4);
  show("GET /v1/domains/{name}", await load(socketPath, "/v1/domains/quiet"), reference);
  show("GET /v1/domains/{name}, one connection", await load(socketPath, "/v1/domains/quiet", 1));
  for (const name of ["spin-1", "spin-2"]) {
    await service.demo(name);
    await service.until(name, /demo> /);
    await service.type(name, "spin\r");
  }
  show("the same with two guests spinning on two workers", await load(socketPath, "/v1/domains/quiet", 1));
} finally {
  await service.stop();
}
