/**
 * Where a vCPU's time goes (struct vcpu_runstate_info): running, runnable, blocked, offline. The four times and the time in the
 * present state always add up to the vCPU's age.
 */
import { RUNSTATE } from "../../abi/vcpu.ts";

export type Runstate = (typeof RUNSTATE)[keyof typeof RUNSTATE];

export class RunstateClock {
  state: Runstate = RUNSTATE.offline;
  /** System time in ns at which `state` was entered. */
  entered: number;
  /** ns spent in each state before `entered`. */
  readonly #times = new Float64Array(4);

  constructor(now: number) {
    this.entered = now;
  }

  /** Enters a state. False when it is the present one. */
  enter(state: Runstate, now: number): boolean {
    if (state === this.state) return false;
    this.#times[this.state]! += now - this.entered;
    this.state = state;
    this.entered = now;
    return true;
  }

  /** ns in `state` up to `now`. */
  time(state: Runstate, now: number): number {
    return this.#times[state]! + (this.state === state ? now - this.entered : 0);
  }
}
