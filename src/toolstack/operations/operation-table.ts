/**
 * Every operation on a domain as data: its steps in order, and the one that commits it.
 *
 * A task whose process died before its commit step was journalled as done is rolled back at the next start, and has failed with
 * `host-restarted`; one that was past it is rolled forward to its end. `taken`: there is no way back from the first step on. What a step
 * does, and what takes it back, is in `STEPS`; the code is in operations.ts, suspend-steps.ts. docs/operations.md is made from this.
 */

import type { ShutdownReason } from "../../machine/domctl.ts";
import type { StopReason } from "../model.ts";
import type { Operation } from "./lifecycle.ts";

interface StepDescription {
  /** What it does outside the database. Steps without are done in the transaction of the step before. */
  readonly effect?: string;
  /** What it writes, in the transaction of its journal row. */
  readonly record?: string;
  /** What takes it back. Doing so twice, or for a step that was only begun, is harmless. */
  readonly undo?: string;
}

export const STEPS = {
  define: { record: "the definition is stored", undo: "and dropped, unless a destroy ended the task" },
  build: {
    effect: "memory, page tables and devices are made, the kernel is loaded; nothing runs yet",
    undo: "the instance is destroyed",
  },
  admit: { record: "the domain is paused, with its domid", undo: "it is halted" },
  release: {
    effect: "the guest runs, unless it is to stay paused",
    record: "the domain is running",
    undo: "remembers that the guest may have run",
  },
  pause: { effect: "the vCPUs stop", record: "the domain is paused" },
  unpause: { effect: "the vCPUs go on", record: "the domain is running" },
  lose: {
    effect: "the instance of a worker that is gone is forgotten",
    record: "the domain is halted; suspended where it is to be restored from a file",
  },
  ask: { effect: "the guest is asked through control/shutdown", undo: "the request is withdrawn" },
  "await-guest": {
    effect: "the guest's answer is waited for",
    undo: "a guest that has suspended goes on in place",
  },
  teardown: {
    effect: "the instance gives back all that it holds; a suspend image of it is removed",
    record: "the domain is halted, with the reason",
  },
  settle: { effect: "a guest that ends within a second of its start waits out that second" },
  preserve: { record: "the domain is crashed, with the report" },
  forget: { record: "the domain is dropped" },
  clear: { effect: "its suspend image and console log are removed" },
  save: {
    effect: "the guest's memory and state are in a file: written beside it, synced, renamed, the folder synced",
    record: "the domain is suspended",
    undo: "the file is removed, unless it is a restore point; the domain is running",
  },
  "put-away": { effect: "the saved instance is destroyed" },
  load: { effect: "an instance is made of the file", undo: "the instance is destroyed" },
  "admit-loaded": {
    record: "the domain is paused, with its domid",
    undo: "it is suspended, or halted where its file is spent",
  },
  spend: {
    effect: "the file is set aside, so that no guest runs twice from one moment; a restore point stays",
    undo: "the file is put back, unless the guest may have run",
  },
  "drop-file": { effect: "the file that was set aside is removed" },
  "go-on": { effect: "a guest that suspended itself goes on in place" },
} as const satisfies Record<string, StepDescription>;

export type StepName = keyof typeof STEPS;

export interface OperationRow {
  readonly steps: readonly StepName[];
  readonly commit: StepName | "taken";
  /** What the guest is asked for, and has to answer with. */
  readonly asks?: ShutdownReason & ("poweroff" | "reboot" | "suspend");
  /** The reason of the stop; the guest's own end says it where this is not given. */
  readonly stop?: StopReason;
}

export type TaskOperation = Operation | "create" | "host-suspend" | "guest-crash-restart" | "guest-crash-preserve";

const BOOT = ["build", "admit", "release"] as const;

export const OPERATIONS: Readonly<Record<TaskOperation, OperationRow>> = {
  create: { steps: ["define", ...BOOT], commit: "release" },
  start: { steps: BOOT, commit: "release" },
  pause: { steps: ["pause"], commit: "pause" },
  unpause: { steps: ["unpause"], commit: "unpause" },
  shutdown: { steps: ["ask", "await-guest", "teardown"], commit: "await-guest", asks: "poweroff", stop: "poweroff" },
  reboot: { steps: ["ask", "await-guest", "teardown", ...BOOT], commit: "await-guest", asks: "reboot", stop: "reboot" },
  suspend: { steps: ["ask", "await-guest", "save", "put-away"], commit: "save", asks: "suspend", stop: "suspend" },
  resume: { steps: ["load", "admit-loaded", "spend", "release", "drop-file"], commit: "release" },
  destroy: { steps: ["teardown"], commit: "taken", stop: "destroyed" },
  delete: { steps: ["forget", "clear"], commit: "forget" },
  "force-delete": { steps: ["teardown", "forget", "clear"], commit: "taken", stop: "destroyed" },
  "guest-poweroff": { steps: ["teardown"], commit: "taken" },
  "guest-reboot": { steps: ["teardown", "settle", ...BOOT], commit: "taken", stop: "reboot" },
  "guest-suspend": { steps: ["go-on"], commit: "go-on" },
  "guest-crash": { steps: ["teardown"], commit: "taken" },
  "guest-crash-restart": { steps: ["teardown", "settle", ...BOOT], commit: "taken" },
  "guest-crash-preserve": { steps: ["preserve"], commit: "preserve" },
  "worker-lost": { steps: ["lose"], commit: "taken", stop: "worker-lost" },
  "host-suspend": {
    steps: ["ask", "await-guest", "save", "put-away"],
    commit: "save",
    asks: "suspend",
    stop: "host-stopped",
  },
};

/** Moments at which a process can die, for the journal: around a step's effect, and when its row is on the disk. */
export const CRASH_MOMENTS = ["before", "after", "journalled"] as const;
export type CrashMoment = (typeof CRASH_MOMENTS)[number];

/** Every `operation/step/moment`. A step without an effect has no moment before it that is not one of its neighbour. */
export function crashPoints(): readonly string[] {
  return Object.entries(OPERATIONS).flatMap(([operation, { steps }]) =>
    steps.flatMap((step) => {
      const moments = "effect" in STEPS[step] ? CRASH_MOMENTS : (["journalled"] as const);
      return moments.map((moment) => `${operation}/${step}/${moment}`);
    }),
  );
}
