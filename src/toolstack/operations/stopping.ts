/**
 * The orderly end: what is under way is cancelled, everybody stands still, then one after the other is woken to be suspended to a file,
 * those with the highest stop priority first. Who is not in a file when the time is over ends with the service, named in the log and in
 * an event, and follows its `onHostCrash` at the next start. Who is in a file comes back by itself.
 */

import type { Domctl } from "../../machine/domctl.ts";
import { homeOf } from "../../xenstore/path.ts";
import type { DomainRecord } from "../model.ts";
import type { Clock, Log, Store } from "../ports.ts";
import { saveDomain } from "../views.ts";
import type { OperationQueues } from "./operation-queues.ts";
import { lostByHost } from "./runtime-records.ts";
import type { SuspendFiles } from "./suspend-files.ts";

/** Guests that are asked at a time: each is a file that is written. */
const AT_A_TIME = 4;
/** For what is under way to end, at most. */
const CANCEL_MS = 5000;
/** A guest that never said in control/feature-suspend that it can is asked all the same, and waited for so long. */
const UNLIKELY_MS = 5000;
/** Of the time left, what a guest may take while others wait: one that is silent keeps nobody else from a file. */
const MOST_OF_TIME = 0.25;
const POLL_MS = 20;

interface StoppingPorts {
  readonly store: Store;
  readonly domctl: Domctl;
  readonly clock: Clock;
  readonly log: Log;
  readonly queues: OperationQueues;
  readonly suspendFiles: SuspendFiles;
  /** For all of it; 0 suspends nobody. */
  readonly timeoutMs: number;
}

/** Nobody may submit operations any more. */
export async function stopOrderly(ports: StoppingPorts): Promise<void> {
  const { store, domctl, clock, log, queues, suspendFiles, timeoutMs } = ports;
  const deadline = clock.now() + timeoutMs;
  queues.cancelAll();
  const patience = clock.now() + CANCEL_MS;
  while (queues.size > 0 && clock.now() < patience) await clock.sleep(POLL_MS);

  /** Why a domain is not in a file. */
  const reasons = new Map<string, string>();
  if (timeoutMs > 0) {
    const queue = [...store.liveDomains()].sort((a, b) => b.stopPriority - a.stopPriority);
    await Promise.all(queue.map(({ domid }) => domctl.pause(domid ?? 0).catch(() => undefined)));
    const next = async (): Promise<void> => {
      for (let record = queue.shift(); record; record = queue.shift()) {
        const leftMs = deadline - clock.now();
        const reason = await suspend(ports, record, queue.length > 0 ? leftMs * MOST_OF_TIME : leftMs);
        if (reason) reasons.set(record.uuid, reason);
      }
    };
    await Promise.all(Array.from({ length: AT_A_TIME }, next));
  }

  const now = clock.now();
  const rest = store.liveDomains();
  for (const { uuid, name, onHostCrash } of rest) {
    const reason = reasons.get(uuid) ?? "The service stops without suspending domains.";
    log.warn({ domain: uuid, name, reason, onHostCrash }, "ends with the service");
  }
  if (rest.length === 0) return;
  await store.commit((writer) => {
    for (const record of rest) {
      const lost = lostByHost(record, "host-stopped", now, suspendFiles.exists(record.uuid), reasons.get(record.uuid));
      saveDomain(writer, lost, "host-stopped", now);
    }
  });
}

/** Why it could not be done, in words. */
async function suspend(ports: StoppingPorts, record: DomainRecord, leftMs: number): Promise<string | undefined> {
  const { domctl, queues } = ports;
  const { domid, state } = record;
  if (domid === null) return undefined;
  if (state === "crashed") return "Its guest had crashed.";
  if (leftMs <= 0) return "There was no time left to suspend it.";
  try {
    const able = await domctl.xenstore.read(`${homeOf(domid)}/control/feature-suspend`, { limit: 1 });
    const likely = able.ok && Buffer.from(able.value.value).toString() === "1";
    const timeoutMs = likely ? leftMs : Math.min(leftMs, UNLIKELY_MS);
    const woken = await domctl.unpause(domid);
    if (!woken.ok) return woken.detail;
    const returnsTo = state === "paused" ? "paused" : "running";
    const taken = await queues.submit(record, "host-suspend", { timeoutMs, returnsTo }, () => true);
    if (!taken.ok) return taken.detail;
    const { refusal } = await taken.value.finished;
    if (refusal?.code === "guest-silent" && !likely) return "Its guest cannot be suspended: it never offered it.";
    return refusal?.detail;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
