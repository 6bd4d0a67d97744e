import { describe, expect, test } from "vitest";
import { Errno } from "../../src/abi/errno.ts";
import {
  AllocUnbound,
  BindInterdomain,
  BindIpi,
  BindVirq,
  EVTCHN_FIFO,
  EVTCHNOP,
  EVTCHNSTAT,
  EvtchnBindVcpu,
  EvtchnClose,
  EvtchnExpandArray,
  EvtchnInitControl,
  EvtchnReset,
  EvtchnSend,
  EvtchnSetPriority,
  EvtchnStatus,
  EvtchnUnmask,
} from "../../src/abi/event-channel.ts";
import { SCHEDOP } from "../../src/abi/sched.ts";
import { DOMID, HYPERVISOR, VIRQ } from "../../src/abi/xen.ts";
import { hypercall, type Script, type Step } from "./scripted-guest.ts";
import { type TestDomain, World } from "./world.ts";

const op = (number: number, at: number): Step => hypercall(HYPERVISOR.eventChannelOp, number, at);

/** Runs one event channel operation after another on vCPU 0, each made when the ones before it are done; gives the results. */
function results(domain: TestDomain, steps: (() => Step)[], vcpu = 0): number[] {
  const out: number[] = [];
  domain.start(
    vcpu,
    (function* (): Script {
      for (const step of steps) out.push(yield step());
    })(),
  );
  return out;
}

const alloc =
  (d: TestDomain, remote: number, dom: number = DOMID.self) =>
  () =>
    op(
      EVTCHNOP.allocUnbound,
      d.put(AllocUnbound, (v, at) => {
        AllocUnbound.dom.set(v, at, dom);
        AllocUnbound.remoteDom.set(v, at, remote);
      }),
    );
const bindInterdomain = (d: TestDomain, remoteDom: number, remotePort: number) => () =>
  op(
    EVTCHNOP.bindInterdomain,
    d.put(BindInterdomain, (v, at) => {
      BindInterdomain.remoteDom.set(v, at, remoteDom);
      BindInterdomain.remotePort.set(v, at, remotePort);
    }),
  );
const bindVirq = (d: TestDomain, virq: number, vcpu: number) => () =>
  op(
    EVTCHNOP.bindVirq,
    d.put(BindVirq, (v, at) => {
      BindVirq.virq.set(v, at, virq);
      BindVirq.vcpu.set(v, at, vcpu);
    }),
  );
const bindIpi = (d: TestDomain, vcpu: number) => () =>
  op(
    EVTCHNOP.bindIpi,
    d.put(BindIpi, (v, at) => BindIpi.vcpu.set(v, at, vcpu)),
  );
const close = (d: TestDomain, port: number) => () =>
  op(
    EVTCHNOP.close,
    d.put(EvtchnClose, (v, at) => EvtchnClose.port.set(v, at, port)),
  );
const send = (d: TestDomain, port: number) => () =>
  op(
    EVTCHNOP.send,
    d.put(EvtchnSend, (v, at) => EvtchnSend.port.set(v, at, port)),
  );
const unmask = (d: TestDomain, port: number) => () =>
  op(
    EVTCHNOP.unmask,
    d.put(EvtchnUnmask, (v, at) => EvtchnUnmask.port.set(v, at, port)),
  );
const bindVcpu = (d: TestDomain, port: number, vcpu: number) => () =>
  op(
    EVTCHNOP.bindVcpu,
    d.put(EvtchnBindVcpu, (v, at) => {
      EvtchnBindVcpu.port.set(v, at, port);
      EvtchnBindVcpu.vcpu.set(v, at, vcpu);
    }),
  );
const reset = (d: TestDomain, dom: number) => () =>
  op(
    EVTCHNOP.reset,
    d.put(EvtchnReset, (v, at) => EvtchnReset.dom.set(v, at, dom)),
  );
