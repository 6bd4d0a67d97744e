/**
 * HYPERVISOR_event_channel_op (xen/event_channel.h, Xen 4.17's common/event_channel.c): whose ports are spoken of, what is written back,
 * and what happens to a port that two calls have to do with at once, on one shard and on two.
 */
import { describe, expect, test } from "vitest";
import { Errno } from "../../src/abi/errno.ts";
import { EVTCHNOP, EVTCHNOP_RESET_CONT, EVTCHNSTAT } from "../../src/abi/event-channel.ts";
import { HYPERVISOR, VIRQ } from "../../src/abi/xen.ts";
import { ChannelState, DEFAULT_MAX_PORT } from "../../src/hypervisor/event-channel/event-channels.ts";
import { acceptNotify, closePort } from "../../src/hypervisor/event-channel/interdomain.ts";
import { HypercallArgs } from "../../src/hypervisor/hypercall/arguments.ts";
import { call } from "../../src/hypervisor/hypercall/hypercalls.ts";
import { parked } from "../../src/hypervisor/hypercall/result.ts";
import { NR_PIRQS } from "../../src/hypervisor/pirqs.ts";
import { auditShards } from "./audit-domain.ts";
import { SCRATCH, type TestDomain, World } from "./world.ts";

const { EINVAL, EPERM, ESRCH, ENOSPC, ENOENT, EFAULT, ENOSYS } = Errno;
const SELF = 0x7ff0;
const NOBODY = 77;

/** A call by a vCPU with 32-bit words as its argument. */
function op(domain: TestDomain, number: number, words: readonly number[], { vcpu = 0, at = SCRATCH } = {}): unknown {
  for (let i = 0; i < 8; i++) domain.view.setUint32(at + i * 4, words[i] ?? 0, true);
  const args = new HypercallArgs();
  args.setNumber(0, number);
  args.setNumber(1, at);
  return call(domain.domain.vcpus[vcpu]!.context, HYPERVISOR.eventChannelOp, args);
}
const wordsAt = (domain: TestDomain, count: number, at = SCRATCH): number[] =>
  Array.from({ length: count }, (_, i) => domain.view.getUint32(at + i * 4, true));
function offer(domain: TestDomain, to: number): number {
  expect(op(domain, EVTCHNOP.allocUnbound, [SELF | (to << 16)])).toBe(0);
  return wordsAt(domain, 2)[1]!;
}
const bind = (domain: TestDomain, to: number, port: number, options = {}) =>
  op(domain, EVTCHNOP.bindInterdomain, [to, port], options);
const state = (domain: TestDomain, port: number) => domain.domain.events.get(port)!.state;

/** Two domains, of two vCPUs each. */
function pair(shards = 1) {
  const world = new World({ shards });
  const one = world.domain(1, [], { vcpus: 2 });
  const two = world.domain(2, [], { vcpus: 2, shard: shards - 1 });
  return { world, one, two };
}

