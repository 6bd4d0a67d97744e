/**
 * The running (paused, crashed) instances of domains in this run of the service: what dies with the process.
 *
 * An instance ends once, or again after a suspend that was taken back. Whoever waits for its end claims it; an end that nobody has claimed is handed to `onEnd`.
 */

import type { CrashReport, ShutdownReason } from "../../machine/domctl.ts";
import { type Refusal, refuse } from "../refusal.ts";

export interface InstanceEnd {
  readonly reason: ShutdownReason | "worker-lost";
  readonly crash?: CrashReport;
  /** What the guest printed last, where it crashed. */
  readonly consoleTail?: string;
  readonly detail?: string;
}

export class Instance {
  readonly uuid: string;
  readonly domid: number;
  readonly startedAt: number;
  ended: Promise<InstanceEnd>;
  end: InstanceEnd | undefined;
  /** An operation waits for the end and will deal with it. */
  claimed = false;
  /** Its worker is gone, and the domain with it: there is nobody left to ask. */
  lost = false;
  #resolve: (end: InstanceEnd) => void;

  constructor(uuid: string, domid: number, startedAt: number) {
    this.uuid = uuid;
    this.domid = domid;
    this.startedAt = startedAt;
    const { promise, resolve } = Promise.withResolvers<InstanceEnd>();
    this.ended = promise;
    this.#resolve = resolve;
  }

  /** After a suspend that was taken back: it may end again. */
  goOn(): void {
    this.end = undefined;
    this.claimed = false;
    const { promise, resolve } = Promise.withResolvers<InstanceEnd>();
    this.ended = promise;
    this.#resolve = resolve;
  }

  /** False when it had ended before. */
  finish(end: InstanceEnd): boolean {
    if (this.end) return false;
    this.end = end;
    this.#resolve(end);
    return true;
  }
}

export class Instances {
  readonly #byUuid = new Map<string, Instance>();

  get(uuid: string): Instance | undefined {
    return this.#byUuid.get(uuid);
  }

  /** What `asking` gives for the domain's instance; a refusal when it has none. */
  async ask(uuid: string, asking: (instance: Instance) => Promise<Refusal | undefined>): Promise<Refusal | undefined> {
    const instance = this.get(uuid);
    return instance ? asking(instance) : refuse("wrong-state", "The domain has no running instance.");
  }

  add(instance: Instance): void {
    this.#byUuid.set(instance.uuid, instance);
  }

  remove(instance: Instance): void {
    if (this.#byUuid.get(instance.uuid) === instance) this.#byUuid.delete(instance.uuid);
  }

  get size(): number {
    return this.#byUuid.size;
  }
}
