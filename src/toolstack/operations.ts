/**
 * Every operation on a domain as a list of steps: the table that the task runner runs and a restart rolls back by.
 *
 * A stop is torn down before the database says `halted`, and a start is in the database as `paused` before its first
 * instruction runs: whatever moment the process dies at, what is recorded as live is exactly what must be marked lost.
 */

import type { Domctl } from "../machine/domctl.ts";
import { fromDomctl, gone, refusalOf } from "./domctl-refusal.ts";
import { Instance, type InstanceEnd, type Instances } from "./instances.ts";
import type { Operation } from "./lifecycle.ts";
import type { DomainRecord, LastCrash, LastStop, StopReason, TaskResult } from "./model.ts";
import type { Clock, Log, Store, Writer } from "./ports.ts";
import { type Refusal, refuse } from "./refusal.ts";
import type { SuspendFiles } from "./suspend-files.ts";
import { suspendSteps } from "./suspend-steps.ts";
import { BY_REQUEST, cancelled, type Step } from "./task-runner.ts";
import { dropDomain, saveDomain } from "./views.ts";

export interface OperationPorts {
  readonly domctl: Domctl;
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
  readonly instances: Instances;
  readonly suspendFiles: SuspendFiles;
  /** Path of the file behind an image id or a built-in kernel; undefined when there is none. */
  imagePath(id: string): string | undefined;
  /** The rules for a configuration, against what is stored at that moment. */
  checkDefinition(record: DomainRecord, writer: Writer): Refusal | undefined;
  /** Drops what a domain left outside the database. */
  forget(uuid: string): void;
  /** A guest ended while an operation waited for it, and that operation does not deal with it. */
  onUnclaimedEnd(instance: Instance): void;
}

export interface OperationContext {
  readonly uuid: string;
  readonly signal: AbortSignal;
  /** Leave the domain paused before its first instruction. */
  readonly paused?: boolean;
  /** How long a clean shutdown or reboot waits for its guest. */
  readonly timeoutMs?: number;
  /** The definition, for `create`. */
  readonly definition?: DomainRecord;
  /** How the guest ended, for the operations that deal with that. */
  readonly end?: InstanceEnd;
  /** Set by `build`. */
  built?: Instance;
  /** Set by `teardown`: when the instance that it ended was started. */
  lastStartedAt?: number;
  /** What the operation has made. */
  result?: TaskResult;
}

type DomainStep = Step<OperationContext>;

/** A guest that restarts faster than this is slowed down to it. */
const LEAST_UPTIME_MS = 1000;
const DEFAULT_TIMEOUT_MS = 60_000;
/** For a guest that has taken a request to suspend, and has not done it when the time is over. */
const LAST_MOMENT_MS = 5000;

export type TaskOperation = Operation | "create" | "guest-crash-restart" | "guest-crash-preserve";

