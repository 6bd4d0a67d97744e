/**
 * What guests and workers do by themselves, and what follows from it: each end becomes one operation in its domain's queue.
 *
 * An end that an operation waits for is that operation's; every other is followed here, and once only.
 */

import type { CrashReport, DomctlEvent } from "../../machine/domctl.ts";
import type { Clock, Log, Store } from "../ports.ts";
import type { Result } from "../refusal.ts";
import type { Instance, InstanceEnd, Instances } from "./instances.ts";
import type { TaskOperation } from "./operation-table.ts";
import { ROOM_RETRY_MS } from "./task-runner.ts";

/** onCrash restart: so many in so long, then the domain stays halted. */
const CRASH_RESTARTS = 3;
const CRASH_WINDOW_MS = 600_000;

interface GuestEndsOptions {
  readonly instances: Instances;
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
  /** The end of a domain's console log, as text. */
  consoleTail(uuid: string): string;
  /** Queues the operation that deals with `end`; `stillDue` is asked when its turn comes. */
  submit(uuid: string, operation: TaskOperation, end: InstanceEnd, stillDue: () => boolean): Promise<Result<unknown>>;
}

export class GuestEnds {
  readonly #options: GuestEndsOptions;
  /** Times of the restarts after crashes, by domain. */
  readonly #restarts = new Map<string, number[]>();

  constructor(options: GuestEndsOptions) {
    this.#options = options;
  }

  handle(event: DomctlEvent): void {
    const { instances } = this.#options;
    if (event.kind === "shutdown") {
      const instance = instances.get(event.uuid);
      if (!instance || instance.domid !== event.domid) return;
      const { reason, crash } = event;
      const end: InstanceEnd = { reason, ...(crash && this.#crashed(event.uuid, crash)) };
      if (instance.finish(end) && !instance.claimed) this.follow(instance);
    } else if (event.kind === "worker-lost") {
      for (const uuid of event.uuids) this.#lose(instances.get(uuid), event.detail);
    }
  }

  /** Deals with an end that no operation does. */
  follow(instance: Instance, end = instance.end): void {
    if (!end) return;
    const { log } = this.#options;
    const { uuid, domid } = instance;
    const operation = this.#operationFor(uuid, end.reason);
    log.info({ domain: uuid, domid, reason: end.reason }, `guest ended: ${operation}`);
    this.#submit(instance, operation, end).then(
      (result) => {
        if (!result.ok) log.warn({ domain: uuid, refusal: result }, `${operation} was refused`);
      },
      (error) => log.error({ err: error, domain: uuid }, `${operation} failed`),
    );
  }

  /** An end has happened: where the disk has no room to say so, it is said later. */
  async #submit(instance: Instance, operation: TaskOperation, end: InstanceEnd): Promise<Result<unknown>> {
    const { instances, clock, submit } = this.#options;
    const { uuid } = instance;
    const stillDue = () => instances.get(uuid) === instance;
    for (;;) {
      const result = await submit(uuid, operation, end, stillDue);
      if (result.ok || result.code !== "storage-full" || !stillDue()) return result;
      await clock.sleep(ROOM_RETRY_MS);
    }
  }

  /** A domain was deleted. */
  forget(uuid: string): void {
    this.#restarts.delete(uuid);
  }

  #crashed(uuid: string, crash: CrashReport): Omit<InstanceEnd, "reason"> {
    try {
      return { crash, detail: crash.reason, consoleTail: this.#options.consoleTail(uuid) };
    } catch (error) {
      this.#options.log.warn({ err: error, domain: uuid }, "the crashed guest's console cannot be read");
      return { crash, detail: crash.reason };
    }
  }

  #lose(instance: Instance | undefined, detail: string): void {
    if (!instance) return;
    instance.lost = true;
    const end: InstanceEnd = { reason: "worker-lost", detail };
    // One that had ended before, and was preserved, is lost all the same.
    if (!instance.finish(end) || !instance.claimed) this.follow(instance, end);
  }

  #operationFor(uuid: string, reason: InstanceEnd["reason"]): TaskOperation {
    switch (reason) {
      case "reboot":
      case "soft-reset":
        return "guest-reboot";
      case "suspend":
        return "guest-suspend";
      case "worker-lost":
        return "worker-lost";
      case "crash":
      case "watchdog": {
        const policy = this.#options.store.domain(uuid)?.onCrash ?? "destroy";
        if (policy === "preserve") return "guest-crash-preserve";
        return policy === "restart" && this.#mayRestart(uuid) ? "guest-crash-restart" : "guest-crash";
      }
      default:
        return "guest-poweroff";
    }
  }

  #mayRestart(uuid: string): boolean {
    const { clock, log } = this.#options;
    const now = clock.now();
    const recent = (this.#restarts.get(uuid) ?? []).filter((time) => time > now - CRASH_WINDOW_MS);
    if (recent.length >= CRASH_RESTARTS) {
      log.warn({ domain: uuid }, `crashed again after ${CRASH_RESTARTS} restarts in 10 minutes; left halted`);
      return false;
    }
    this.#restarts.set(uuid, [...recent, now]);
    return true;
  }
}
