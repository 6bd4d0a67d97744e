/** An instance that a task has made: the task's own until the record says it is the domain's, and given back when the task is undone. */

import type { DomctlResult } from "../../machine/domctl.ts";
import { fromDomctl, gone } from "../domctl-refusal.ts";
import type { DomainRecord } from "../model.ts";
import type { Writer } from "../ports.ts";
import type { Refusal } from "../refusal.ts";
import { scheduleAnew } from "./domain-spec.ts";
import { Instance } from "./instances.ts";
import type { OperationContext, OperationPorts } from "./operations.ts";
import { changeRuntime } from "./runtime-records.ts";
import { cancelled } from "./task-runner.ts";

/** Takes what was made for the record into the task. */
export async function adopt(
  { domctl, store, clock, instances }: OperationPorts,
  context: OperationContext,
  record: DomainRecord,
  made: DomctlResult<{ domid: number }>,
): Promise<Refusal | undefined> {
  if (!made.ok) return fromDomctl(made);
  const { domid } = made.value;
  context.built = new Instance(record.uuid, domid, clock.now());
  context.result = { ...context.result, domid };
  instances.add(context.built);
  if (context.signal.aborted) return cancelled();
  return scheduleAnew(domctl, store, domid, record);
}

export async function giveBack({ domctl, instances }: OperationPorts, { built }: OperationContext): Promise<void> {
  if (!built) return;
  instances.remove(built);
  await domctl.destroy(built.domid);
}

/** The domain has the instance, which is paused. */
export function admitBuilt(
  { store, clock }: OperationPorts,
  { uuid, built }: OperationContext,
  writer: Writer,
  reason: string,
): Refusal | undefined {
  const record = writer.domain(uuid);
  if (!record || !built) return gone(uuid);
  const { domid, startedAt } = built;
  const change = { state: "paused", domid, bootEpoch: store.bootEpoch, startedAt } as const;
  changeRuntime(writer, record, reason, change, clock.now());
  return undefined;
}
