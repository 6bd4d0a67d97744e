import { fc, test as property } from "@fast-check/vitest";
import { describe, expect, test } from "vitest";
import { CAP_WINDOW, SchedEntity, SchedGroup, Scheduler } from "../../src/hypervisor/sched/scheduler.ts";
import { Timer, Timers } from "../../src/hypervisor/time/timers.ts";

const SLICE = 1_000_000;

/** Runs the scheduler for `ns`; gives what each entity got. */
function simulate(scheduler: Scheduler<SchedEntity>, entities: readonly SchedEntity[], ns: number): number[] {
  const got = new Map<SchedEntity, number>(entities.map((entity) => [entity, 0]));
  for (let now = 0; now < ns; ) {
    const entity = scheduler.pick(now);
    if (entity === undefined) {
      now = scheduler.nextWindow(now);
      continue;
    }
    const slice = Math.min(SLICE, scheduler.allowance(entity, now));
    scheduler.charge(entity, slice);
    got.set(entity, got.get(entity)! + slice);
    now += slice;
  }
  return entities.map((entity) => got.get(entity)! / ns);
}

const spinning = (scheduler: Scheduler<SchedEntity>, ...groups: SchedGroup[]) =>
  groups.map((group) => {
    const entity = new SchedEntity(group);
    scheduler.wake(entity);
    return entity;
  });

describe("shares", () => {
  type Row = readonly [string, readonly (readonly [number, number])[], readonly number[]];
  /** Name, [weight, cap] of each domain, share each gets. */
  const rows: readonly Row[] = [
    ["one domain has the whole CPU", [[256, 0]], [1]],
    [
      "equal weights share equally",
      [
        [256, 0],
        [256, 0],
        [256, 0],
      ],
      [1 / 3, 1 / 3, 1 / 3],
    ],
    [
      "twice the weight, twice the time",
      [
        [512, 0],
        [256, 0],
      ],
      [2 / 3, 1 / 3],
    ],
    [
      "a small weight is not starved",
      [
        [256, 0],
        [1, 0],
      ],
      [256 / 257, 1 / 257],
    ],
    ["a cap holds when nobody else wants the CPU", [[256, 25]], [0.25]],
    [
      "a cap leaves the rest to the others",
      [
        [256, 10],
        [256, 0],
      ],
      [0.1, 0.9],
    ],
    [
      "caps of two",
      [
        [256, 30],
        [256, 20],
      ],
      [0.3, 0.2],
    ],
  ];
  test.each(rows)("%s", (_name, domains, shares) => {
    const scheduler = new Scheduler<SchedEntity>();
    const entities = spinning(scheduler, ...domains.map(([weight, cap]) => new SchedGroup(weight, cap)));
    const got = simulate(scheduler, entities, 10_000_000_000);
    got.forEach((share, i) => {
      expect(share).toBeCloseTo(shares[i]!, 2);
    });
  });

  test("two vCPUs of a domain have a weight each, and one cap together", () => {
    const scheduler = new Scheduler<SchedEntity>();
    const capped = new SchedGroup(256, 50);
    const shares = simulate(scheduler, spinning(scheduler, capped, capped, new SchedGroup()), 3_000_000_000);
    expect(shares[0]! + shares[1]!).toBeCloseTo(0.5, 2);
  });
});

test("who sleeps brings nothing along, and is next when it wakes", () => {
  const scheduler = new Scheduler<SchedEntity>();
  const [busy, lazy] = spinning(scheduler, new SchedGroup(), new SchedGroup());
  scheduler.sleep(lazy!);
  for (let i = 0; i < 1000; i++) scheduler.charge(scheduler.pick(i)!, SLICE);
  scheduler.wake(lazy!);
  scheduler.charge(busy!, SLICE);
  expect(scheduler.pick(0)).toBe(lazy);
  scheduler.charge(lazy!, SLICE);
  scheduler.charge(lazy!, SLICE);
  expect(scheduler.pick(0)).toBe(busy);
});

test("a yield lets everyone else run first", () => {
  const scheduler = new Scheduler<SchedEntity>();
  const entities = spinning(scheduler, new SchedGroup(), new SchedGroup(), new SchedGroup());
  const order: number[] = [];
  for (let i = 0; i < 6; i++) {
    const entity = scheduler.pick(0)!;
    order.push(entities.indexOf(entity));
    scheduler.charge(entity, 100);
    scheduler.yield(entity);
  }
  expect(order).toEqual([0, 1, 2, 0, 1, 2]);
});

test("caps owe what was overdrawn to the next window", () => {
  const scheduler = new Scheduler<SchedEntity>();
  const [entity] = spinning(scheduler, new SchedGroup(256, 10));
  scheduler.charge(entity!, CAP_WINDOW / 5);
  expect(scheduler.pick(1)).toBeUndefined();
  expect(scheduler.nextWindow(1)).toBe(CAP_WINDOW);
  expect(scheduler.pick(CAP_WINDOW)).toBeUndefined();
  expect(scheduler.pick(2 * CAP_WINDOW)).toBe(entity);
});

test("what was run without a cap is not owed when there is one", () => {
  const scheduler = new Scheduler<SchedEntity>();
  const group = new SchedGroup();
  const [entity] = spinning(scheduler, group);
  scheduler.charge(entity!, 3600e9);
  group.change(256, 10, 3600e9);
  expect(scheduler.allowance(entity!, 3600e9)).toBe(CAP_WINDOW / 10);
});

property.prop([fc.array(fc.tuple(fc.nat(20), fc.nat(1000), fc.boolean()), { maxLength: 200 })])(
  "timers fire in the order of their expiry, whatever is armed and disarmed in between",
  (steps) => {
    const timers = new Timers();
    const fired: { id: number; at: number }[] = [];
    const all = Array.from({ length: 21 }, (_, id) => new Timer((at) => fired.push({ id, at })));
    const model = new Map<number, number>();
    for (const [id, expiry, arm] of steps) {
      if (arm) {
        timers.arm(all[id]!, expiry);
        model.set(id, expiry);
      } else {
        timers.disarm(all[id]!);
        model.delete(id);
      }
      expect(timers.next).toBe(model.size === 0 ? Number.POSITIVE_INFINITY : Math.min(...model.values()));
      expect(all[id]!.armed).toBe(model.has(id));
    }
    timers.expire(500);
    const due = [...model].filter(([, expiry]) => expiry <= 500);
    expect(fired.map(({ id }) => model.get(id))).toEqual(due.map(([, expiry]) => expiry).sort((a, b) => a - b));
    expect(timers.next).toBeGreaterThan(500);
  },
);