describe("whose ports", () => {
  const rows: readonly [string, number, readonly number[], number][] = [
    ["status of another's port that everybody has", EVTCHNOP.status, [2, 63], -EPERM],
    ["status of another's port that few have", EVTCHNOP.status, [2, 64], -EINVAL],
    ["status of nobody's port", EVTCHNOP.status, [NOBODY, 63], -ESRCH],
    ["status of Domain 0's port", EVTCHNOP.status, [0, 1], -EPERM],
    ["a port of another's", EVTCHNOP.allocUnbound, [2 | (1 << 16)], -EPERM],
    ["a port of nobody's", EVTCHNOP.allocUnbound, [NOBODY | (1 << 16)], -ESRCH],
    ["a reset of another", EVTCHNOP.reset, [2], -EPERM],
    ["a reset of nobody", EVTCHNOP.reset, [NOBODY], -ESRCH],
    ["going on with a reset", EVTCHNOP_RESET_CONT, [SELF], -EINVAL],
    ["going on with a reset of another", EVTCHNOP_RESET_CONT, [2], -EPERM],
    ["a bind to Domain 0's port", EVTCHNOP.bindInterdomain, [0, 1], -EINVAL],
    ["a bind to nobody's port", EVTCHNOP.bindInterdomain, [NOBODY, 1], -ESRCH],
    ["the last PIRQ", EVTCHNOP.bindPirq, [NR_PIRQS - 1], -EPERM],
    ["one beyond the last PIRQ", EVTCHNOP.bindPirq, [NR_PIRQS], -EINVAL],
    ["an IPI to no vCPU", EVTCHNOP.bindIpi, [2], -ENOENT],
    ["a VIRQ of no vCPU", EVTCHNOP.bindVirq, [VIRQ.timer, 2], -ENOENT],
    ["a VIRQ that there is not", EVTCHNOP.bindVirq, [99, 0], -EINVAL],
  ];
  test.each(rows)("%s: %#", (_name, number, words, result) => {
    const { one } = pair();
    expect(op(one, number, words)).toBe(result);
    expect([...one.domain.events.inUse()]).toEqual([]);
  });

  test("a full table refuses every kind, and the port that was offered stays so", () => {
    const { one, two } = pair();
    const port = offer(two, 1);
    for (let i = 0; i < DEFAULT_MAX_PORT; i++) offer(one, 2);
    expect(op(one, EVTCHNOP.allocUnbound, [SELF | (2 << 16)])).toBe(-ENOSPC);
    expect(op(one, EVTCHNOP.bindVirq, [VIRQ.timer, 0])).toBe(-ENOSPC);
    expect(op(one, EVTCHNOP.bindIpi, [0])).toBe(-ENOSPC);
    expect(bind(one, 2, port)).toBe(-ENOSPC);
    expect(state(two, port)).toBe(EVTCHNSTAT.unbound);
  });

  test("the old form of the call has the operations up to unmask", () => {
    const { one } = pair();
    const old = (command: number, ...words: number[]) => {
      [command, ...words].forEach((word, i) => {
        one.view.setUint32(SCRATCH + i * 4, word, true);
      });
      const args = new HypercallArgs();
      args.setNumber(0, SCRATCH);
      return call(one.domain.vcpus[0]!.context, HYPERVISOR.eventChannelOpCompat, args);
    };
    expect([old(EVTCHNOP.unmask, 1), old(EVTCHNOP.unmask + 1, SELF)]).toEqual([0, -ENOSYS]);
  });
});

describe("what is written back", () => {
  test("status says what a port is bound to: dom, port, status, vcpu, and two words by the kind", () => {
    const { one, two } = pair();
    const offered = offer(two, 1);
    const far = offer(two, 1);
    const unbound = offer(one, 5);
    expect(bind(one, 2, far)).toBe(0);
    expect([op(one, EVTCHNOP.bindVirq, [VIRQ.console, 0]), wordsAt(one, 3)]).toEqual([0, [VIRQ.console, 0, 3]]);
    expect([op(one, EVTCHNOP.bindIpi, [1]), wordsAt(one, 2)]).toEqual([0, [1, 4]]);
    const status = (port: number) => {
      expect(op(one, EVTCHNOP.status, [SELF, port])).toBe(0);
      return wordsAt(one, 6).slice(2);
    };
    expect([0, unbound, 2, 3, 4, 5].map(status)).toEqual([
      [EVTCHNSTAT.closed, 0, 0, 0],
      [EVTCHNSTAT.unbound, 0, 5, 0],
      [EVTCHNSTAT.interdomain, 0, 2, far],
      [EVTCHNSTAT.virq, 0, VIRQ.console, 0],
      [EVTCHNSTAT.ipi, 1, 0, 0],
      [EVTCHNSTAT.closed, 0, 0, 0],
    ]);
    expect(offered).not.toBe(far);
  });

  test.each([1, 2])("a bind writes its port beside what the guest asked for: %i shard(s)", (shards) => {
    const { world, one, two } = pair(shards);
    offer(two, 1);
    const port = offer(two, 1);
    const result = bind(one, 2, port);
    expect(result).toBe(shards === 1 ? 0 : parked);
    world.deliver();
    expect(wordsAt(one, 4)).toEqual([2, port, 1, 0]);
  });

  test("a port that a call has taken and not given out yet is closed to everybody else", () => {
    const { one, two } = pair(2);
    const port = offer(two, 1);
    expect(bind(one, 2, port)).toBe(parked);
    expect(op(one, EVTCHNOP.status, [SELF, 1], { vcpu: 1 })).toBe(0);
    expect(wordsAt(one, 3)[2]).toBe(EVTCHNSTAT.closed);
    expect(op(one, EVTCHNOP.close, [1], { vcpu: 1 })).toBe(-EINVAL);
    expect(op(one, EVTCHNOP.send, [1], { vcpu: 1 })).toBe(-EINVAL);
  });

  test("where the port cannot be written the call is -EFAULT", () => {
    const { one, two } = pair();
    const port = offer(two, 1);
    op(one, EVTCHNOP.bindIpi, [0]);
    const args = new HypercallArgs();
    args.setNumber(0, EVTCHNOP.bindInterdomain);
    args.setNumber(1, 0x7f00_0000_0000);
    expect(call(one.domain.vcpus[0]!.context, HYPERVISOR.eventChannelOp, args)).toBe(-EFAULT);
    expect(state(two, port)).toBe(EVTCHNSTAT.unbound);
  });
});

