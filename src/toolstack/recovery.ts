/**
 * Puts right what an earlier run of the service left: its unfinished tasks reach an end, and its instances, which died with it, are
 * marked as lost with an event each.
 *
 * A task that was past its commit step goes on from its journal, as the first in its domain's queue; any other is rolled back
 * (operation-table.ts). Everything is in an end state when `recover` resolves.
 */

import type { TaskRecord } from "./model.ts";
import { OPERATIONS, type OperationRow, type TaskOperation } from "./operation-table.ts";
import type { OperationContext, OperationInput } from "./operations.ts";
import type { StepRow } from "./ports.ts";
import { refuse } from "./refusal.ts";
import { haltedByHost } from "./runtime-records.ts";
import { type RunnerPorts, rollBack, type Step } from "./task-runner.ts";
import { saveDomain } from "./views.ts";

export interface RecoveryPorts extends RunnerPorts {
  readonly steps: Readonly<Record<TaskOperation, readonly Step<OperationContext>[]>>;
  /** Runs a task on from its journal; resolves with its end. */
  resume(task: TaskRecord, operation: TaskOperation, input: OperationInput): Promise<TaskRecord>;
}

export interface Recovered {
  readonly rolledBack: number;
  readonly rolledForward: number;
  readonly lost: number;
}

export async function recover(ports: RecoveryPorts): Promise<Recovered> {
  const { store } = ports;
  const tasks = store.unfinishedTasks().map((task) => ({ task, forward: committed(store.steps(task.id), task) }));
  const forward = tasks.filter((each) => each.forward);
  // All at once, so that they share transactions. Tasks first: what they leave of a domain decides whether it is lost.
  await Promise.all(tasks.filter((each) => !each.forward).map(({ task }) => takeBack(ports, task)));
  await Promise.all(
    forward.map(({ task }) => ports.resume(task, task.operation as TaskOperation, inputOf(ports, task))),
  );
  return { rolledBack: tasks.length - forward.length, rolledForward: forward.length, lost: await markLost(ports) };
}

/** Whether the journal is past the point of no return. Operations of another version are not known here, and are taken back. */
function committed(journal: readonly StepRow[], { operation }: TaskRecord): boolean {
  const row: OperationRow | undefined = OPERATIONS[operation as TaskOperation];
  if (!row) return false;
  return row.commit === "taken"
    ? journal.length > 0
    : journal.some(({ name, state }) => name === row.commit && state === "done");
}

function inputOf({ store }: RecoveryPorts, task: TaskRecord): OperationInput {
  return JSON.parse(store.taskInputs.get(task.id) ?? "{}") as OperationInput;
}

function takeBack(ports: RecoveryPorts, task: TaskRecord): Promise<void> {
  const operation = task.operation as TaskOperation;
  const row = OPERATIONS[operation] ?? { steps: [], commit: "taken" };
  const signal = AbortSignal.abort();
  const context = { ...inputOf(ports, task), uuid: task.domain ?? "", row, signal, recovered: true };
  const why = refuse("host-restarted", "The service ended before this operation did; it was rolled back.");
  return rollBack(ports, task, ports.steps[operation] ?? [], context, why);
}

async function markLost({ store, clock, log }: RecoveryPorts): Promise<number> {
  const lost = store.liveDomains().filter(({ bootEpoch }) => bootEpoch !== store.bootEpoch);
  const now = clock.now();
  await Promise.all(
    lost.map((record) => {
      log.warn({ domain: record.uuid, name: record.name }, "was running when the service last ended; it is halted");
      const halted = haltedByHost(record, "host-restarted", now);
      return store.commit((writer) => saveDomain(writer, halted, "host-crashed", now));
    }),
  );
  return lost.length;
}