const priority = (d: TestDomain, port: number, value: number) => () =>
  op(
    EVTCHNOP.setPriority,
    d.put(EvtchnSetPriority, (v, at) => {
      EvtchnSetPriority.port.set(v, at, port);
      EvtchnSetPriority.priority.set(v, at, value);
    }),
  );
const initControl = (d: TestDomain, mfn: number, offset: number, vcpu: number) => () =>
  op(
    EVTCHNOP.initControl,
    d.put(EvtchnInitControl, (v, at) => {
      EvtchnInitControl.controlGfn.setNumber(v, at, mfn);
      EvtchnInitControl.offset.set(v, at, offset);
      EvtchnInitControl.vcpu.set(v, at, vcpu);
    }),
  );
const expandArray = (d: TestDomain, mfn: number) => () =>
  op(
    EVTCHNOP.expandArray,
    d.put(EvtchnExpandArray, (v, at) => EvtchnExpandArray.arrayGfn.setNumber(v, at, mfn)),
  );

function status(d: TestDomain, port: number): { status: number; vcpu: number; dom: number } {
  const channel = d.domain.events.get(port);
  return { status: channel?.state ?? -1, vcpu: channel?.notifyVcpu ?? -1, dom: channel?.remoteDomid ?? -1 };
}

describe("ports of one domain", () => {
  type Row = readonly [string, (d: TestDomain) => (() => Step)[], readonly number[]];
  const rows: readonly Row[] = [
    ["a domain gets its lowest free port, never 0", (d) => [alloc(d, 0)], [0]],
    ["another domain's port cannot be allocated", (d) => [alloc(d, 0, 0)], [-Errno.EPERM]],
    ["a port for a domain that does not exist", (d) => [alloc(d, 0, 77)], [-Errno.ESRCH]],
    ["a domain may name itself by number", (d) => [alloc(d, 0, 1)], [0]],
    ["port 0 cannot be closed", (d) => [close(d, 0)], [-Errno.EINVAL]],
    ["a port that was never allocated cannot be closed", (d) => [close(d, 9)], [-Errno.EINVAL]],
    ["a port is closed once", (d) => [alloc(d, 0), close(d, 1), close(d, 1)], [0, 0, -Errno.EINVAL]],
    ["sending to an unbound port is dropped", (d) => [alloc(d, 0), send(d, 1)], [0, 0]],
    ["sending to a closed port", (d) => [alloc(d, 0), close(d, 1), send(d, 1)], [0, 0, -Errno.EINVAL]],
    ["sending to a VIRQ", (d) => [bindVirq(d, VIRQ.timer, 0), send(d, 1)], [0, -Errno.EINVAL]],
    ["a VIRQ that does not exist", (d) => [bindVirq(d, 24, 0)], [-Errno.EINVAL]],
    ["a VIRQ of a vCPU that does not exist", (d) => [bindVirq(d, VIRQ.timer, 2)], [-Errno.ENOENT]],
    ["a global VIRQ is vCPU 0's", (d) => [bindVirq(d, VIRQ.console, 1)], [-Errno.EINVAL]],
    ["a VIRQ is bound once", (d) => [bindVirq(d, 0, 0), bindVirq(d, 0, 0)], [0, -Errno.EEXIST]],
    ["a VIRQ can be bound again after a close", (d) => [bindVirq(d, 0, 1), close(d, 1), bindVirq(d, 0, 1)], [0, 0, 0]],
    [
      "a global VIRQ that was moved to another vCPU can be bound again after a close",
      (d) => [bindVirq(d, VIRQ.console, 0), bindVcpu(d, 1, 1), close(d, 1), bindVirq(d, VIRQ.console, 0)],
      [0, 0, 0, 0],
    ],
    ["an IPI to a vCPU that does not exist", (d) => [bindIpi(d, 5)], [-Errno.ENOENT]],
    ["an IPI stays with its vCPU", (d) => [bindIpi(d, 1), bindVcpu(d, 1, 0)], [0, -Errno.EINVAL]],
    ["a per-vCPU VIRQ stays with its vCPU", (d) => [bindVirq(d, 0, 1), bindVcpu(d, 1, 0)], [0, -Errno.EINVAL]],
    ["an unbound port may move", (d) => [alloc(d, 0), bindVcpu(d, 1, 1)], [0, 0]],
    ["a move to a vCPU that does not exist", (d) => [alloc(d, 0), bindVcpu(d, 1, 9)], [0, -Errno.ENOENT]],
    [
      "unmasking a port that is not in use, and one beyond the last bucket",
      (d) => [unmask(d, 7), unmask(d, 64)],
      [0, -Errno.EINVAL],
    ],
    ["priorities are for the FIFO ABI", (d) => [alloc(d, 0), priority(d, 1, 3)], [0, -Errno.ENOSYS]],
    [
      "a PIRQ is not for an unprivileged domain",
      (d) => [
        () =>
          op(
            EVTCHNOP.bindPirq,
            d.put({ size: 12 }, () => {}),
          ),
      ],
      [-Errno.EPERM],
    ],
    [
      "an operation that does not exist",
      (d) => [
        () =>
          op(
            99,
            d.put({ size: 4 }, () => {}),
          ),
      ],
      [-Errno.ENOSYS],
    ],
    ["an argument that cannot be read", () => [() => op(EVTCHNOP.close, 0x7f00_0000_0000)], [-Errno.EFAULT]],
    ["only one's own channels are reset", (d) => [reset(d, 0)], [-Errno.EPERM]],
    [
      "a domain resets its own",
      (d) => [alloc(d, 0), bindIpi(d, 0), reset(d, DOMID.self), close(d, 1)],
      [0, 0, 0, -Errno.EINVAL],
    ],
  ];
  test.each(rows)("%s", (_name, steps, expected) => {
    const world = new World();
    const d = world.domain(1, [], { vcpus: 2 });
    const got = results(d, steps(d));
    world.run(1_000_000);
    expect(got).toEqual(expected);
  });

  test("a full table refuses, and is left as it was", () => {
    const { domain } = new World().domain(1);
    for (let port = 1; port <= 1023; port++) expect(domain.events.allocUnbound(0)).toBe(port);
    expect(domain.events.allocUnbound(0)).toBe(-Errno.ENOSPC);
    domain.events.free(domain.events.get(500)!);
    expect(domain.events.allocUnbound(0)).toBe(500);
    expect(domain.events.allocUnbound(0)).toBe(-Errno.ENOSPC);
  });

  test("status tells what a port is bound to", () => {
    const world = new World();
    const d = world.domain(1, [], { vcpus: 2 });
    const asked: number[][] = [];
    const ask = (port: number) => () =>
      op(
        EVTCHNOP.status,
        d.put(EvtchnStatus, (v, at) => {
          EvtchnStatus.dom.set(v, at, DOMID.self);
          EvtchnStatus.port.set(v, at, port);
        }),
      );
    d.start(
      0,
      (function* (): Script {
        yield alloc(d, 7)();
        yield bindVirq(d, VIRQ.timer, 1)();
        yield bindIpi(d, 1)();
        for (const port of [1, 2, 3]) {
          const rc = yield ask(port)();
          asked.push([rc, EvtchnStatus.status.get(d.view, 0x20_000), EvtchnStatus.vcpu.get(d.view, 0x20_000)]);
        }
        for (const port of [0, 4, 64]) asked.push([yield ask(port)()]);
      })(),
    );
    world.run(1_000_000);
    expect(asked).toEqual([
      [0, EVTCHNSTAT.unbound, 0],
      [0, EVTCHNSTAT.virq, 1],
      [0, EVTCHNSTAT.ipi, 1],
      [0],
      [0],
      [-Errno.EINVAL],
    ]);
  });
});

