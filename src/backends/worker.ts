/**
 * The services worker: Domain 0's xenstore and console back ends on a thread of their own, so that neither a guest's traffic nor its
 * log files hold up HTTP or another guest's CPU.
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
import { isCall, serve } from "../machine/rpc.ts";
import { Services } from "./services.ts";

const data = workerData as ServicesWorkerData;
const control = parentPort!;
const now = machineClock(data.epoch);
const guestWorkers = new Map<number, Outbox>();
const workerOf = new Map<number, number>();
let timer: NodeJS.Timeout | undefined;
let due: NodeJS.Immediate | undefined;

function tell<K extends keyof ServicesEvents>(method: K, ...args: Parameters<ServicesEvents[K]>): void {
  control.postMessage({ call: 0, method, args });
}

const services = new Services({
  now,
  wallClock: () => Date.now() * 1e6,
  consoleDir: data.consoleDir,
  notify(domid, port) {
    const worker = workerOf.get(domid);
    if (worker === undefined) return;
    guestWorkers.get(worker)?.post({ kind: "event", domid, port } satisfies PortNotification);
  },
  onConsole: (domid, end) => tell("consoleGrew", domid, end),
  log: (level, domid, text) => tell("log", level, domid, text),
});

/** Has `Services.run` called when it wants to be: once in a turn of the event loop, however much it was told. */
function runSoon(): void {
  due ??= setImmediate(() => {
    due = undefined;
    clearTimeout(timer);
    const next = services.run();
    if (next === 0) runSoon();
    else if (next !== Number.POSITIVE_INFINITY) timer = setTimeout(runSoon, Math.max(1, (next - now()) / 1e6));
  });
}

const port: ServicesPort = {
  introduce(domain: Introduction) {
    workerOf.set(domain.domid, domain.worker);
    services.introduce(domain);
  },
  stopped: (domid) => services.stopped(domid),
  release(domid) {
    services.release(domid);
    workerOf.delete(domid);
  },
  requestShutdown: (domid, how) => services.setShutdown(domid, how),
  consoleInput: (domid, bytes) => services.consoleInput(domid, bytes),
  connect(worker, line: MessagePort, kick) {
    guestWorkers.set(worker, new Outbox(line, kick));
    line.on("message", (message: PortNotification) => {
      services.guestEvent(message.domid, message.port);
      runSoon();
    });
  },
  collectGarbage,
};

control.on("message", (message: unknown) => {
  if (!isCall(message)) return;
  serve(port, message, (reply) => control.postMessage(reply));
  runSoon();
});
