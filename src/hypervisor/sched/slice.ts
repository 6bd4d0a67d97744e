/**
 * One vCPU runs: into the guest, out of it for whatever it asks, and back, until its time is over or it has nothing to do.
 *
 * The engine counts time in instructions, so each entry gets a budget for the time that is left; it is measured as it goes how
 * long instructions take. The clock is read once in a few exits, not at each.
 */
import { ExitKind } from "../../engine/exits.ts";
import type { Shard } from "../shard.ts";
import { deliverEvents } from "../traps/events.ts";
import { handleExit } from "../traps/exits.ts";
import type { Vcpu } from "../vcpu.ts";

const LEAST_BUDGET = 1000;
const MOST_BUDGET = 1_000_000;
/** In real time the engine comes back this often, some 50 us, for a look at whether messages wait. */
const LOOK_BUDGET = 20_000;
const EXITS_PER_CLOCK_READ = 16;
/** How fast the estimate of instructions per ns follows. */
const PACE_GAIN = 0.2;

/** Runs until system time `end` about, or until a timer is due, another vCPU wakes or a message
 * waits. True when the vCPU gave up the rest of its turn (SCHEDOP_yield). */
export function runSlice(shard: Shard, vcpu: Vcpu, end: number): boolean {
  const { engine } = vcpu.domain;
  const { id } = vcpu;
  const virtual = shard.virtualTime;
  vcpu.yielded = false;
  shard.preempt = false;
  let now = shard.now();
  let before = vcpu.instructions;
  let exits = 0;
  while (vcpu.runnable) {
    deliverEvents(vcpu);
    if (!vcpu.runnable) break;
    const pace = virtual === undefined ? shard.pace : 1 / virtual.nsPerInstruction;
    const instructions = Math.ceil((Math.min(end, shard.timers.next) - now) * pace);
    const least = virtual === undefined ? LEAST_BUDGET : 1;
    const most = virtual === undefined ? LOOK_BUDGET : MOST_BUDGET;
    const kind = engine.run(id, Math.min(Math.max(instructions, least), most));
    if (virtual !== undefined) {
      const executed = vcpu.instructions;
      shard.elapse(executed - before);
      before = executed;
      now = shard.now();
    }
    if (kind !== ExitKind.budget) handleExit(vcpu, kind);
    if (vcpu.yielded) return true;
    if (virtual === undefined && (kind === ExitKind.budget || ++exits % EXITS_PER_CLOCK_READ === 0)) {
      const then = now;
      now = shard.now();
      const executed = vcpu.instructions;
      if (kind === ExitKind.budget && now > then) {
        shard.pace += (Math.max(0.001, (executed - before) / (now - then)) - shard.pace) * PACE_GAIN;
      }
      before = executed;
    }
    if (virtual === undefined && shard.host.interrupted?.()) break;
    if (shard.preempt || now >= end || now >= shard.timers.next) break;
  }
  return false;
}
