/**
 * The services worker: Domain 0's services on a thread of their own, so that neither a guest's output nor the disk it goes to
 * ever holds up the control plane.
 *
 * An ordinary event loop. Guests' events are noted first and served once for each port, however often they were sent.
 */
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { machineClock } from "../machine/clock.ts";
import { collectGarbage } from "../machine/garbage.ts";
import { Outbox } from "../machine/mailbox.ts";
import type {
  Introduction,
  PortNotification,
  ServicesEvents,
  ServicesPort,
  ServicesWorkerData,
} from "../machine/ports.ts";
import { Rounds } from "../machine/rounds.ts";
import { isCall, type Methods, serve } from "../machine/rpc.ts";
import type { ChildrenPage, XenstoreWrite } from "../machine/xenstore-access.ts";
import { Bug } from "../xenstore/bug.ts";
import { Services, type ShutdownRequest } from "./services.ts";
import { XenstoreDoor } from "./xenstore-door.ts";

if (parentPort === null) throw new Bug("the services worker is the entry of a thread");
const controlPlane = parentPort;
const data = workerData as ServicesWorkerData;
const now = machineClock(data.epoch);
const rounds = new Rounds(data.rounds);

/** Lines to guest workers, and which of them runs a domain. */
const lines = new Map<number, Outbox>();
const workerOf = new Map<number, number>();
/** Events that are not served yet: port numbers by domain. */
const events = new Map<number, Set<number>>();

function tell<K extends keyof ServicesEvents>(method: K, ...args: Parameters<ServicesEvents[K]>): void {
  controlPlane.postMessage({ call: 0, method, args });
}

const services = new Services({
  notify(domid, port) {
    const worker = workerOf.get(domid);
    const line = worker === undefined ? undefined : lines.get(worker);
    line?.post({ kind: "event", domid, port } satisfies PortNotification);
  },
  now,
  wallClock: () => Date.now() * 1e6,
  consoleDir: data.consoleDir,
  onConsole: (domid, end) => tell("consoleGrew", domid, end),
  log: (level, domid, text) => tell("log", level, domid, text),
});

const door = new XenstoreDoor({
  xenstore: services.xenstore,
  now,
  changed: (watch, paths) => tell("xenstoreChanged", watch, paths),
});

const methods: ServicesPort = {
  ready() {},
  introduce(domain: Introduction) {
    workerOf.set(domain.domid, domain.worker);
    try {
      services.introduce(domain);
    } catch (error) {
      workerOf.delete(domain.domid);
      throw error;
    }
  },
  stopped: (domid: number) => services.stopped(domid),
  freeze: (domid: number) => services.freeze(domid),
  thaw: (domid: number) => services.thaw(domid),
  syncLogs: (domid?: number) => services.syncLogs(domid),
  release(domid: number) {
    services.release(domid);
    workerOf.delete(domid);
    events.delete(domid);
  },
  requestShutdown: (domid: number, how: ShutdownRequest) => services.setShutdown(domid, how),
  withdrawShutdown: (domid: number) => services.withdrawShutdown(domid),
  consoleInput: (domid: number, bytes: Uint8Array) => services.consoleInput(domid, bytes),
  xenstoreRead: (path: string, page: ChildrenPage) => door.xenstoreRead(path, page),
  xenstoreWrite: (writes: readonly XenstoreWrite[], home?: string) => door.xenstoreWrite(writes, home),
  xenstoreRemove: (path: string) => door.xenstoreRemove(path),
  xenstoreWatch: (watch: number, path: string) => door.xenstoreWatch(watch, path),
  xenstoreUnwatch: (watch: number) => door.xenstoreUnwatch(watch),
  connect(worker: number, port: MessagePort, kick: SharedArrayBuffer) {
    lines.set(worker, new Outbox(port, kick));
    port.on("message", (message: PortNotification) => {
      const ports = events.get(message.domid);
      if (ports === undefined) events.set(message.domid, new Set([message.port]));
      else ports.add(message.port);
      soon();
    });
  },
  collectGarbage,
};

let scheduled = false;
let timer: NodeJS.Timeout | undefined;

/** Serves what was noted when the messages at hand have all been read. */
function soon(): void {
  if (scheduled) return;
  scheduled = true;
  setImmediate(turn);
}

function turn(): void {
  scheduled = false;
  clearTimeout(timer);
  const noted = [...events];
  events.clear();
  rounds.begin();
  for (const [domid, ports] of noted) for (const port of ports) services.guestEvent(domid, port);
  const next = Math.min(services.run(), door.run());
  if (next === 0) soon();
  else if (next !== Number.POSITIVE_INFINITY) timer = setTimeout(soon, Math.max(0, (next - now()) / 1e6));
}

controlPlane.on("message", (message: unknown) => {
  if (!isCall(message)) return;
  serve(methods as ServicesPort & Methods<ServicesPort>, message, (reply) => controlPlane.postMessage(reply));
  soon();
});
