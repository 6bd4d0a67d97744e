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
import { OncePerRound, Rounds } from "./rounds.ts";
import { isCall, serve } from "./rpc.ts";

/** How long guests run between two looks at the lines, in ns. */
const TURN_NS = 500_000;
/** The longest sleep, in ms: a bound for lost wake-ups that should not exist. */
const LONGEST_SLEEP_MS = 10_000;

const data = workerData as GuestWorkerData;
const kick = new KickWord(data.kick);
const now = machineClock(data.epoch);
const rounds = new Rounds(data.rounds);

/** A line to another thread, on which a guest's notifications go. */
interface Line {
  readonly post: (message: ShardMessage) => void;
  readonly notifications: OncePerRound;
}

const shardLines = new Map<number, Line>();
const incoming: MessagePort[] = [];
let servicesLine: Line | undefined;
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
      if (servicesLine?.notifications.due(message.domid, message.port)) servicesLine.post(message);
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
    if (to === "dom0") return toControlPlane(message);
    const line = shardLines.get(to);
    if (message.kind === "notify" && !line?.notifications.due(message.remote.domid, message.remote.port)) return;
    line?.post(message);
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

  connect(peer: number, port: MessagePort, peerRounds: SharedArrayBuffer, peerKick: SharedArrayBuffer): void {
    incoming.push(port);
    const outbox = new Outbox(port, peerKick);
    shardLines.set(peer, {
      post: (message) => outbox.post(message),
      notifications: new OncePerRound(peerRounds),
    });
  }

  connectServices(port: MessagePort, servicesRounds: SharedArrayBuffer): void {
    incoming.push(port);
    servicesLine = {
      post: (message) => port.postMessage(message),
      notifications: new OncePerRound(servicesRounds),
    };
  }
}

const control = new WorkerControl(shard);

function onControlMessage(message: unknown): void {
  if (isCall(message)) serve(control, message, (reply) => data.control.postMessage(reply));
}

/** Messages that were taken and not yet acted upon. */
const taken: ShardMessage[] = [];
const take = (message: unknown) => taken.push(message as ShardMessage);

for (;;) {
  const latest = kick.read();
  if (latest !== seen) {
    seen = latest;
    drain(data.control, onControlMessage);
    for (const line of incoming) drain(line, take);
    rounds.begin();
    for (const message of taken.splice(0)) shard.receive(message);
  }
  const next = shard.run(now() + TURN_NS);
  if (next === 0) continue;
  const asleep = now();
  kick.sleep(seen, Math.max(0, Math.min((next - asleep) / 1e6, LONGEST_SLEEP_MS)));
  idleNs += now() - asleep;
}