describe("two calls at once", () => {
  test("a bind to a domain that goes is -ESRCH, and the port is free", () => {
    for (const goes of ["before the question comes", "while it still holds memory"]) {
      const { world, one, two } = pair(2);
      const port = offer(two, 1);
      expect(bind(one, 2, port)).toBe(parked);
      if (goes.startsWith("while")) two.domain.dying = true;
      else world.shards[1]!.destroy(2);
      world.deliver();
      expect([goes, one.domain.vcpus[0]!.parked, state(one, 1)]).toEqual([goes, null, ChannelState.closed]);
    }
  });

  test("a reset comes before a bind that waits for its answer: the channel is whole", () => {
    const { world, one, two } = pair(2);
    const port = offer(two, 1);
    expect(bind(one, 2, port)).toBe(parked);
    expect(op(one, EVTCHNOP.reset, [SELF], { vcpu: 1, at: SCRATCH + 64 })).toBe(0);
    // What is bound in between gets a port of its own.
    expect(op(one, EVTCHNOP.bindIpi, [1], { vcpu: 1, at: SCRATCH + 64 })).toBe(0);
    expect(wordsAt(one, 2, SCRATCH + 64)[1]).toBe(2);
    world.deliver();
    expect([state(one, 1), state(one, 2), state(two, port)]).toEqual([
      EVTCHNSTAT.interdomain,
      EVTCHNSTAT.ipi,
      EVTCHNSTAT.interdomain,
    ]);
    expect(auditShards(world.shards)).toEqual([]);
  });

  const joined = () => {
    const { world, one, two } = pair(2);
    const port = offer(two, 1);
    expect(bind(one, 2, port)).toBe(parked);
    world.deliver();
    expect([state(one, 1), state(two, port)]).toEqual([EVTCHNSTAT.interdomain, EVTCHNSTAT.interdomain]);
    return { world, one, two, port };
  };
  const close = (domain: TestDomain, port: number) => closePort(domain.domain.vcpus[0]!.context, port);

  test("both ends are closed at once: both are", () => {
    const { world, one, two, port } = joined();
    expect([close(one, 1), close(two, port)]).toEqual([parked, parked]);
    world.deliver();
    expect([state(one, 1), state(two, port)]).toEqual([EVTCHNSTAT.closed, EVTCHNSTAT.closed]);
    expect(auditShards(world.shards)).toEqual([]);
  });

  test("a port that has been bound anew while its close waits is closed all the same, and the new end learns of it", () => {
    const { world, one, two, port } = joined();
    expect([close(two, port), close(one, 1)]).toEqual([parked, parked]);
    // The other end's close has come, and its next bind; the answer to this one's has not.
    const take = (kind: string, to: number) => {
      const at = world.inFlight.findIndex(({ message, to: shard }) => message.kind === kind && shard === to);
      const [{ message }] = world.inFlight.splice(at, 1) as [(typeof world.inFlight)[number]];
      world.shards[to]!.receive(message);
    };
    take("request", 0);
    take("answer", 1);
    expect([state(one, 1), state(two, port)]).toEqual([EVTCHNSTAT.unbound, EVTCHNSTAT.closed]);
    expect(bind(two, 1, 1)).toBe(parked);
    while (state(one, 1) !== EVTCHNSTAT.interdomain) take("request", 0);
    expect(two.domain.events.get(port)!.state).toBe(ChannelState.reserved);
    world.deliver();
    expect([state(one, 1), state(two, port)]).toEqual([EVTCHNSTAT.closed, EVTCHNSTAT.unbound]);
    expect(auditShards(world.shards)).toEqual([]);
  });

  test("a reset while a close waits leaves the port to whoever has it next", () => {
    const { world, one, two, port } = joined();
    expect(close(one, 1)).toBe(parked);
    expect(op(one, EVTCHNOP.reset, [SELF], { vcpu: 1 })).toBe(0);
    expect(op(one, EVTCHNOP.bindIpi, [1], { vcpu: 1 })).toBe(0);
    expect(wordsAt(one, 2)[1]).toBe(1);
    world.deliver();
    expect([state(one, 1), state(two, port)]).toEqual([EVTCHNSTAT.ipi, EVTCHNSTAT.unbound]);
    expect(auditShards(world.shards)).toEqual([]);
  });

  test("closing a port that no other shard has an end of asks nobody", () => {
    const { world, one, two } = pair(2);
    offer(one, 2);
    expect([close(one, 1), world.inFlight]).toEqual([0, []]);
    offer(one, 0);
    expect([world.shard.bindDom0(1, 1), close(one, 1), world.inFlight]).toEqual([0, 0, []]);
    expect([...two.domain.events.inUse()]).toEqual([]);
  });
});