describe("delivery in the 2-level ABI", () => {
  test("an IPI to oneself enters the event callback once, with events masked", () => {
    const world = new World();
    const d = world.domain(1);
    let upcalls = 0;
    d.engine.onUpcall = (vcpu) => {
      upcalls++;
      expect(d.domain.vcpus[vcpu]!.upcallMasked).toBe(true);
      expect(d.domain.events.abi.isPending(1)).toBe(true);
      d.domain.vcpus[vcpu]!.infoBytes[0] = 0;
    };
    const got = results(d, [bindIpi(d, 0), send(d, 1), () => hypercall(HYPERVISOR.schedOp, SCHEDOP.block)]);
    d.domain.vcpus[0]!.upcallMasked = false;
    world.run(1_000_000);
    expect(got.slice(0, 2)).toEqual([0, 0]);
    expect(upcalls).toBe(1);
  });

  test("a masked port sets its bit and interrupts nobody, until it is unmasked", () => {
    const world = new World();
    const d = world.domain(1);
    d.domain.sharedInfo[2560 / 4] = 1 << 1;
    const got = results(d, [bindIpi(d, 0), send(d, 1)]);
    world.run(1_000_000);
    expect(got).toEqual([0, 0]);
    expect(d.domain.events.abi.isPending(1)).toBe(true);
    expect(d.domain.vcpus[0]!.upcallPending).toBe(false);
    d.domain.events.unmask(1);
    expect(d.domain.vcpus[0]!.upcallPending).toBe(true);
    expect(d.domain.vcpus[0]!.info[2]).toBe(1);
  });

  test("closing a port takes its pending bit along", () => {
    const world = new World();
    const d = world.domain(1);
    results(d, [bindIpi(d, 0), send(d, 1), close(d, 1)]);
    world.run(1_000_000);
    expect(d.domain.events.abi.isPending(1)).toBe(false);
  });
});

