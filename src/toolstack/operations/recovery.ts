/**
 * Puts right what an earlier run of the service left: its unfinished tasks reach an end, and its instances, which died with it, are
 * marked as lost with an event each.
 *
 * A task that was past its commit step goes on from its journal, as the first in its domain's queue; any other is rolled back
 * (operation-table.ts). Everything is in an end state when `recover` resolves.
 */

import type { TaskRecord } from "../model.ts";
import type { StepRow } from "../ports.ts";
import { refuse } from "../refusal.ts";
import { saveDomain } from "../views.ts";
import type { OperationSteps } from "./operation-queues.ts";
import { OPERATIONS, type OperationRow, type StepName, type TaskOperation } from "./operation-table.ts";
import type { OperationInput } from "./operations.ts";
import { lostByHost } from "./runtime-records.ts";
import type { SuspendFiles } from "./suspend-files.ts";
import { type RunnerPorts, rollBack } from "./task-runner.ts";

export interface RecoveryPorts extends RunnerPorts {
  readonly steps: OperationSteps;
  readonly suspendFiles: SuspendFiles;
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
    forward.map(({ task }) => ports.resume(fromLost(task), task.operation as TaskOperation, inputOf(ports, task))),
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

/** An instance that was built died with the process: the task begins anew with building it. */
function fromLost(task: TaskRecord): TaskRecord {
  const steps: readonly StepName[] = OPERATIONS[task.operation as TaskOperation].steps;
  const built = steps.indexOf("build");
  return built >= 0 && built < task.stepsDone ? { ...task, stepsDone: built } : task;
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

async function markLost({ store, clock, log, suspendFiles }: RecoveryPorts): Promise<number> {
  const lost = store.liveDomains().filter(({ bootEpoch }) => bootEpoch !== store.bootEpoch);
  const now = clock.now();
  await Promise.all(
    lost.map((record) => {
      const halted = lostByHost(record, "host-restarted", now, suspendFiles.exists(record.uuid));
      const { uuid, name, onHostCrash } = record;
      log.warn({ domain: uuid, name, onHostCrash }, `was ${record.state} when the service last ended`);
      return store.commit((writer) => saveDomain(writer, halted, "host-crashed", now));
    }),
  );
  return lost.length;
}
