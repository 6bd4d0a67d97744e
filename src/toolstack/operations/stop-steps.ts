/** The steps that end an instance: the guest is asked and waited for, or it ended by itself; then everything is given back. */

import { gone, refusalOf } from "../domctl-refusal.ts";
import type { DomainRecord, LastCrash, StopReason } from "../model.ts";
import { refuse } from "../refusal.ts";
import { saveDomain } from "../views.ts";
import type { Instance } from "./instances.ts";
import type { DomainStep, OperationContext, OperationPorts } from "./operations.ts";
import { changeRuntime, halt, lostByHost, stopOf } from "./runtime-records.ts";
import { BY_REQUEST } from "./task-runner.ts";

/** A guest that restarts faster than this is slowed down to it. */
const LEAST_UPTIME_MS = 1000;
const DEFAULT_TIMEOUT_MS = 60_000;
/** For a guest that has taken a request to suspend, and has not done it when the time is over. */
const LAST_MOMENT_MS = 5000;

/** `goOn` lets a guest that has suspended go on in place. */
export function stopSteps(ports: OperationPorts, goOn: (uuid: string) => Promise<unknown>) {
  const { domctl, clock, instances, suspendFiles } = ports;

  const ask: DomainStep = {
    name: "ask",
    effect: (context) =>
      instances.ask(context.uuid, async (instance) => {
        instance.claimed = true;
        const refusal = refusalOf(await domctl.requestShutdown(instance.domid, context.row.asks ?? "poweroff"));
        if (!refusal || instance.end) return undefined;
        instance.claimed = false;
        return refusal;
      }),
    async undo(context) {
      const instance = instances.get(context.uuid);
      if (!instance) return;
      if (!instance.end && context.signal.reason === BY_REQUEST) await domctl.withdrawShutdown(instance.domid);
      if (!instance.claimed) return;
      // Cancelled before anybody waited for the guest.
      instance.claimed = false;
      if (instance.end) ports.onUnclaimedEnd(instance);
    },
  };

  const awaitGuest: DomainStep = {
    name: "await-guest",
    effect: (context) =>
      instances.ask(context.uuid, async (instance) => {
        const wanted = context.row.asks ?? "poweroff";
        const ms = context.timeoutMs ?? DEFAULT_TIMEOUT_MS;
        const settled = new AbortController();
        const signal = AbortSignal.any([context.signal, settled.signal]);
        await Promise.race([instance.ended, clock.sleep(ms, signal)]);
        settled.abort();
        if (!instance.end && wanted === "suspend") await stopAsking(instance, ms);
        if (instance.end?.reason === wanted) return undefined;
        instance.claimed = false;
        if (instance.end) ports.onUnclaimedEnd(instance);
        if (instance.end)
          return refuse(
            "guest-did-otherwise",
            `The guest was asked to ${wanted} and ended with ${instance.end.reason}.`,
          );
        if (context.signal.aborted) return refuse("cancelled", "The wait for the guest was ended by request.");
        return refuse(
          "guest-silent",
          `The guest was asked to ${wanted} and did not within ${ms / 1000} s; it runs on. destroy stops it at once.`,
          { limit: ms / 1000 },
        );
      }),
    async undo(context) {
      if (context.row.asks === "suspend") await goOn(context.uuid);
    },
  };

  /** A guest that has taken the request is on its way: it gets a last moment. Suspended after that, it goes on by itself. */
  async function stopAsking(instance: Instance, ms: number): Promise<void> {
    const answer = await domctl.withdrawShutdown(instance.domid);
    if (answer.ok && !answer.value.withdrawn)
      await Promise.race([instance.ended, clock.sleep(Math.min(ms, LAST_MOMENT_MS))]);
  }

  const teardown: DomainStep = {
    name: "teardown",
    final: true,
    async effect(context) {
      const instance = instances.get(context.uuid);
      if (instance) {
        context.lastStartedAt = instance.startedAt;
        if (!instance.lost) {
          const refusal = refusalOf(await domctl.destroy(instance.domid));
          if (refusal) return refusal;
        }
        instances.remove(instance);
      }
      suspendFiles.remove(context.uuid);
      return undefined;
    },
    record(context, writer) {
      const record = writer.domain(context.uuid);
      if (!record || record.state === "halted") return undefined;
      const cause = context.row.stop ?? context.end?.reason ?? "destroyed";
      const lastCrash = crashOf(context, record, clock.now());
      const lastStop = stopOf(record, cause, clock.now(), context.end?.detail);
      halt(writer, record, lastStop, stopEvent(cause), lastCrash && { lastCrash });
      return undefined;
    },
  };

  const lose: DomainStep = {
    name: "lose",
    final: true,
    async effect(context) {
      const instance = instances.get(context.uuid);
      if (instance) instances.remove(instance);
      return undefined;
    },
    record(context, writer) {
      const record = writer.domain(context.uuid);
      if (!record || record.domid === null) return undefined;
      const now = clock.now();
      const image = suspendFiles.exists(context.uuid);
      saveDomain(writer, lostByHost(record, "worker-lost", now, image, context.end?.detail), "worker-lost", now);
      return undefined;
    },
  };

  const preserve: DomainStep = {
    name: "preserve",
    final: true,
    record(context, writer) {
      const record = writer.domain(context.uuid);
      if (!record) return gone(context.uuid);
      const now = clock.now();
      const lastCrash = crashOf(context, record, now);
      const lastStop = stopOf(record, context.end?.reason ?? "crash", now, context.end?.detail);
      const change = { state: "crashed", lastStop, ...(lastCrash && { lastCrash }) } as const;
      changeRuntime(writer, record, "crashed", change, now);
      return undefined;
    },
  };

  const settle: DomainStep = {
    name: "settle",
    async effect(context) {
      const wait = (context.lastStartedAt ?? 0) + LEAST_UPTIME_MS - clock.now();
      if (wait > 0) await clock.sleep(wait, context.signal);
      return undefined;
    },
  };

  return { ask, "await-guest": awaitGuest, teardown, lose, preserve, settle };
}

function crashOf({ end }: OperationContext, record: DomainRecord, time: number): LastCrash | undefined {
  if (!end?.crash) return undefined;
  const { crash: report, consoleTail } = end;
  return { time, domid: record.domid ?? -1, report, ...(consoleTail !== undefined && { consoleTail }) };
}

/** Names of events for stops, where they differ from the reason. */
function stopEvent(reason: StopReason): string {
  return reason === "crash" || reason === "watchdog" ? "crashed" : reason === "poweroff" ? "powered-off" : reason;
}
