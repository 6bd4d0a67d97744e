/** SCHEDOP_watchdog: two timers that a domain has to keep setting, or it is shut down with reason `watchdog`. */
import { Errno } from "../../abi/errno.ts";
import { SHUTDOWN } from "../../abi/sched.ts";
import type { Domain } from "../domain.ts";
import { Timer } from "./timers.ts";

const COUNT = 2;
const SECOND = 1_000_000_000;

export class Watchdogs {
  readonly #domain: Domain;
  readonly #timers: readonly Timer[];
  readonly #inUse = new Array<boolean>(COUNT).fill(false);

  constructor(domain: Domain) {
    this.#domain = domain;
    this.#timers = Array.from({ length: COUNT }, () => new Timer(() => this.#fire()));
  }

  /**
   * `id` 0 takes a new watchdog and answers its id; `timeout` 0 stops one that is in use.
   * -EINVAL for an id that is unknown or not in use; -ENOSPC when all are taken.
   */
  set(id: number, timeoutSeconds: number): number {
    const { shard } = this.#domain;
    if (id > COUNT) return -Errno.EINVAL;
    if (id === 0) {
      const free = this.#inUse.indexOf(false);
      // Cut to 32 bits and not signed any more: so Xen 4.17 returns it.
      if (free < 0) return -Errno.ENOSPC >>> 0;
      this.#inUse[free] = true;
      shard.timers.arm(this.#timers[free]!, shard.now() + timeoutSeconds * SECOND);
      return free + 1;
    }
    const index = id - 1;
    if (!this.#inUse[index]) return -Errno.EINVAL;
    if (timeoutSeconds === 0) {
      shard.timers.disarm(this.#timers[index]!);
      this.#inUse[index] = false;
    } else {
      shard.timers.arm(this.#timers[index]!, shard.now() + timeoutSeconds * SECOND);
    }
    return 0;
  }

  stop(): void {
    for (const timer of this.#timers) this.#domain.shard.timers.disarm(timer);
  }

  #fire(): void {
    this.#domain.log("warn", "watchdog timer expired");
    this.#domain.shutdown(SHUTDOWN.watchdog);
  }
}
