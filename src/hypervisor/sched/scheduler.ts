/**
 * Who runs next: proportional share by stride, over the runnable vCPUs of one shard.
 *
 * Every entity has a virtual time that advances by `ns * 256 / weight` as it runs; the runnable one with the least virtual time
 * runs next. An entity that wakes does not bring along the time it slept: it starts at the shard's virtual time at least, so it
 * neither starves the others nor waits behind them. The same goes for the time in which its cap kept it waiting. A group (a domain) may have a cap: within each window of 30 ms it
 * gets at most `cap` percent of a CPU, and waits for the next window after that.
 *
 * Entities that are not runnable cost nothing.
 */

/** Xen's default weight of a domain (sched_credit). */
export const DEFAULT_WEIGHT = 256;
/** Over which caps are enforced, in ns. */
export const CAP_WINDOW = 30_000_000;

/** What weight and cap belong to: a domain. As in Xen's credit2, each of its vCPUs has the weight, and all together the cap. */
export class SchedGroup {
  #weight: number;
  #cap: number;
  /** Start of the window that `used` counts in. */
  windowStart = 0;
  /** ns run within the window by all entities. */
  used = 0;

  constructor(weight = DEFAULT_WEIGHT, cap = 0) {
    this.#weight = weight;
    this.#cap = cap;
  }

  get weight(): number {
    return this.#weight;
  }

  /** Percent of one CPU; 0 for no cap. */
  get cap(): number {
    return this.#cap;
  }

  /** Other shares from `now` on. What was run under another cap, or none, is not owed. */
  change(weight: number, cap: number, now: number): void {
    if (cap !== this.#cap) {
      this.windowStart = now;
      this.used = 0;
    }
    this.#weight = weight;
    this.#cap = cap;
  }
}

/** What runs: a vCPU. */
export class SchedEntity {
  readonly group: SchedGroup;
  /** Weighted ns. */
  virtualTime = 0;
  /** Place among the runnable; -1 when it is not. */
  slot = -1;
  /** Order of becoming runnable, for ties. */
  order = 0;

  constructor(group: SchedGroup) {
    this.group = group;
  }
}

export class Scheduler<E extends SchedEntity> {
  readonly #runnable: E[] = [];
  /** The virtual time that the shard has reached: never goes back. */
  #virtualTime = 0;
  #order = 0;

  get runnableCount(): number {
    return this.#runnable.length;
  }

  /** Makes an entity runnable. False when it is already. */
  wake(entity: E): boolean {
    if (entity.slot >= 0) return false;
    if (entity.virtualTime < this.#virtualTime) entity.virtualTime = this.#virtualTime;
    entity.order = this.#order++;
    entity.slot = this.#runnable.length;
    this.#runnable.push(entity);
    return true;
  }

  /** Makes an entity not runnable. */
  sleep(entity: E): void {
    const { slot } = entity;
    if (slot < 0) return;
    const last = this.#runnable.pop()!;
    if (last !== entity) {
      this.#runnable[slot] = last;
      last.slot = slot;
    }
    entity.slot = -1;
  }

  /** The entity to run at `now`; undefined when none is runnable, or all have used up their caps. */
  pick(now: number): E | undefined {
    let best: E | undefined;
    for (const entity of this.#runnable) {
      if (this.#capped(entity.group, now)) {
        // It waits as one that sleeps does: what it could not run is not kept for it.
        if (entity.virtualTime < this.#virtualTime) entity.virtualTime = this.#virtualTime;
        continue;
      }
      if (
        best === undefined ||
        entity.virtualTime < best.virtualTime ||
        (entity.virtualTime === best.virtualTime && entity.order < best.order)
      ) {
        best = entity;
      }
    }
    if (best !== undefined && best.virtualTime > this.#virtualTime) this.#virtualTime = best.virtualTime;
    return best;
  }

  /** How long `entity` may run from `now` before its cap stops it, in ns; Infinity without a cap. */
  allowance(entity: E, now: number): number {
    const { group } = entity;
    if (group.cap === 0) return Number.POSITIVE_INFINITY;
    return this.#capped(group, now) ? 0 : (CAP_WINDOW * group.cap) / 100 - group.used;
  }

  /** Accounts `ns` of running. */
  charge(entity: E, ns: number): void {
    entity.virtualTime += (ns * DEFAULT_WEIGHT) / entity.group.weight;
    entity.group.used += ns;
  }

  /** Gives up its turn: runs again after every other runnable entity had its chance. */
  yield(entity: E): void {
    let last = entity.virtualTime;
    for (const other of this.#runnable) {
      // Those who have run much more than others are not waited for: a yield is a turn, not a fine.
      if (other.virtualTime > last && other.virtualTime < this.#virtualTime + 1_000_000) last = other.virtualTime;
    }
    entity.virtualTime = last;
    entity.order = this.#order++;
  }

  /** When a capped runnable entity may run again; Infinity when no cap stands in the way of anyone. */
  nextWindow(now: number): number {
    let next = Number.POSITIVE_INFINITY;
    for (const { group } of this.#runnable) {
      if (this.#capped(group, now) && group.windowStart + CAP_WINDOW < next) next = group.windowStart + CAP_WINDOW;
    }
    return next;
  }

  #capped(group: SchedGroup, now: number): boolean {
    if (group.cap === 0) return false;
    if (now >= group.windowStart + CAP_WINDOW) {
      // What was run beyond the allowance of a window is owed to the next one.
      const windows = Math.floor((now - group.windowStart) / CAP_WINDOW);
      group.used = Math.max(0, group.used - (windows * CAP_WINDOW * group.cap) / 100);
      group.windowStart += windows * CAP_WINDOW;
    }
    return group.used >= (CAP_WINDOW * group.cap) / 100;
  }
}
