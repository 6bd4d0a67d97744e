/**
 * Random operations on up to 200 domains of a service that is killed again and again:
 * `node tools/soak.ts [--minutes N] [--seed S] [--rss-mib M] [--keep]`.
 *
 * Clients create, start, pause, suspend, resume, reboot, stop, delete, change and type, by themselves and in batches; the service is ended
 * by SIGKILL, by SIGTERM, by SIGKILL while it stops, and by SIGKILL while it recovers. After each restart everything that was
 * acknowledged has to be there, the events have to go on from the last token without a gap and to add up to what is listed, and nothing may
 * be left that is nobody's. Prints a line a minute; ends with 1 when anything was wrong. The seed decides what is asked and when it is
 * killed, not how the service's threads run.
 */
import { randomInt } from "node:crypto";
import { readFileSync } from "node:fs";
import { scheduler } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Random } from "../test/engine/vectors/random.ts";
import { brokenInvariants, listed, settled } from "../test/service/crash/invariants.ts";
import { compare } from "../test/service/soak/acknowledged.ts";
import { Client } from "../test/service/soak/client.ts";
import { type DomainSeen, EventFollower } from "../test/service/soak/event-follower.ts";
import { scratchFolder, WholeService } from "../test/service/whole-service.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "15" },
    seed: { type: "string", default: String(randomInt(2 ** 31)) },
    "rss-mib": { type: "string", default: "1024" },
    keep: { type: "boolean", default: false },
  },
});
const LANES = 8;
/** Between two requests of a lane, at most. */
const THINK_MS = 60;
const ROUND_MS = [3_000, 40_000] as const;
const STOP_SECONDS = 30;
const ENV = { DOMZERO_SAMPLE_SECONDS: "0", DOMZERO_STOP_TIMEOUT: String(STOP_SECONDS), LOG_LEVEL: "error" };

const endAt = performance.now() + Number(values.minutes) * 60_000;
const rssLimitMiB = Number(values["rss-mib"]);
const random = new Random(Number(values.seed));
const scratch = scratchFolder();
const client = new Client(new Random(random.u32()));
const broken: string[] = [];
const endings = new Map<string, number>();
let restarts = 0;
let mostRssMiB = 0;
let mostDomains = 0;
let mostLive = 0;
let longestStop = 0;

console.log(`seed ${values.seed}, ${values.minutes} minutes, ${LANES} clients, state in ${scratch.stateDir}`);
let service = await WholeService.start(scratch.stateDir, undefined, ENV);
const follower = await EventFollower.from(service);
const began = performance.now();
const timer = setInterval(() => console.log(`${minutes()} min: ${summary()}`), 60_000);
try {
  while (performance.now() < endAt && broken.length === 0) {
    await work(random.between(...ROUND_MS));
    await restart();
    await check();
  }
  if (broken.length === 0) {
    await end("SIGTERM");
    await startAgain();
    await check();
  }
} catch (error) {
  broken.push(String((error as Error).stack), service.err);
} finally {
  clearInterval(timer);
  await service.end();
}
console.log(`${minutes()} min: ${summary()}`);
console.log(`operations: ${told(client.tally.operations)}`);
console.log(`answers: ${told(client.tally.statuses)}`);
console.log(`endings: ${told(endings)}`);
for (const what of broken) console.log(`broken: ${what}`);
if (!values.keep && broken.length === 0) scratch.remove();
process.exitCode = broken.length > 0 ? 1 : 0;

/** Clients at work, until the service is told to end under their hands. */
async function work(ms: number): Promise<void> {
  const stop = new AbortController();
  const at = service;
  const lane = async () => {
    while (!stop.signal.aborted && (await client.act(at)))
      await scheduler.wait(random.below(THINK_MS), { signal: stop.signal }).catch(() => undefined);
  };
  const lanes = Array.from({ length: LANES }, lane);
  const following = follower.follow(at, stop.signal);
  await scheduler.wait(Math.min(ms, Math.max(0, endAt - performance.now())));
  if (at.ended) broken.push(`the service ended by itself: ${at.err}`);
  weigh();
  const { json } = await at.ask("GET /v1/host").catch(() => ({ json: { domains: 0 } }));
  mostLive = Math.max(mostLive, json.domains);
  client.ending = true;
  const how = random.pick(["SIGKILL", "SIGKILL", "SIGTERM", "SIGTERM, then SIGKILL"] as const);
  await end(how);
  stop.abort();
  await Promise.all(lanes);
  broken.push(...(await following), ...client.broken.splice(0));
}

async function end(how: "SIGKILL" | "SIGTERM" | "SIGTERM, then SIGKILL"): Promise<void> {
  endings.set(how, (endings.get(how) ?? 0) + 1);
  if (how === "SIGKILL") return service.end("SIGKILL");
  if (how === "SIGTERM") {
    const asked = performance.now();
    service.kill("SIGTERM");
    await service.exit();
    longestStop = Math.max(longestStop, (performance.now() - asked) / 1000);
    if (service.exitCode !== 0) broken.push(`the service stopped with ${service.exitCode}: ${service.err}`);
  } else {
    service.kill("SIGTERM");
    await scheduler.wait(random.below(1500));
  }
  await service.end("SIGKILL");
}

async function restart(): Promise<void> {
  await startAgain();
  while (random.chance(20)) {
    await scheduler.wait(random.below(300));
    endings.set("SIGKILL in recovery", (endings.get("SIGKILL in recovery") ?? 0) + 1);
    await service.end("SIGKILL");
    await startAgain();
  }
}

async function startAgain(): Promise<void> {
  restarts++;
  const { stateDir, port } = service;
  service = await WholeService.start(stateDir, port, ENV);
}

async function check(): Promise<void> {
  await settled(service);
  const domains = await listed<DomainSeen>(service, "/v1/domains");
  const compared = compare(client.domains, domains);
  broken.push(...(await brokenInvariants(service)), ...compared.broken, ...(await follower.audit(service, domains)));
  client.goOnWith(compared.kept);
  mostDomains = Math.max(mostDomains, domains.length);
  weigh();
}

function weigh(): void {
  if (service.ended) return;
  const status = readFileSync(`/proc/${service.pid}/status`, "utf8");
  const rssMiB = Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) / 1024;
  mostRssMiB = Math.max(mostRssMiB, rssMiB);
  if (rssMiB > rssLimitMiB) broken.push(`the service has ${Math.round(rssMiB)} MiB, above ${rssLimitMiB}`);
}

function summary(): string {
  const operations = [...client.tally.operations.values()].reduce((sum, count) => sum + count, 0);
  return `${operations} operations, ${restarts} restarts, ${client.domains.length} domains (${mostDomains} at most, ${mostLive} live), ${follower.count} events, ${Math.round(mostRssMiB)} MiB at most, ${longestStop.toFixed(1)} s the longest stop, ${broken.length} broken`;
}

function told(counts: ReadonlyMap<string, number>): string {
  return [...counts]
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([what, count]) => `${what} ${count}`)
    .join(", ");
}

function minutes(): string {
  return ((performance.now() - began) / 60_000).toFixed(1);
}
