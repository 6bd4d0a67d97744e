/**
 * One guest worker: a physical CPU in Xen's words. Runs a hypervisor shard in a loop that never returns to the event loop.
 *
 * Each turn drains the lines (calls of the control plane, notifications from Domain 0, messages of other shards), then runs guests for
 * a moment, then, when none is runnable, sleeps until the next timer or a kick. A guest in an endless loop only ever costs this
 * thread its time.
 */
import { type MessagePort, workerData } from "node:worker_threads";
import { Shard } from "../hypervisor/shard.ts";
import type { ShardAddress, ShardHost, ShardMessage } from "../hypervisor/shard-host.ts";
import { machineClock } from "./clock.ts";
import type { WorkerLoad } from "./domctl.ts";
import { collectGarbage } from "./garbage.ts";
import { ShardControl, shutdownReason } from "./guest-control.ts";
import { drain, KickWord, Outbox } from "./mailbox.ts";
import type { GuestWorkerData, GuestWorkerEvents, GuestWorkerPort } from "./ports.ts";
import { isCall, serve } from "./rpc.ts";

/** How long guests run between two looks at the lines, in ns. */
const TURN_NS = 500_000;
/** The longest sleep, in ms: a bound for lost wake-ups that should not exist. */
const LONGEST_SLEEP_MS = 10_000;

const data = workerData as GuestWorkerData;
const kick = new KickWord(data.kick);
const now = machineClock(data.epoch);
const shardLines = new Map<number, Outbox>();
const incoming: MessagePort[] = [];
let servicesLine: MessagePort | undefined;
const started = now();
let idleNs = 0;
/** The kick word when the lines were last drained. */
let seen = -1;

/** One-way calls to the control plane. */
function tell<K extends keyof GuestWorkerEvents>(method: K, ...args: Parameters<GuestWorkerEvents[K]>): void {
  data.control.postMessage({ call: 0, method, args });
}

function toControlPlane(message: ShardMessage): void {
  switch (message.kind) {
    case "event":
      servicesLine?.postMessage(message);
      break;
    case "shutdown":
      tell("shutdown", message.domid, shutdownReason(message.reason), message.crash);
      break;
    case "destroyed":
      tell("destroyed", message.domid);
      break;
    case "debug-console":
      tell("log", "info", message.domid, `console_io: ${Buffer.from(message.bytes).toString("latin1")}`);
      break;
    default:
      tell("log", "error", null, `a shard sent Domain 0 an unexpected ${message.kind}`);
  }
}

const host: ShardHost = {
  now,
  wallClock: () => Date.now() * 1e6,
  send(to: ShardAddress, message: ShardMessage) {
    if (to === "dom0") toControlPlane(message);
    else shardLines.get(to)?.post(message);
  },
  interrupted: () => kick.read() !== seen,
  log: (level, domid, text) => tell("log", level, domid, text),
};

const shard = new Shard({ id: data.worker, module: data.module, host });

class WorkerControl extends ShardControl implements GuestWorkerPort {
  readonly collectGarbage = collectGarbage;

  ready(): void {}

  load(): WorkerLoad {
    return { upNs: now() - started, idleNs };
  }

  fail(why: string): never {
    throw new Error(why);
  }

  connect(peer: number | "services", port: MessagePort, peerKick: SharedArrayBuffer | undefined): void {
    incoming.push(port);
    if (peer === "services") servicesLine = port;
    else if (peerKick) shardLines.set(peer, new Outbox(port, peerKick));
  }
}

const control = new WorkerControl(shard);

function onControlMessage(message: unknown): void {
  if (isCall(message)) serve(control, message, (reply) => data.control.postMessage(reply));
}

function onShardMessage(message: unknown): void {
  shard.receive(message as ShardMessage);
}

for (;;) {
  const latest = kick.read();
  if (latest !== seen) {
    seen = latest;
    drain(data.control, onControlMessage);
    for (const line of incoming) drain(line, onShardMessage);
  }
  const next = shard.run(now() + TURN_NS);
  if (next === 0) continue;
  const asleep = now();
  kick.sleep(seen, Math.max(0, Math.min((next - asleep) / 1e6, LONGEST_SLEEP_MS)));
  idleNs += now() - asleep;
}
