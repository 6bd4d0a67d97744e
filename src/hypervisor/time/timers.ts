/**
 * Timers of a shard: a binary heap by expiry. A timer is one object for its whole life, armed and disarmed; equal expiries fire in
 * the order they were armed, so that runs are reproducible.
 */
export class Timer {
  /** System time in ns; meaningful while armed. */
  expiry = 0;
  /** Place in the heap; -1 while not armed. */
  slot = -1;
  /** Order of arming, for ties. */
  order = 0;
  readonly fire: (now: number) => void;

  constructor(fire: (now: number) => void) {
    this.fire = fire;
  }

  get armed(): boolean {
    return this.slot >= 0;
  }
}

export class Timers {
  readonly #heap: Timer[] = [];
  #order = 0;

  /** Expiry of the first timer, Infinity when none is armed. */
  get next(): number {
    return this.#heap.length > 0 ? this.#heap[0]!.expiry : Number.POSITIVE_INFINITY;
  }

  /** Arms, or arms anew, for system time `expiry` in ns. */
  arm(timer: Timer, expiry: number): void {
    this.disarm(timer);
    timer.expiry = expiry;
    timer.order = this.#order++;
    timer.slot = this.#heap.length;
    this.#heap.push(timer);
    this.#up(timer.slot);
  }

  disarm(timer: Timer): void {
    const { slot } = timer;
    if (slot < 0) return;
    const last = this.#heap.pop()!;
    if (last !== timer) {
      this.#heap[slot] = last;
      last.slot = slot;
      this.#up(slot);
      this.#down(last.slot);
    }
    timer.slot = -1;
  }

  /** Fires everything that is due at `now`. A timer that arms itself again for a time not after `now` fires again. */
  expire(now: number): void {
    while (this.#heap.length > 0 && this.#heap[0]!.expiry <= now) {
      const timer = this.#heap[0]!;
      this.disarm(timer);
      timer.fire(now);
    }
  }

  #before(a: Timer, b: Timer): boolean {
    return a.expiry < b.expiry || (a.expiry === b.expiry && a.order < b.order);
  }

  #up(from: number): void {
    const heap = this.#heap;
    let slot = from;
    while (slot > 0) {
      const parent = (slot - 1) >> 1;
      if (!this.#before(heap[slot]!, heap[parent]!)) return;
      this.#swap(slot, parent);
      slot = parent;
    }
  }

  #down(from: number): void {
    const heap = this.#heap;
    let slot = from;
    for (;;) {
      let least = slot;
      const left = slot * 2 + 1;
      if (left < heap.length && this.#before(heap[left]!, heap[least]!)) least = left;
      if (left + 1 < heap.length && this.#before(heap[left + 1]!, heap[least]!)) least = left + 1;
      if (least === slot) return;
      this.#swap(slot, least);
      slot = least;
    }
  }

  #swap(a: number, b: number): void {
    const heap = this.#heap;
    const x = heap[a]!;
    const y = heap[b]!;
    heap[a] = y;
    heap[b] = x;
    x.slot = b;
    y.slot = a;
  }
}