describe("a notification", () => {
  test("is counted when there is an end that may get it", () => {
    const { one, two } = pair();
    expect(bind(one, 2, offer(two, 1))).toBe(0);
    offer(one, 2);
    op(one, EVTCHNOP.bindIpi, [0]);
    const sent = [1, 2, 3, 4].map((port) => {
      op(one, EVTCHNOP.send, [port]);
      return one.domain.activity.eventsSent;
    });
    expect(sent).toEqual([1, 1, 2, 2]);
  });

  test("raises the port that is joined to its sender, by domain and by port, and no other", () => {
    const { world, one, two } = pair();
    const port = offer(two, 1);
    expect(bind(one, 2, port)).toBe(0);
    const { abi } = two.domain.events;
    abi.clearPending(two.domain.events.get(port)!);
    const notify = (domid: number, from: number, at: number) => {
      acceptNotify(world.shard, { domid, port: from }, { domid: 2, port: at });
      return abi.isPending(at);
    };
    expect([notify(1, 2, port), notify(3, 1, port), notify(1, 1, 500), notify(1, 1, port)]).toEqual([
      false,
      false,
      false,
      true,
    ]);
  });

  test("of Domain 0 raises what Domain 0 has bound, and nothing that is another's or only offered", () => {
    const { world, one, two } = pair();
    const far = offer(two, 1);
    expect(bind(one, 2, far)).toBe(0);
    const offered = offer(one, 0);
    const bound = offer(one, 0);
    expect(world.shard.bindDom0(1, bound)).toBe(0);
    const { events } = one.domain;
    for (const port of [1, offered, bound]) events.abi.clearPending(events.get(port)!);
    for (const port of [1, offered, bound]) world.shard.notifyPort(1, port);
    expect([1, offered, bound].map((port) => events.abi.isPending(port))).toEqual([false, false, true]);
  });
});
