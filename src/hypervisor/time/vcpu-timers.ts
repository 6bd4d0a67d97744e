/**
 * A vCPU's own timers: the singleshot timer (set_timer_op, VCPUOP_set_singleshot_timer), the periodic one, and the timeout of a
 * SCHEDOP_poll. The first two raise VIRQ_TIMER.
 */
import { VIRQ } from "../../abi/xen.ts";
import type { Shard } from "../shard.ts";
import type { Vcpu } from "../vcpu.ts";
import { Timer } from "./timers.ts";

/** Xen refuses shorter periods. */
export const MIN_PERIOD = 1_000_000;

export class VcpuTimers {
  readonly #shard: Shard;
  readonly #vcpu: Vcpu;
  readonly #singleshot: Timer;
  readonly #periodic: Timer;
  readonly #poll: Timer;
  /** ns; 0 for no periodic timer. */
  #period = 0;

  constructor(shard: Shard, vcpu: Vcpu) {
    this.#shard = shard;
    this.#vcpu = vcpu;
    const raise = () => vcpu.domain.events.sendVirq(vcpu.id, VIRQ.timer);
    this.#singleshot = new Timer(raise);
    this.#periodic = new Timer((now) => {
      raise();
      // Ticks that were missed are not made up for.
      const missed = Math.floor((now - this.#periodic.expiry) / this.#period);
      shard.timers.arm(this.#periodic, this.#periodic.expiry + (missed + 1) * this.#period);
    });
    this.#poll = new Timer(() => {
      if (vcpu.pollPort !== 0) vcpu.unblock();
    });
  }

  /** `expiry` is the guest's absolute system time in ns; in the past it fires at once. */
  setSingleshot(expiry: number): void {
    this.#shard.timers.arm(this.#singleshot, expiry - this.#vcpu.domain.timeOffset);
  }

  stopSingleshot(): void {
    this.#shard.timers.disarm(this.#singleshot);
  }

  setPeriodic(period: number): void {
    this.#period = period;
    this.#shard.timers.arm(this.#periodic, this.#shard.now() + period);
  }

  stopPeriodic(): void {
    this.#shard.timers.disarm(this.#periodic);
    this.#period = 0;
  }

  /** As above. */
  setPoll(expiry: number): void {
    this.#shard.timers.arm(this.#poll, expiry - this.#vcpu.domain.timeOffset);
  }

  stopPoll(): void {
    this.#shard.timers.disarm(this.#poll);
  }

  stopAll(): void {
    this.stopSingleshot();
    this.stopPeriodic();
    this.stopPoll();
  }
}
