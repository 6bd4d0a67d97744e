/**
 * The steps that put a domain to sleep in a file and wake it up from there.
 *
 * A domain is in the database as `suspended` only while its file is whole and on the disk; what fails before that leaves it running, in
 * place. What fails on the way back leaves it suspended.
 */

import { fromDomctl, gone, refusalOf } from "../domctl-refusal.ts";
import { type Refusal, refuse } from "../refusal.ts";
import { domainSpec } from "./domain-spec.ts";
import { admitBuilt, adopt, giveBack } from "./made-instance.ts";
import type { DomainStep, OperationPorts } from "./operations.ts";
import { changeRuntime, halt, NOT_LIVE, stopOf } from "./runtime-records.ts";
import { cancelled } from "./task-runner.ts";

/** A guest that suspends itself over and over is slowed down to one round in this time. */
const LEAST_ASLEEP_MS = 1000;

export function suspendSteps(ports: OperationPorts) {
  const { domctl, store, clock, log, instances, suspendFiles } = ports;

  /** A suspended guest goes on where it is. Nothing for one that is not suspended. */
  async function goOn(uuid: string): Promise<Refusal | undefined> {
    const instance = instances.get(uuid);
    if (instance?.end?.reason !== "suspend" || instance.lost) return undefined;
    instance.goOn();
    return refusalOf(await domctl.resume(instance.domid));
  }

  /** The file of a domain that the host would restore stays while it runs. */
  const isRestorePoint = (uuid: string): boolean => store.domain(uuid)?.onHostCrash === "restore";

  const goOnInPlace: DomainStep = {
    name: "go-on",
    final: true,
    async effect(context) {
      await clock.sleep(LEAST_ASLEEP_MS, context.signal);
      return goOn(context.uuid);
    },
  };

  const save: DomainStep = {
    name: "save",
    async effect(context) {
      const instance = instances.get(context.uuid);
      if (!instance) return refuse("wrong-state", "The domain has no running instance.");
      const saved = await domctl.suspend(instance.domid, suspendFiles.path(context.uuid));
      if (!saved.ok) return fromDomctl(saved);
      if (context.signal.aborted) return cancelled();
      context.result = { ...context.result, ...saved.value };
      return undefined;
    },
    async undo(context) {
      if (!isRestorePoint(context.uuid)) suspendFiles.remove(context.uuid);
    },
    record(context, writer) {
      const record = writer.domain(context.uuid);
      if (!record) return gone(context.uuid);
      const now = clock.now();
      const { returnsTo } = context;
      const lastStop = { ...stopOf(record, context.row.stop ?? "suspend", now), ...(returnsTo && { returnsTo }) };
      changeRuntime(writer, record, "suspended", { state: "suspended", ...NOT_LIVE, lastStop }, now);
      return undefined;
    },
    undoRecord(context, writer) {
      const record = writer.domain(context.uuid);
      const instance = instances.get(context.uuid);
      // After a restart there is no instance, and the file is whole: it stays suspended.
      if (record?.state !== "suspended" || !instance) return;
      const { domid, startedAt } = instance;
      const change = { state: "running", domid, bootEpoch: store.bootEpoch, startedAt } as const;
      changeRuntime(writer, record, "resumed", change, clock.now());
    },
  };

  /** The instance that was saved gives its memory back. The domain is suspended whatever becomes of it. */
  const putAway: DomainStep = {
    name: "put-away",
    final: true,
    async effect(context) {
      const instance = instances.get(context.uuid);
      if (!instance) return undefined;
      instances.remove(instance);
      const result = instance.lost
        ? undefined
        : await domctl.destroy(instance.domid).catch((err) => ({ ok: false, err }));
      if (result && !result.ok) log.error({ domain: context.uuid, result }, "the saved instance cannot be destroyed");
      return undefined;
    },
  };

  const load: DomainStep = {
    name: "load",
    async effect(context) {
      const record = store.domain(context.uuid);
      if (!record) return gone(context.uuid);
      const { uuid } = record;
      // Files that it once booted from are named to the guest, not read.
      const kernel = ports.imagePath(record.kernel) ?? record.kernel;
      const ramdisk = record.ramdisk === null ? undefined : (ports.imagePath(record.ramdisk) ?? record.ramdisk);
      const made = await domctl.restore(domainSpec(record, kernel, ramdisk), suspendFiles.path(uuid));
      return adopt(ports, context, record, made);
    },
    undo: (context) => giveBack(ports, context),
  };

  const admitLoaded: DomainStep = {
    name: "admit-loaded",
    record: (context, writer) => admitBuilt(ports, context, writer, "loaded"),
    undoRecord(context, writer, why) {
      const record = writer.domain(context.uuid);
      if (!record || record.domid === null) return;
      const now = clock.now();
      if (suspendFiles.exists(context.uuid))
        changeRuntime(writer, record, why.code, { state: "suspended", ...NOT_LIVE }, now);
      // It may have run, and is lost as every guest that ran is.
      else if (context.mayHaveRun) changeRuntime(writer, record, "started", { state: "running" }, now);
      else halt(writer, record, stopOf(record, "destroyed", now, why.detail), why.code);
    },
  };

  const spend: DomainStep = {
    name: "spend",
    final: true,
    async effect(context) {
      if (!isRestorePoint(context.uuid)) await suspendFiles.spend(context.uuid);
      return undefined;
    },
    async undo(context) {
      if (!context.mayHaveRun) await suspendFiles.unspend(context.uuid);
    },
  };

  const dropFile: DomainStep = {
    name: "drop-file",
    final: true,
    async effect(context) {
      suspendFiles.removeSpent(context.uuid);
      return undefined;
    },
  };

  return {
    goOn,
    "go-on": goOnInPlace,
    save,
    "put-away": putAway,
    load,
    "admit-loaded": admitLoaded,
    spend,
    "drop-file": dropFile,
  };
}