describe("two domains", () => {
  for (const shards of [1, 2]) {
    const where = shards === 1 ? "on one shard" : "on two shards";
    const setUp = () => {
      const world = new World({ shards });
      const a = world.domain(1);
      const b = world.domain(2, [], { shard: shards - 1 });
      return { world, a, b };
    };

    test(`bind, notify both ways, close: ${where}`, () => {
      const { world, a, b } = setUp();
      const atA = results(a, [alloc(a, 2)]);
      world.run(100_000);
      const atB = results(b, [bindInterdomain(b, 1, 1), send(b, 1)]);
      world.run(1_000_000);
      expect([atA, atB]).toEqual([[0], [0, 0]]);
      expect(status(a, 1)).toEqual({ status: EVTCHNSTAT.interdomain, vcpu: 0, dom: 2 });
      expect(status(b, 1)).toEqual({ status: EVTCHNSTAT.interdomain, vcpu: 0, dom: 1 });
      // The binder's own port is raised at once, for notifications it may have missed.
      expect(b.domain.events.abi.isPending(1)).toBe(true);
      expect(a.domain.events.abi.isPending(1)).toBe(true);
      b.domain.events.abi.clearPending(b.domain.events.get(1)!);
      const again = results(a, [send(a, 1), close(a, 1)]);
      world.run(1_000_000);
      expect(again).toEqual([0, 0]);
      expect(status(a, 1).status).toBe(EVTCHNSTAT.closed);
      expect(status(b, 1)).toEqual({ status: EVTCHNSTAT.unbound, vcpu: 0, dom: 1 });
    });

    test(`a port that is meant for someone else, or does not exist, is refused: ${where}`, () => {
      const { world, a, b } = setUp();
      results(a, [alloc(a, 7)]);
      world.run(100_000);
      const got = results(b, [
        bindInterdomain(b, 1, 1),
        bindInterdomain(b, 1, 5),
        bindInterdomain(b, 9, 1),
        alloc(b, 0),
      ]);
      world.run(1_000_000);
      expect(got).toEqual([-Errno.EINVAL, -Errno.EINVAL, -Errno.ESRCH, 0]);
      // The ports reserved for the refused binds are free again.
      expect(AllocUnbound.port.get(b.view, 0x20_000)).toBe(1);
    });

    test(`the other end's domain is destroyed: ${where}`, () => {
      const { world, a, b } = setUp();
      results(a, [alloc(a, 2)]);
      world.run(100_000);
      results(b, [bindInterdomain(b, 1, 1)]);
      world.run(1_000_000);
      world.shards[0]!.destroy(1);
      world.run(1_000_000);
      expect(status(b, 1)).toEqual({ status: EVTCHNSTAT.unbound, vcpu: 0, dom: 1 });
      const got = results(b, [send(b, 1), close(b, 1)]);
      world.run(1_000_000);
      expect(got).toEqual([0, 0]);
      expect(world.toDom0).toContainEqual({ kind: "destroyed", domid: 1 });
    });
  }

  test("while a bind waits for the other shard its vCPU does not run, and its port is nobody's", () => {
    const world = new World({ shards: 2 });
    const a = world.domain(1);
    results(a, [alloc(a, 2)]);
    world.run(100_000);
    const b = world.domain(2, [], { shard: 1 });
    const got = results(b, [bindInterdomain(b, 1, 1)]);
    world.shards[1]!.run(world.shards[1]!.now() + 100_000);
    expect(got).toEqual([]);
    expect(b.domain.vcpus[0]!.parked).not.toBeNull();
    expect(world.inFlight).toHaveLength(1);
    world.deliver();
    world.run(100_000);
    expect(got).toEqual([0]);
  });

  test("a caller that is destroyed while it waits leaves the other end unbound", () => {
    const world = new World({ shards: 2 });
    const a = world.domain(1);
    results(a, [alloc(a, 2)]);
    world.run(100_000);
    const b = world.domain(2, [], { shard: 1 });
    results(b, [bindInterdomain(b, 1, 1)]);
    world.shards[1]!.run(world.shards[1]!.now() + 100_000);
    world.shards[1]!.destroy(2);
    world.deliver();
    expect(status(a, 1)).toEqual({ status: EVTCHNSTAT.unbound, vcpu: 0, dom: 2 });
    expect(world.toDom0).toContainEqual({ kind: "destroyed", domid: 2 });
  });

  test.each([
    ["a port that was never made", 1, 70],
    ["a domain that is gone", 1, 1],
    ["somebody else's port", 1, 2],
  ])("a caller that is destroyed while it waits to bind %s leaves all as it was", (what, domid, port) => {
    const world = new World({ shards: 2 });
    const a = world.domain(1);
    results(a, [alloc(a, 2), alloc(a, 7)]);
    world.run(100_000);
    const b = world.domain(2, [], { shard: 1 });
    results(b, [bindInterdomain(b, domid, port)]);
    world.shards[1]!.run(world.shards[1]!.now() + 100_000);
    world.shards[1]!.destroy(2);
    expect([...b.domain.events.inUse()]).toEqual([]);
    if (what.startsWith("a domain")) world.shards[0]!.destroy(1);
    world.deliver();
    expect(world.toDom0).toContainEqual({ kind: "destroyed", domid: 2 });
    expect(status(a, 2)).toMatchObject(what.startsWith("a domain") ? { status: EVTCHNSTAT.closed } : { dom: 7 });
  });

  test("a caller whose other side's shard is lost gets -ESRCH", () => {
    const world = new World({ shards: 2 });
    const a = world.domain(1);
    results(a, [alloc(a, 2)]);
    world.run(100_000);
    const b = world.domain(2, [], { shard: 1 });
    const got = results(b, [bindInterdomain(b, 1, 1)]);
    world.shards[1]!.run(world.shards[1]!.now() + 100_000);
    world.inFlight.length = 0;
    world.shards[1]!.receive({ kind: "gone", domid: 1 });
    world.run(100_000);
    expect(got).toEqual([-Errno.ESRCH]);
    expect(status(b, 1).status).toBe(EVTCHNSTAT.closed);
  });

  test("a late notification of a channel that is no more is dropped", () => {
    const world = new World({ shards: 2 });
    const a = world.domain(1);
    a.domain.events.allocUnbound(2);
    world.shard.receive({ kind: "notify", local: { domid: 2, port: 1 }, remote: { domid: 1, port: 1 } });
    world.shard.receive({ kind: "notify", local: { domid: 2, port: 1 }, remote: { domid: 5, port: 1 } });
    expect(a.domain.events.abi.isPending(1)).toBe(false);
  });
});

