/**
 * Event channels that are not there, not any more, or too many (the classes of XSA-342, XSA-343 and XSA-344).
 *
 *  - A port number is an index into arrays and bitmaps, and how many there may be depends on the ABI that the guest has chosen: a check
 *    against the wrong bound reaches beyond the bitmap (342). The invariant: a port is looked up in the domain's own list, and
 *    what is not there does not exist.
 *  - EVTCHNOP_reset takes the channels away from under whoever uses them: the other end, a notification on its way, the FIFO words
 *    (343). The invariant: each end is told, or finds that the two are not joined any more; a reset leaves the 2-level ABI and no frame.
 *  - To close a thousand channels is a thousand times the work of one, and for a dying domain nobody waits (344). Here it is bounded by
 *    the 1023 ports that a domain may have.
 *
 * Without them: writes next to shared_info, a notification for a channel that is someone else's by now, a host that stands still.
 */
import { describe, expect, test } from "vitest";
import { Errno } from "../../../src/abi/errno.ts";
import { EVTCHN_FIFO, EVTCHNOP, EvtchnInitControl } from "../../../src/abi/event-channel.ts";
import { HYPERVISOR } from "../../../src/abi/xen.ts";
import { ChannelState, DEFAULT_MAX_PORT } from "../../../src/hypervisor/event-channel/event-channels.ts";
import { acceptNotify } from "../../../src/hypervisor/event-channel/interdomain.ts";
import { HypercallArgs } from "../../../src/hypervisor/hypercall/arguments.ts";
import { call } from "../../../src/hypervisor/hypercall/hypercalls.ts";
import { auditShards } from "../audit-domain.ts";
import { SCRATCH, type TestDomain, World } from "../world.ts";

const { EINVAL, ENOSPC, EOPNOTSUPP, ENOENT } = Errno;
const SELF = 0x7ff0;

/** event_channel_op with 32-bit words as its argument: the result, and the words afterwards. */
function op(domain: TestDomain, number: number, ...words: number[]): { result: unknown; words: number[] } {
  for (let i = 0; i < 8; i++) domain.view.setUint32(SCRATCH + i * 4, words[i] ?? 0, true);
  const args = new HypercallArgs();
  args.setNumber(0, number);
  args.setNumber(1, SCRATCH);
  const result = call(domain.domain.vcpus[0]!.context, HYPERVISOR.eventChannelOp, args);
  return { result, words: Array.from({ length: 8 }, (_, i) => domain.view.getUint32(SCRATCH + i * 4, true)) };
}

const offer = (domain: TestDomain, to: number) => op(domain, EVTCHNOP.allocUnbound, SELF | (to << 16)).words[1]!;
const bind = (domain: TestDomain, to: number, port: number) => op(domain, EVTCHNOP.bindInterdomain, to, port);

/** The FIFO ABI for vCPU 0, with one page of event words: pages 40 and 41. */
function useFifo(domain: TestDomain): void {
  const put = EvtchnInitControl.controlGfn;
  put.setNumber(domain.view, SCRATCH, domain.mfn(40));
  domain.view.setUint32(SCRATCH + 8, 0, true);
  domain.view.setUint32(SCRATCH + 12, 0, true);
  const words = Array.from({ length: 4 }, (_, i) => domain.view.getUint32(SCRATCH + i * 4, true));
  expect(op(domain, EVTCHNOP.initControl, ...words).result).toBe(0);
  expect(op(domain, EVTCHNOP.expandArray, domain.mfn(41)).result).toBe(0);
}

