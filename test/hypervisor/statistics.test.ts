import { describe, expect, test } from "vitest";
import { BindIpi, EVTCHNOP, EvtchnSend } from "../../src/abi/event-channel.ts";
import { SCHEDOP } from "../../src/abi/sched.ts";
import { HYPERVISOR } from "../../src/abi/xen.ts";
import { EXIT_CAUSES } from "../../src/hypervisor/activity.ts";
import { Column, EXIT_COLUMNS, HYPERCALL_COLUMNS, ROW } from "../../src/hypervisor/statistics.ts";
import { hypercall, type Script, type Step, work } from "./scripted-guest.ts";
import { type TestDomain, World } from "./world.ts";

const named = (columns: readonly (readonly [number, string])[], row: Float64Array) =>
  Object.fromEntries(columns.filter(([at]) => row[at] !== 0).map(([at, name]) => [name, row[at]]));

/** Binds an IPI and sends it `times`. */
function* ipis(domain: () => TestDomain, times: number): Generator<Step, void, number> {
  const d = domain();
  const port = yield hypercall(
    HYPERVISOR.eventChannelOp,
    EVTCHNOP.bindIpi,
    d.put(BindIpi, (v, at) => BindIpi.vcpu.set(v, at, 0)),
  );
  expect(port).toBe(0);
  for (let i = 0; i < times; i++) {
    const arg = d.put(EvtchnSend, (v, at) => EvtchnSend.port.set(v, at, 1));
    yield hypercall(HYPERVISOR.eventChannelOp, EVTCHNOP.send, arg);
  }
}

describe("the figures of a shard's domains", () => {
  test("a row counts hypercalls by name, exits by cause, events and upcalls", () => {
    const world = new World();
    const domain: TestDomain = world.domain(1, [ipis(() => domain, 3)]);
    domain.domain.vcpus[0]!.upcallMasked = false;
    domain.engine.onUpcall = () => {
      domain.domain.vcpus[0]!.infoBytes[0] = 0;
    };
    world.run(1_000_000);
    const row = world.shard.statistics(1);
    expect(row).toHaveLength(ROW);
    expect(named(HYPERCALL_COLUMNS, row)).toEqual({ event_channel_op: 4 });
    expect(row[Column.hypercalls]).toBe(4);
    expect(named(EXIT_COLUMNS, row)).toEqual({ hypercall: 4 });
    expect(row[Column.eventsSent]).toBe(3);
    // The port is never taken, and one that is pending is not told again.
    expect(row[Column.upcalls]).toBe(1);
    expect(row[Column.memoryKiB]).toBe(domain.domain.memory.frames.ownPages * 4);
  });

  test("two domains that both want the processor share it, and each waits while the other runs", () => {
    const busy = function* (): Script {
      for (;;) yield work(1_000_000);
    };
    const world = new World();
    world.domain(1, [busy()]);
    world.domain(2, [busy()]);
    const begun = world.shard.now();
    world.run(20_000_000);
    const age = world.shard.now() - begun;
    const table = world.shard.statistics();
    expect(table).toHaveLength(2 * ROW);
    for (const row of [table.subarray(0, ROW), table.subarray(ROW)]) {
      expect(row[Column.running]! + row[Column.runnable]!).toBe(age);
      expect(row[Column.running]! / age).toBeCloseTo(0.5, 1);
      expect(row[Column.instructions]).toBe(row[Column.running]);
    }
  });

  test("vCPUs that are down count as vCPUs, and not as online", () => {
    const world = new World();
    world.domain(3, [], { vcpus: 3 });
    const row = world.shard.statistics(3);
    expect([row[Column.domid], row[Column.vcpus], row[Column.vcpusOnline]]).toEqual([3, 3, 0]);
  });

  test("a domid that is not there has no row", () => {
    expect(new World().shard.statistics(5)).toHaveLength(0);
  });

  test("every cause and every hypercall has a column of its own, behind the fixed ones", () => {
    const places = [...Object.values(Column), ...[...EXIT_COLUMNS, ...HYPERCALL_COLUMNS].map(([at]) => at)];
    expect(places.toSorted((a, b) => a - b)).toEqual(Array.from({ length: ROW }, (_, at) => at));
    expect(EXIT_COLUMNS.map(([, cause]) => cause)).toEqual(EXIT_CAUSES);
    expect(new Set(HYPERCALL_COLUMNS.map(([, name]) => name)).size).toBe(HYPERCALL_COLUMNS.length);
  });
});

describe("a crash that is asked for", () => {
  test("ends the domain as a guest's own crash does, with the registers and the reason", () => {
    const world = new World();
    const domain = world.domain(1, [
      (function* (): Script {
        yield hypercall(HYPERVISOR.schedOp, SCHEDOP.block, 0);
      })(),
    ]);
    world.run(1000);
    expect(world.shard.crash(1, "asked for")).toBe(0);
    expect(domain.domain.runnable).toBe(false);
    expect(world.toDom0).toContainEqual(
      expect.objectContaining({ kind: "shutdown", domid: 1, crash: expect.objectContaining({ reason: "asked for" }) }),
    );
  });

  test("of a domain that is not there is refused", () => {
    expect(new World().shard.crash(9, "asked for")).toBeLessThan(0);
  });
});
