/**
 * What the steps of `operation-table.ts` do, and how it is undone: what the task runner runs and a restart rolls back by.
 *
 * A stop is torn down before the database says `halted`, and a start is in the database as `paused` before its first
 * instruction runs: whatever moment the process dies at, what is recorded as live is exactly what must be marked lost.
 */

import type { Domctl } from "../../machine/domctl.ts";
import { gone, refusalOf } from "../domctl-refusal.ts";
import type { DomainRecord, TaskResult } from "../model.ts";
import type { Clock, Log, Store, Writer } from "../ports.ts";
import { type Refusal, refuse } from "../refusal.ts";
import { dropDomain, saveDomain } from "../views.ts";
import { domainSpec } from "./domain-spec.ts";
import type { Instance, InstanceEnd, Instances } from "./instances.ts";
import { admitBuilt, adopt, giveBack } from "./made-instance.ts";
import { OPERATIONS, type OperationRow, type StepName, type TaskOperation } from "./operation-table.ts";
import { changeRuntime, halt, stopOf } from "./runtime-records.ts";
import { stopSteps } from "./stop-steps.ts";
import type { SuspendFiles } from "./suspend-files.ts";
import { suspendSteps } from "./suspend-steps.ts";
import { BY_REQUEST, BY_STOP, type Step } from "./task-runner.ts";

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

/** What a task is asked for besides its operation; kept with it, for a restart. */
export interface OperationInput {
  /** Leave the domain paused before its first instruction. */
  readonly paused?: boolean;
  /** How long a clean shutdown or reboot waits for its guest. */
  readonly timeoutMs?: number;
  /** How the guest ended, for the operations that deal with that. */
  readonly end?: InstanceEnd;
  /** The state that the service brings it back to, when it suspends it for its own stop. */
  readonly returnsTo?: "running" | "paused";
}

export interface OperationContext extends OperationInput {
  readonly uuid: string;
  readonly signal: AbortSignal;
  /** The operation's own: what it asks the guest for, and why it stops it. */
  readonly row: OperationRow;
  /** The definition, for `create`. */
  readonly definition?: DomainRecord;
  /** The process that began this has died; what it held is gone, and only the journal knows how far it came. */
  readonly recovered?: boolean;
  /** Set by `build`. */
  built?: Instance;
  /** Set by `teardown`: when the instance that it ended was started. */
  lastStartedAt?: number;
  /** Set when `release` is undone: whether the guest may have run. */
  mayHaveRun?: boolean;
  /** What the operation has made. */
  result?: TaskResult;
}

export type DomainStep = Step<OperationContext>;

/** The steps of every operation, ready to run. */
export function operationSteps(ports: OperationPorts): Readonly<Record<TaskOperation, readonly DomainStep[]>> {
  const steps = stepTable(ports);
  const named = Object.entries(OPERATIONS).map(([operation, row]) => [operation, row.steps.map((name) => steps[name])]);
  return Object.fromEntries(named);
}

/** Every step of `STEPS`. */
export function stepTable(ports: OperationPorts): Readonly<Record<StepName, DomainStep>> {
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
      // Whoever destroys a domain while it is made wants it stopped, not gone; whoever cancels its making does not want it, and who made it
      // and is told that the service stops has none.
      const { reason } = context.signal;
      const destroyed = why.code === "cancelled" && reason !== BY_REQUEST && reason !== BY_STOP;
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
      const made = await domctl.create(domainSpec(record, kernel, ramdisk));
      return adopt(ports, context, record, made);
    },
    undo: (context) => giveBack(ports, context),
  };

  const admit: DomainStep = {
    name: "admit",
    record: (context, writer) => admitBuilt(ports, context, writer, "built"),
    undoRecord(context, writer, why) {
      const record = writer.domain(context.uuid);
      if (!record || record.state === "halted") return;
      // One that was brought back is due again.
      const due = record.lastStop?.returnsTo !== undefined ? record.lastStop : undefined;
      halt(writer, record, due ?? stopOf(record, "destroyed", clock.now(), why.detail), why.code);
    },
  };

  const release: DomainStep = {
    name: "release",
    final: true,
    async effect(context) {
      if (context.paused || !context.built) return undefined;
      return refusalOf(await domctl.unpause(context.built.domid));
    },
    async undo(context) {
      if (context.recovered) context.mayHaveRun = !context.paused;
    },
    record(context, writer) {
      const record = writer.domain(context.uuid);
      if (record && !context.paused) changeRuntime(writer, record, "started", { state: "running" }, clock.now());
      return undefined;
    },
  };

  const setState = (context: OperationContext, writer: Writer, state: "running" | "paused", reason: string) => {
    const record = writer.domain(context.uuid);
    if (!record) return gone(context.uuid);
    changeRuntime(writer, record, reason, { state }, clock.now());
    return undefined;
  };

  const pause: DomainStep = {
    name: "pause",
    final: true,
    effect: (context) => instances.ask(context.uuid, async ({ domid }) => refusalOf(await domctl.pause(domid))),
    record: (context, writer) => setState(context, writer, "paused", "paused"),
  };

  const unpause: DomainStep = {
    name: "unpause",
    final: true,
    effect: (context) => instances.ask(context.uuid, async ({ domid }) => refusalOf(await domctl.unpause(domid))),
    record: (context, writer) => setState(context, writer, "running", "unpaused"),
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

  const { goOn, ...sleeping } = suspendSteps(ports);
  const steps = { define, build, admit, release, pause, unpause, forget, clear };
  return { ...steps, ...stopSteps(ports, goOn), ...sleeping };
}