describe("a port that there is not, or that nobody uses", () => {
  // The first bucket of ports is there from the start: three operations have nothing to refuse about its ports, and do nothing.
  const idle = (name: string, port: number, fifo: boolean): number => {
    if (port >= 64) return -EINVAL;
    if (name === "set_priority") return fifo ? -Errno.EACCES : -Errno.ENOSYS;
    return name === "unmask" || name === "status" ? 0 : -EINVAL;
  };
  const ports = [0, 1, 31, 1023, 1024, 4095, 4096, 0x1_ffff, 0x2_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
  const calls: [string, number, (port: number) => number[]][] = [
    ["send", EVTCHNOP.send, (port) => [port]],
    ["close", EVTCHNOP.close, (port) => [port]],
    ["unmask", EVTCHNOP.unmask, (port) => [port]],
    ["bind_vcpu", EVTCHNOP.bindVcpu, (port) => [port, 0]],
    ["set_priority", EVTCHNOP.setPriority, (port) => [port, 1]],
    ["status", EVTCHNOP.status, (port) => [SELF, port]],
    ["bind_interdomain", EVTCHNOP.bindInterdomain, (port) => [2, port]],
  ];
  test.each(calls)("is refused, or left alone, by %s, in both ABIs, and nothing is written", (name, number, words) => {
    for (const fifo of [false, true]) {
      const world = new World();
      const domain = world.domain(1);
      world.domain(2);
      if (fifo) useFifo(domain);
      const before = domain.domain.sharedInfo.slice();
      const pages = [40, 41].map((pfn) =>
        new Uint8Array(domain.view.buffer, domain.view.byteOffset + pfn * 4096, 4096).slice(),
      );
      for (const port of ports) {
        expect([port, op(domain, number, ...words(port)).result]).toEqual([port, idle(name, port, fifo)]);
      }
      expect(domain.domain.sharedInfo).toEqual(before);
      for (const [i, pfn] of [40, 41].entries()) {
        expect(new Uint8Array(domain.view.buffer, domain.view.byteOffset + pfn * 4096, 4096)).toEqual(pages[i]);
      }
      expect(auditShards(world.shards)).toEqual([]);
    }
  });

  test("of another vCPU than there are is -ENOENT", () => {
    const domain = new World().domain(1);
    const port = offer(domain, 1);
    for (const vcpu of [1, 31, 0x8000_0000, 0xffff_ffff]) {
      expect(op(domain, EVTCHNOP.bindVcpu, port, vcpu).result).toBe(-ENOENT);
      expect(op(domain, EVTCHNOP.bindIpi, vcpu).result).toBe(-ENOENT);
    }
  });
});

describe("FIFO words are the guest's to write", () => {
  test("links, tails and ready bits that it makes up lose its own events, no more", () => {
    const world = new World();
    const domain = world.domain(1);
    const ports = Array.from({ length: 6 }, () => offer(domain, 1));
    for (const port of ports.slice(0, 3)) bind(domain, 1, port);
    useFifo(domain);
    for (const pattern of [
      0xffff_ffff,
      1 << EVTCHN_FIFO.linkedBit,
      (1 << EVTCHN_FIFO.linkedBit) | 0x1_ffff,
      0x1_ffff,
      5,
    ]) {
      for (let word = 0; word < 1024; word++) {
        domain.view.setInt32(40 * 4096 + word * 4, pattern, true);
        domain.view.setInt32(41 * 4096 + word * 4, pattern & ~(1 << EVTCHN_FIFO.pendingBit), true);
      }
      const around = [39, 42].map((pfn) => domain.view.getInt32(pfn * 4096, true));
      for (const port of ports) op(domain, EVTCHNOP.send, port);
      for (const port of ports) op(domain, EVTCHNOP.unmask, port);
      expect([39, 42].map((pfn) => domain.view.getInt32(pfn * 4096, true))).toEqual(around);
      expect(auditShards(world.shards)).toEqual([]);
    }
  });

  test("a frame of them can be no page table, and is free again after a reset", () => {
    const world = new World();
    const domain = world.domain(1);
    useFifo(domain);
    const { memory } = domain.domain;
    expect(memory.tables.pin(domain.mfn(41), 1)).toBe(-EINVAL);
    expect(op(domain, EVTCHNOP.reset, SELF).result).toBe(0);
    expect(memory.tables.pin(domain.mfn(41), 1)).toBe(0);
    expect(op(domain, EVTCHNOP.expandArray, domain.mfn(40)).result).toBe(-EOPNOTSUPP);
    expect(auditShards(world.shards)).toEqual([]);
  });
});

describe("a reset", () => {
  test("tells the other ends, on the same shard and on another", () => {
    for (const shard of [0, 1]) {
      const world = new World({ shards: 2 });
      const one = world.domain(1);
      const two = world.domain(2, [], { shard });
      const port = offer(two, 1);
      const args = new HypercallArgs();
      args.setNumber(0, EVTCHNOP.bindInterdomain);
      args.setNumber(1, SCRATCH);
      one.view.setUint32(SCRATCH, 2, true);
      one.view.setUint32(SCRATCH + 4, port, true);
      call(one.domain.vcpus[0]!.context, HYPERVISOR.eventChannelOp, args);
      world.deliver();
      expect(two.domain.events.get(port)!.state).toBe(ChannelState.interdomain);
      op(one, EVTCHNOP.reset, SELF);
      world.deliver();
      expect(two.domain.events.get(port)!.state).toBe(ChannelState.unbound);
      expect([...one.domain.events.inUse()]).toEqual([]);
      expect(auditShards(world.shards)).toEqual([]);
    }
  });

  test("a notification that was on its way finds nobody, and not the channel that has the port now", () => {
    const world = new World();
    const one = world.domain(1);
    const two = world.domain(2);
    const first = offer(two, 1);
    const local = bind(one, 2, first).words[2]!;
    op(two, EVTCHNOP.reset, SELF);
    const again = offer(two, 1);
    expect(again).toBe(first);
    acceptNotify(world.shard, { domid: 1, port: local }, { domid: 2, port: again });
    expect(two.domain.events.abi.isPending(again)).toBe(false);
    expect(auditShards(world.shards)).toEqual([]);
  });

  test("of another domain is refused", () => {
    const world = new World();
    const one = world.domain(1);
    const two = world.domain(2);
    offer(two, 1);
    expect(op(one, EVTCHNOP.reset, 2).result).toBe(-Errno.EPERM);
    expect([...two.domain.events.inUse()].length).toBe(1);
  });
});

describe("as many channels as a domain may have", () => {
  test("are refused beyond the limit, and all closed at once, ends of both kinds", () => {
    const world = new World();
    const one = world.domain(1);
    const two = world.domain(2);
    for (let i = 0; i < DEFAULT_MAX_PORT; i++) {
      const port = offer(two, 1);
      if (i % 2 === 0) expect(bind(one, 2, port).result).toBe(0);
    }
    expect(op(two, EVTCHNOP.allocUnbound, SELF | (1 << 16)).result).toBe(-ENOSPC);
    expect(op(two, EVTCHNOP.bindVirq, 0, 0).result).toBe(-ENOSPC);
    expect(auditShards(world.shards)).toEqual([]);
    world.shard.destroy(2);
    expect([...one.domain.events.inUse()].every(({ state }) => state === ChannelState.unbound)).toBe(true);
    expect(op(one, EVTCHNOP.reset, SELF).result).toBe(0);
    expect([...one.domain.events.inUse()]).toEqual([]);
    expect(auditShards(world.shards)).toEqual([]);
  });
});