export function operationTable(ports: OperationPorts): Readonly<Record<TaskOperation, readonly DomainStep[]>> {
  const { domctl, store, clock, instances } = ports;

  const define: DomainStep = {
    name: "define",
    record(context, writer) {
      if (!context.definition) return refuse("internal", "There is no definition to create from.");
      const refusal = ports.checkDefinition(context.definition, writer);
      if (refusal) return refusal;
      saveDomain(writer, context.definition, "created", clock.now(), "add");
      return undefined;
    },
    undoRecord(context, writer, why) {
      const record = writer.domain(context.uuid);
      // Whoever destroys a domain while it is made wants it stopped, not gone; whoever cancels its making does not want it.
      const destroyed = why.code === "cancelled" && context.signal.reason !== BY_REQUEST;
      if (record && !destroyed) dropDomain(writer, record, why.code, clock.now());
    },
  };

  const build: DomainStep = {
    name: "build",
    async effect(context) {
      const record = store.domain(context.uuid);
      if (!record) return gone(context.uuid);
      const kernel = ports.imagePath(record.kernel);
      if (!kernel)
        return refuse("image-unknown", `The kernel image ${record.kernel} is not there.`, { field: "kernel" });
      const ramdisk = record.ramdisk === null ? undefined : ports.imagePath(record.ramdisk);
      if (record.ramdisk !== null && !ramdisk)
        return refuse("image-unknown", `The ramdisk image ${record.ramdisk} is not there.`, { field: "ramdisk" });
      const { uuid, name, cmdline, memoryMiB, maxMemoryMiB, vcpus } = record;
      const spec = { uuid, name, kernel, cmdline, memoryMiB, maxMemoryMiB, vcpus, ...(ramdisk && { ramdisk }) };
      const made = await domctl.create(spec);
      if (!made.ok) return fromDomctl(made);
      context.built = new Instance(uuid, made.value.domid, clock.now());
      context.result = { ...context.result, domid: made.value.domid };
      instances.add(context.built);
      return context.signal.aborted ? cancelled() : undefined;
    },
    async undo(context) {
      if (!context.built) return;
      instances.remove(context.built);
      await domctl.destroy(context.built.domid);
    },
  };

  const admit: DomainStep = {
    name: "admit",
    record(context, writer) {
      const record = writer.domain(context.uuid);
      if (!record || !context.built) return gone(context.uuid);
      changeRuntime(writer, record, "built", {
        state: "paused",
        domid: context.built.domid,
        bootEpoch: store.bootEpoch,
        startedAt: context.built.startedAt,
      });
      return undefined;
    },
    undoRecord(context, writer, why) {
      const record = writer.domain(context.uuid);
      if (record && record.state !== "halted") halt(writer, record, stop(record, "destroyed", why.detail), why.code);
    },
  };

  const release: DomainStep = {
    name: "release",
    final: true,
    async effect(context) {
      if (context.paused || !context.built) return undefined;
      return refusalOf(await domctl.unpause(context.built.domid));
    },
    record(context, writer) {
      const record = writer.domain(context.uuid);
      if (record && !context.paused) changeRuntime(writer, record, "started", { state: "running" });
      return undefined;
    },
  };

  const pauseGuest: DomainStep = {
    name: "pause",
    final: true,
    effect: (context) => withInstance(context, async (instance) => refusalOf(await domctl.pause(instance.domid))),
    record: (context, writer) => setState(context, writer, "paused", "paused"),
  };

  const unpauseGuest: DomainStep = {
    name: "unpause",
    final: true,
    effect: (context) => withInstance(context, async (instance) => refusalOf(await domctl.unpause(instance.domid))),
    record: (context, writer) => setState(context, writer, "running", "unpaused"),
  };

  const ask = (how: "poweroff" | "reboot" | "suspend"): DomainStep => ({
    name: `ask-${how}`,
    effect: (context) =>
      withInstance(context, async (instance) => {
        instance.claimed = true;
        const refusal = refusalOf(await domctl.requestShutdown(instance.domid, how));
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
  });

  const awaitGuest = (wanted: "poweroff" | "reboot" | "suspend"): DomainStep => ({
    name: "await-guest",
    effect: (context) =>
      withInstance(context, async (instance) => {
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
      if (wanted === "suspend") await sleeping.goOn(context.uuid);
    },
  });

  /** A guest that has taken the request is on its way: it gets a last moment. Suspended after that, it goes on by itself. */
  async function stopAsking(instance: Instance, ms: number): Promise<void> {
    const answer = await domctl.withdrawShutdown(instance.domid);
    if (answer.ok && !answer.value.withdrawn)
      await Promise.race([instance.ended, clock.sleep(Math.min(ms, LAST_MOMENT_MS))]);
  }

  /** Gives back everything that the instance holds; `reason` names the stop, else the guest's own end does. */
  const teardown = (reason?: StopReason): DomainStep => ({
    name: "teardown",
    final: true,
    async effect(context) {
      const instance = instances.get(context.uuid);
      if (!instance) return undefined;
      context.lastStartedAt = instance.startedAt;
      if (!instance.lost) {
        const refusal = refusalOf(await domctl.destroy(instance.domid));
        if (refusal) return refusal;
      }
      instances.remove(instance);
      return undefined;
    },
    record(context, writer) {
      const record = writer.domain(context.uuid);
      if (!record || record.state === "halted") return undefined;
      const cause = reason ?? context.end?.reason ?? "destroyed";
      const lastCrash = crashOf(context, record);
      halt(writer, record, stop(record, cause, context.end?.detail), stopEvent(cause), lastCrash && { lastCrash });
      return undefined;
    },
  });

  const preserve: DomainStep = {
    name: "preserve",
    final: true,
    record(context, writer) {
      const record = writer.domain(context.uuid);
      if (!record) return gone(context.uuid);
      const lastCrash = crashOf(context, record);
      changeRuntime(writer, record, "crashed", {
        state: "crashed",
        lastStop: stop(record, context.end?.reason ?? "crash", context.end?.detail),
        ...(lastCrash && { lastCrash }),
      });
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

  const forget: DomainStep = {
    name: "forget",
    final: true,
    record(context, writer) {
      const record = writer.domain(context.uuid);
      if (!record) return gone(context.uuid);
      dropDomain(writer, record, "deleted", clock.now());
      return undefined;
    },
  };

  const clear: DomainStep = {
    name: "clear",
    final: true,
    async effect(context) {
      ports.forget(context.uuid);
      return undefined;
    },
  };

  const sleeping = suspendSteps(ports, {
    changeRuntime,
    halt: (writer, record, why) => halt(writer, record, stop(record, "destroyed", why.detail), why.code),
  });
  const { save, putAway, load, admitLoaded, spend, dropFile, goOnInPlace } = sleeping;

  const boot = [build, admit, release];
  const reboot = [teardown("reboot"), settle, ...boot];
  return {
    create: [define, ...boot],
    start: boot,
    pause: [pauseGuest],
    unpause: [unpauseGuest],
    shutdown: [ask("poweroff"), awaitGuest("poweroff"), teardown("poweroff")],
    reboot: [ask("reboot"), awaitGuest("reboot"), teardown("reboot"), ...boot],
    suspend: [ask("suspend"), awaitGuest("suspend"), save, putAway],
    resume: [load, admitLoaded, spend, release, dropFile],
    destroy: [teardown("destroyed"), dropFile],
    delete: [forget, clear],
    "force-delete": [teardown("destroyed"), forget, clear],
    "guest-poweroff": [teardown()],
    "guest-reboot": reboot,
    "guest-suspend": [goOnInPlace],
    "guest-crash": [teardown()],
    "guest-crash-restart": [teardown(), settle, ...boot],
    "guest-crash-preserve": [preserve],
    "worker-lost": [teardown()],
  };

  function withInstance(
    context: OperationContext,
    act: (instance: Instance) => Promise<Refusal | undefined>,
  ): Promise<Refusal | undefined> {
    const instance = instances.get(context.uuid);
    if (instance) return act(instance);
    return Promise.resolve(refuse("wrong-state", "The domain has no running instance."));
  }

  function setState(
    context: OperationContext,
    writer: Writer,
    state: "running" | "paused",
    reason: string,
  ): Refusal | undefined {
    const record = writer.domain(context.uuid);
    if (!record) return gone(context.uuid);
    changeRuntime(writer, record, reason, { state });
    return undefined;
  }

  function changeRuntime(writer: Writer, record: DomainRecord, reason: string, change: Partial<DomainRecord>): void {
    const now = clock.now();
    const next = { ...record, ...change, runtimeVersion: record.runtimeVersion + 1, changedAt: now };
    saveDomain(writer, next, reason, now);
  }

  function halt(
    writer: Writer,
    record: DomainRecord,
    lastStop: LastStop,
    reason: string,
    more: Partial<DomainRecord> = {},
  ): void {
    changeRuntime(writer, record, reason, {
      ...more,
      state: "halted",
      domid: null,
      bootEpoch: null,
      startedAt: null,
      lastStop,
    });
  }

  function crashOf({ end }: OperationContext, record: DomainRecord): LastCrash | undefined {
    if (!end?.crash) return undefined;
    const { crash: report, consoleTail } = end;
    return { time: clock.now(), domid: record.domid ?? -1, report, ...(consoleTail !== undefined && { consoleTail }) };
  }

  function stop(record: DomainRecord, reason: StopReason, detail?: string): LastStop {
    return { reason, time: clock.now(), domid: record.domid ?? -1, ...(detail && { detail }) };
  }
}

/** The record of a domain whose instance is gone with an earlier run of the service, or goes with this one. */
export function haltedByHost(
  record: DomainRecord,
  reason: "host-stopped" | "host-restarted",
  now: number,
): DomainRecord {
  return {
    ...record,
    state: "halted",
    domid: null,
    bootEpoch: null,
    startedAt: null,
    lastStop: { reason, time: now, domid: record.domid ?? -1 },
    runtimeVersion: record.runtimeVersion + 1,
    changedAt: now,
  };
}

/** Names of events for stops, where they differ from the reason. */
function stopEvent(reason: StopReason): string {
  return reason === "crash" || reason === "watchdog" ? "crashed" : reason === "poweroff" ? "powered-off" : reason;
}
