/** Which operation is possible in which state, and the state that it leaves: the only place that decides. */

import type { DomainRecord, PowerState } from "../model.ts";
import { type Refusal, refuse } from "../refusal.ts";

interface Transition {
  readonly from: readonly PowerState[];
  /** States that the operation may leave. */
  readonly to: readonly (PowerState | "gone")[];
  /** May be asked for while a clean shutdown or reboot waits for its guest, and ends that wait. */
  readonly preempts: boolean;
}

export const TRANSITIONS = {
  start: { from: ["halted"], to: ["running", "paused"], preempts: false },
  pause: { from: ["running"], to: ["paused"], preempts: false },
  unpause: { from: ["paused"], to: ["running"], preempts: false },
  shutdown: { from: ["running"], to: ["halted"], preempts: false },
  reboot: { from: ["running"], to: ["running", "halted"], preempts: false },
  suspend: { from: ["running"], to: ["suspended"], preempts: false },
  resume: { from: ["suspended"], to: ["running", "paused"], preempts: false },
  destroy: { from: ["running", "paused", "crashed", "suspended"], to: ["halted"], preempts: true },
  delete: { from: ["halted", "suspended"], to: ["gone"], preempts: false },
  "force-delete": { from: ["halted", "running", "paused", "crashed", "suspended"], to: ["gone"], preempts: true },
  "guest-poweroff": { from: ["running", "paused"], to: ["halted"], preempts: false },
  "guest-reboot": { from: ["running", "paused"], to: ["running", "halted"], preempts: false },
  "guest-suspend": { from: ["running", "paused"], to: ["running", "paused"], preempts: false },
  "guest-crash": { from: ["running", "paused"], to: ["halted", "crashed", "running"], preempts: false },
  "worker-lost": { from: ["running", "paused", "crashed"], to: ["halted"], preempts: true },
} as const satisfies Record<string, Transition>;

export type Operation = keyof typeof TRANSITIONS;

/** What to do first, by the state that an operation needs and the one that there is. */
const WAYS_OUT: Readonly<Record<PowerState, Partial<Record<PowerState, string>>>> = {
  halted: {
    running: "shut it down or destroy it first",
    paused: "unpause and shut it down, or destroy it first",
    crashed: "destroy it first",
    suspended: "resume it first, or destroy it, which drops what it was suspended with",
  },
  running: {
    halted: "start it first",
    paused: "unpause it first",
    crashed: "destroy and start it first",
    suspended: "resume it first",
  },
  paused: {
    halted: "start it first",
    running: "pause it first",
    crashed: "destroy and start it first",
    suspended: "resume it first",
  },
  suspended: { halted: "start it instead" },
  crashed: {},
};

/** A refusal when `operation` is not possible in the record's state. */
export function checkTransition(record: DomainRecord, operation: Operation): Refusal | undefined {
  const row: Transition = TRANSITIONS[operation];
  if (row.from.includes(record.state)) return undefined;
  const wayOut = WAYS_OUT[row.from[0]][record.state];
  return refuse(
    "wrong-state",
    `Domain ${record.name} is ${record.state}; ${operation} needs it ${orList(row.from)}${wayOut ? `: ${wayOut}` : ""}.`,
  );
}

function orList(words: readonly string[]): string {
  return words.length < 2 ? words.join() : `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
}
