/** The trace of a domain's hypercalls: decoded, filtered, bounded, and gone when it is off. */
import { expect, test } from "vitest";
import { BindVirq, EVTCHNOP } from "../../src/abi/event-channel.ts";
import { DOMID, HYPERVISOR, MMU, MmuUpdate, MulticallEntry, VIRQ } from "../../src/abi/xen.ts";
import type { TraceFilter } from "../../src/hypervisor/hypercall/trace-report.ts";
import { hypercall, type Script } from "./scripted-guest.ts";
import { type TestDomain, World } from "./world.ts";

const MS = 1_000_000;

/** A domain whose vCPU 0 runs the script traced from its first call on. */
function traced(script: (guest: TestDomain) => Script, only?: readonly string[]) {
  const world = new World();
  const guest = world.domain(1);
  expect(world.shard.setTrace(1, true, only)).toBe(0);
  guest.start(0, script(guest));
  world.run(MS);
  return { world, entries: (filter?: TraceFilter) => world.shard.trace(1, filter)!.trace };
}

function* bindVirq(guest: TestDomain, virq: number): Script {
  const arg = guest.put(BindVirq, (view, base) => BindVirq.virq.set(view, base, virq));
  yield hypercall(HYPERVISOR.eventChannelOp, EVTCHNOP.bindVirq, arg);
}

test("a call is shown with the names of its arguments and the struct that it was given", () => {
  const { entries } = traced((guest) => bindVirq(guest, VIRQ.debug));
  const [entry] = entries();
  expect(entry).toMatchObject({
    name: "event_channel_op.bind_virq",
    vcpu: 0,
    inMulticall: false,
    args: { cmd: "0x1", arg: "0x20000" },
    structs: [{ virq: VIRQ.debug, vcpu: 0, port: 0 }],
    result: "0",
    refusals: [],
  });
  expect(entry?.text).toBe("event_channel_op.bind_virq(cmd=0x1, arg=0x20000) [{virq=1, vcpu=0, port=0}] = 0");
});

test("a failed call is shown with the name of its error", () => {
  const { entries } = traced((guest) => bindVirq(guest, 99));
  expect(entries()[0]?.text).toBe(
    "event_channel_op.bind_virq(cmd=0x1, arg=0x20000) [{virq=99, vcpu=0, port=0}] = -22 (-EINVAL)",
  );
});

test("a struct that cannot be read is not shown, and the call goes its own way", () => {
  const { entries } = traced(function* () {
    yield hypercall(HYPERVISOR.eventChannelOp, EVTCHNOP.bindVirq, 0x7000_0000_0000);
  });
  expect(entries()[0]).toMatchObject({ structs: [], result: "-14" });
});

test("a refused page-table update says why in its call", () => {
  const { entries } = traced(function* (guest) {
    const request = guest.put(MmuUpdate, (view, base) => {
      MmuUpdate.ptr.setNumber(view, base, guest.mfn(guest.domain.memory.map.pages + 1e6) * 4096 + MMU.normalPtUpdate);
      MmuUpdate.val.setNumber(view, base, 0x1067);
    });
    yield hypercall(HYPERVISOR.mmuUpdate, request, 1, 0, DOMID.self);
  });
  const [entry] = entries();
  expect(entry).toMatchObject({ name: "mmu_update", structs: [{ val: "0x1067" }], result: "-22" });
  expect(entry?.refusals).toEqual([expect.stringContaining("an mmu_update names it")]);
  expect(entry?.text).toContain("= -22 (-EINVAL): frame 0x");
});

test("what lies in a multicall is traced behind it, marked, with its own results", () => {
  const { entries } = traced(function* (guest) {
    const list = guest.put({ size: MulticallEntry.size * 2 }, (view, base) => {
      MulticallEntry.op.setNumber(view, base, HYPERVISOR.xenVersion);
      MulticallEntry.op.setNumber(view, base + MulticallEntry.size, 63);
    });
    yield hypercall(HYPERVISOR.multicall, list, 2);
  });
  expect(entries().map(({ name, inMulticall, result }) => [name, inMulticall, result])).toEqual([
    ["multicall", false, "0"],
    ["xen_version.version", true, String(0x4_0011)],
    ["hypercall_63", true, "-38"],
  ]);
});

function* mixture(guest: TestDomain): Script {
  yield hypercall(HYPERVISOR.xenVersion, 0, 0);
  yield* bindVirq(guest, 99);
  yield hypercall(63);
}

test.each<[string, TraceFilter, number[]]>([
  ["everything", {}, [0, 1, 2]],
  ["a hypercall by its name, whatever its sub-operation", { name: "xen_version" }, [0]],
  ["a sub-operation by its name", { name: "event_channel_op.bind_virq" }, [1]],
  ["a sub-operation that was not called", { name: "event_channel_op.send" }, []],
  ["what failed", { failed: true }, [1, 2]],
  ["what did not fail", { failed: false }, [0]],
  ["another vCPU's", { vcpu: 1 }, []],
  ["from a place on", { since: 1 }, [1, 2]],
  ["so many at most", { limit: 2 }, [0, 1]],
])("a reader can ask for %s", (_what, filter, wanted) => {
  expect(
    traced(mixture)
      .entries(filter)
      .map(({ seq }) => seq),
  ).toEqual(wanted);
});

test("a page that is full says where to go on, past what the filter left out", () => {
  const { world } = traced(mixture);
  const first = world.shard.trace(1, { failed: true, limit: 1 })!;
  expect([first.trace.map(({ seq }) => seq), first.next]).toEqual([[1], 2]);
  const rest = world.shard.trace(1, { failed: true, limit: 1, since: first.next })!;
  expect([rest.trace.map(({ seq }) => seq), rest.next]).toEqual([[2], 3]);
});

test("a trace of some hypercalls keeps only those", () => {
  const { entries } = traced(mixture, ["event_channel_op"]);
  expect(entries().map(({ seq, name }) => [seq, name])).toEqual([[0, "event_channel_op.bind_virq"]]);
});

test("a trace of a hypercall that does not exist is refused, and changes nothing", () => {
  const { world, entries } = traced(mixture);
  expect(world.shard.setTrace(1, true, ["open"])).toBe(-22);
  expect(entries()).toHaveLength(3);
});

test("the ring keeps the last 4096 calls, and a reader sees what it has missed by the numbers", () => {
  const { entries } = traced(function* () {
    for (let i = 0; i < 5000; i++) yield hypercall(63);
  });
  const kept = entries({ limit: 10_000 });
  expect([kept.length, kept[0]?.seq, kept.at(-1)?.seq]).toEqual([4096, 904, 4999]);
});
