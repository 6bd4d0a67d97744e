/** How each operation of the table is brought about in a running service, and what a restart has to find of it. */

import type { TaskOperation } from "../../../src/toolstack/operations/operation-table.ts";
import type { WholeService } from "../whole-service.ts";

export interface Scene {
  /** Makes the domain `name` ready for the operation. */
  prepare(service: WholeService, name: string): Promise<void>;
  /** Asks for the operation, or has the guest bring it about. */
  trigger(service: WholeService, name: string): Promise<unknown>;
  /** State and reason of the last stop after a restart, for a task that was rolled back and one that was rolled forward. */
  readonly back: string;
  readonly forward: string;
}

const LOST = "halted host-restarted";
const GONE = "gone";

async function defined(service: WholeService, name: string): Promise<void> {
  await service.boot(name, { start: false });
}

const booted =
  (definition: object = {}) =>
  async (service: WholeService, name: string) => {
    await service.boot(name, definition);
    await service.shown(name, /demo> $/);
  };

const asked = (action: string) => (service: WholeService, name: string) =>
  service.ask(`POST /v1/domains/${name}/${action}`);

const after =
  (first: (service: WholeService, name: string) => Promise<void>, ...actions: string[]) =>
  async (service: WholeService, name: string) => {
    await first(service, name);
    for (const action of actions) {
      const answer = await service.ask(`POST /v1/domains/${name}/${action}`);
      if (answer.status !== 200) throw new Error(answer.text);
    }
  };

const typed = (line: string) => (service: WholeService, name: string) => service.type(name, `${line}\r`);

export const SCENES: Readonly<Record<TaskOperation, Scene>> = {
  create: {
    prepare: async () => undefined,
    trigger: (service, name) => service.boot(name),
    back: GONE,
    forward: LOST,
  },
  start: { prepare: defined, trigger: asked("start"), back: "halted destroyed", forward: LOST },
  pause: { prepare: booted(), trigger: asked("pause"), back: LOST, forward: LOST },
  unpause: { prepare: after(booted(), "pause"), trigger: asked("unpause"), back: LOST, forward: LOST },
  shutdown: { prepare: booted(), trigger: asked("shutdown"), back: LOST, forward: "halted poweroff" },
  reboot: { prepare: booted(), trigger: asked("reboot"), back: LOST, forward: "running reboot" },
  suspend: { prepare: booted(), trigger: asked("suspend"), back: LOST, forward: "suspended suspend" },
  resume: {
    prepare: after(booted(), "suspend"),
    trigger: asked("resume"),
    back: "suspended suspend",
    forward: LOST,
  },
  destroy: { prepare: booted(), trigger: asked("destroy"), back: LOST, forward: "halted destroyed" },
  delete: {
    prepare: defined,
    trigger: (service, name) => service.ask(`DELETE /v1/domains/${name}`),
    back: "halted",
    forward: GONE,
  },
  "force-delete": {
    prepare: booted(),
    trigger: (service, name) => service.ask(`DELETE /v1/domains/${name}?force=true`),
    back: LOST,
    forward: GONE,
  },
  "guest-poweroff": { prepare: booted(), trigger: typed("halt"), back: LOST, forward: "halted poweroff" },
  "guest-reboot": { prepare: booted(), trigger: typed("reboot"), back: LOST, forward: "running reboot" },
  "guest-suspend": { prepare: booted(), trigger: typed("suspend"), back: LOST, forward: LOST },
  "guest-crash": { prepare: booted(), trigger: typed("crash panic"), back: LOST, forward: "halted crash" },
  "guest-crash-restart": {
    prepare: booted({ onCrash: "restart" }),
    trigger: typed("crash panic"),
    back: LOST,
    forward: "running crash",
  },
  "guest-crash-preserve": {
    prepare: booted({ onCrash: "preserve" }),
    trigger: typed("crash panic"),
    back: LOST,
    forward: LOST,
  },
  "host-suspend": {
    prepare: booted(),
    trigger: async (service) => service.kill("SIGTERM"),
    back: LOST,
    forward: "running host-stopped",
  },
  "worker-lost": {
    prepare: booted(),
    trigger: (service) => service.ask("POST /v1/faults", { body: { kind: "lose-worker", worker: 0 } }),
    back: LOST,
    forward: "halted worker-lost",
  },
};