describe("Domain 0", () => {
  test("binds what is offered to it, and both sides notify", () => {
    const world = new World();
    const d = world.domain(1);
    expect(world.shard.allocUnbound(1, 0)).toBe(1);
    expect(world.shard.allocUnbound(1, 5)).toBe(2);
    expect(world.shard.bindDom0(1, 1)).toBe(0);
    expect(world.shard.bindDom0(1, 2)).toBe(-Errno.EINVAL);
    const got = results(d, [send(d, 1), send(d, 2)]);
    world.run(1_000_000);
    expect(got).toEqual([0, 0]);
    expect(world.toDom0).toEqual([{ kind: "event", domid: 1, port: 1 }]);
    world.shard.notifyPort(1, 1);
    world.shard.notifyPort(1, 2);
    expect([d.domain.events.abi.isPending(1), d.domain.events.abi.isPending(2)]).toEqual([true, false]);
  });
});

describe("the FIFO ABI", () => {
  const CONTROL_PFN = 40;
  const ARRAY_PFN = 41;
  const setUp = () => {
    const world = new World();
    const d = world.domain(1, [], { vcpus: 2 });
    const word = (port: number) => d.view.getUint32(ARRAY_PFN * 4096 + port * 4, true);
    const setWord = (port: number, value: number) => d.view.setUint32(ARRAY_PFN * 4096 + port * 4, value, true);
    const ready = () => d.view.getUint32(CONTROL_PFN * 4096, true);
    const head = (queue: number) => d.view.getUint32(CONTROL_PFN * 4096 + 8 + queue * 4, true);
    return { world, d, word, setWord, ready, head };
  };
  const PENDING = 2 ** EVTCHN_FIFO.pendingBit;
  const MASKED = 2 ** EVTCHN_FIFO.maskedBit;
  const LINKED = 2 ** EVTCHN_FIFO.linkedBit;

  test("is entered by a control block, grown by pages, and refuses what is not the domain's", () => {
    const { world, d } = setUp();
    const got = results(d, [
      expandArray(d, d.mfn(ARRAY_PFN)),
      initControl(d, d.mfn(CONTROL_PFN), 0, 2),
      initControl(d, d.mfn(CONTROL_PFN), 4095, 0),
      initControl(d, 5, 0, 0),
      initControl(d, d.mfn(CONTROL_PFN), 0, 0),
      initControl(d, d.mfn(CONTROL_PFN), 0, 0),
      initControl(d, d.mfn(CONTROL_PFN), 128, 1),
      expandArray(d, 5),
      expandArray(d, d.mfn(ARRAY_PFN)),
    ]);
    world.run(1_000_000);
    const { EOPNOTSUPP, ENOENT, EINVAL } = Errno;
    expect(got).toEqual([-EOPNOTSUPP, -ENOENT, -EINVAL, -EINVAL, 0, -EINVAL, 0, -EINVAL, 0]);
  });

  test("links events in order, and makes the queue ready once", () => {
    const { world, d, word, ready, head } = setUp();
    const got = results(d, [
      initControl(d, d.mfn(CONTROL_PFN), 0, 0),
      expandArray(d, d.mfn(ARRAY_PFN)),
      bindIpi(d, 0),
      bindIpi(d, 0),
      send(d, 1),
      send(d, 2),
    ]);
    world.run(1_000_000);
    expect(got).toEqual([0, 0, 0, 0, 0, 0]);
    const queue = EVTCHN_FIFO.priorityDefault;
    expect([ready(), head(queue)]).toEqual([1 << queue, 1]);
    expect(word(1)).toBe(PENDING + LINKED + 2);
    expect(word(2)).toBe(PENDING + LINKED);
    expect(d.domain.vcpus[0]!.upcallPending).toBe(true);
  });

  test("a masked event is linked when it is unmasked; priorities choose the queue", () => {
    const { world, d, word, setWord, ready, head } = setUp();
    results(d, [initControl(d, d.mfn(CONTROL_PFN), 0, 0), expandArray(d, d.mfn(ARRAY_PFN)), bindIpi(d, 0)]);
    world.run(1_000_000);
    setWord(1, MASKED);
    const got = results(d, [priority(d, 1, 16), priority(d, 1, 2), send(d, 1)]);
    world.run(1_000_000);
    expect(got).toEqual([-Errno.EINVAL, 0, 0]);
    expect([word(1), ready()]).toEqual([PENDING + MASKED, 0]);
    results(d, [unmask(d, 1)]);
    world.run(1_000_000);
    expect([word(1), ready(), head(2)]).toEqual([PENDING + LINKED, 1 << 2, 1]);
  });

  test("a port that is not in use has no priority (-EACCES), and its user begins with the usual one", () => {
    const { world, d } = setUp();
    const got = results(d, [
      initControl(d, d.mfn(CONTROL_PFN), 0, 0),
      priority(d, 1, 2),
      bindIpi(d, 0),
      expandArray(d, d.mfn(ARRAY_PFN)),
      send(d, 1),
    ]);
    world.run(1_000_000);
    expect(got).toEqual([0, -Errno.EACCES, 0, 0, 0]);
    expect(d.view.getUint32(CONTROL_PFN * 4096, true)).toBe(1 << EVTCHN_FIFO.priorityDefault);
  });

  test("an event from before its page is raised when the page comes", () => {
    const { world, d, word } = setUp();
    const got = results(d, [
      bindIpi(d, 0),
      bindIpi(d, 0),
      send(d, 1),
      initControl(d, d.mfn(CONTROL_PFN), 0, 0),
      send(d, 2),
      expandArray(d, d.mfn(ARRAY_PFN)),
    ]);
    world.run(1_000_000);
    expect(got).toEqual([0, 0, 0, 0, 0, 0]);
    expect([word(1), word(2)]).toEqual([PENDING + LINKED + 2, PENDING + LINKED]);
  });

  test("links that the guest has broken hurt only itself", () => {
    const { world, d, setWord } = setUp();
    results(d, [
      initControl(d, d.mfn(CONTROL_PFN), 0, 0),
      expandArray(d, d.mfn(ARRAY_PFN)),
      bindIpi(d, 0),
      bindIpi(d, 0),
    ]);
    world.run(1_000_000);
    for (let port = 0; port < 1024; port++) setWord(port, 0x1fff_ffff);
    const got = results(d, [send(d, 1), send(d, 2), close(d, 1), send(d, 2)]);
    world.run(1_000_000);
    expect(got).toEqual([0, 0, 0, 0]);
  });

  test("a reset goes back to the 2-level ABI and lets go of the frames", () => {
    const { world, d } = setUp();
    const before = d.domain.memory.frames.refs(CONTROL_PFN);
    const got = results(d, [
      initControl(d, d.mfn(CONTROL_PFN), 0, 0),
      expandArray(d, d.mfn(ARRAY_PFN)),
      reset(d, DOMID.self),
      bindIpi(d, 0),
      send(d, 1),
    ]);
    world.run(1_000_000);
    expect(got).toEqual([0, 0, 0, 0, 0]);
    expect(d.domain.sharedInfo[2048 / 4]).toBe(2);
    expect(d.domain.memory.frames.refs(CONTROL_PFN)).toBe(before);
  });
});
