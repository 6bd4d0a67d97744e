/** The ports of a domain and the FIFO words by themselves, at their borders: what a mutant that is off by one gets wrong. */
import { beforeEach, describe, expect, test } from "vitest";
import { Errno } from "../../src/abi/errno.ts";
import { EVTCHN_FIFO, EvtchnExpandArray, EvtchnInitControl } from "../../src/abi/event-channel.ts";
import { DOMID, NR_VIRQS, SharedInfo, VcpuInfo, VIRQ } from "../../src/abi/xen.ts";
import { type Channel, ChannelState, EventChannels } from "../../src/hypervisor/event-channel/event-channels.ts";
import { CONTROL_BLOCK_WORDS, FifoEvents, MAX_ARRAY_PAGES } from "../../src/hypervisor/event-channel/fifo.ts";
import { expandArray, initControl, releaseFifoFrames } from "../../src/hypervisor/event-channel/fifo-setup.ts";
import { resolveDomid } from "../../src/hypervisor/event-channel/interdomain.ts";
import { TwoLevelEvents } from "../../src/hypervisor/event-channel/two-level.ts";
import { type TestDomain, World } from "./world.ts";

const { EINVAL, EEXIST, ENOENT, ENOSPC, EOPNOTSUPP } = Errno;
const VCPUS = 2;
const PENDING = 1 << EVTCHN_FIFO.pendingBit;
const MASKED = 1 << EVTCHN_FIFO.maskedBit;
const LINKED = 1 << EVTCHN_FIFO.linkedBit;

/** A domain as event channels see it; what they tell it is kept. */
function makeTarget() {
  const infos = Array.from({ length: VCPUS }, () => new Int32Array(16));
  const told: string[] = [];
  return {
    id: 7,
    vcpuCount: VCPUS,
    sharedInfo: new Int32Array(1024),
    vcpuInfo: (vcpu: number) => infos[vcpu]!,
    markEventsPending: (vcpu: number) => void told.push(`vCPU ${vcpu}`),
    checkPollers: (port: number) => void told.push(`pollers of ${port}`),
    told,
  };
}

describe("ports", () => {
  const LIMIT = 9;
  let target: ReturnType<typeof makeTarget>;
  let events: EventChannels;
  beforeEach(() => {
    target = makeTarget();
    events = new EventChannels(target, LIMIT);
  });

  test("port 0 is never given out; ports are there by the bucket of 64, and usable when they are given out", () => {
    const port = events.allocUnbound(1);
    expect([port, ...[0, 1, 2].map((one) => events.usable(one))]).toEqual([1, false, true, false]);
    expect([0, 2, 63, 64].map((one) => events.get(one)?.port)).toEqual([0, 2, 63, undefined]);
  });

  test("the lowest that is free is given out, whichever were freed in whatever order", () => {
    for (let port = 1; port <= 6; port++) expect(events.allocUnbound(1)).toBe(port);
    for (const port of [5, 2, 4]) events.free(events.get(port)!);
    expect([1, 2, 3, 4].map(() => events.allocUnbound(1))).toEqual([2, 4, 5, 7]);
    // A higher one that is freed does not come before a lower one.
    events.free(events.get(1)!);
    events.free(events.get(7)!);
    expect([1, 2].map(() => events.allocUnbound(1))).toEqual([1, 7]);
  });

  test("the limit is the highest port, for every kind", () => {
    for (let port = 1; port <= LIMIT; port++) expect(events.allocUnbound(1)).toBe(port);
    expect([events.allocUnbound(1), events.bindIpi(0), events.bindVirq(VIRQ.timer, 0)]).toEqual([
      -ENOSPC,
      -ENOSPC,
      -ENOSPC,
    ]);
    events.free(events.get(LIMIT)!);
    expect(events.bindIpi(0)).toBe(LIMIT);
  });

  test("so is the ABI's, where that is less", () => {
    const many = new EventChannels(target, 1e6);
    for (let port = 1; port < 4096; port++) expect(many.allocUnbound(1)).toBe(port);
    expect(many.allocUnbound(1)).toBe(-ENOSPC);
  });

  test.each([
    ["bind_ipi", (vcpu: number) => events.bindIpi(vcpu)],
    ["bind_virq", (vcpu: number) => events.bindVirq(VIRQ.timer, vcpu)],
    ["bind_vcpu", (vcpu: number) => events.bindVcpu(events.allocUnbound(1), vcpu)],
  ])("%s knows as many vCPUs as there are", (_name, bind) => {
    expect(bind(VCPUS)).toBe(-ENOENT);
    expect(bind(VCPUS - 1)).toBeGreaterThanOrEqual(0);
  });

  test("VIRQs end at their number, and are bound once", () => {
    expect([events.bindVirq(NR_VIRQS, 0), events.bindVirq(NR_VIRQS - 1, 0), events.bindVirq(NR_VIRQS - 1, 0)]).toEqual([
      -EINVAL,
      1,
      -EEXIST,
    ]);
    expect([events.bindVirq(VIRQ.console, 1), events.bindVirq(VIRQ.timer, 1), events.bindVirq(VIRQ.timer, 0)]).toEqual([
      -EINVAL,
      2,
      3,
    ]);
  });

  test("a VIRQ goes to its port and to no other; one without a port goes nowhere", () => {
    const port = events.bindVirq(VIRQ.timer, 1);
    events.sendVirq(0, VIRQ.timer);
    expect(target.sharedInfo.every((word) => word === 0)).toBe(true);
    events.sendVirq(1, VIRQ.timer);
    expect([events.abi.isPending(port), target.told]).toEqual([true, ["vCPU 1", `pollers of ${port}`]]);
  });

  test("a port that has moved notifies where it has moved to", () => {
    const port = events.allocUnbound(1);
    expect(events.bindVcpu(port, 1)).toBe(0);
    expect(events.get(port)!.notifyVcpu).toBe(1);
    events.abi.setPending(events.get(port)!);
    expect(target.told).toEqual(["vCPU 1", `pollers of ${port}`]);
  });

  test("a freed port keeps nothing of what it was but that an event of it was lost", () => {
    const port = events.allocUnbound(3);
    const channel = events.get(port)!;
    events.connect(channel, 3, 5);
    events.bindVcpu(port, 1);
    Object.assign(channel, { priority: 2, lost: true });
    events.free(channel);
    const { state, notifyVcpu, remoteDomid, remotePort, virq, priority, lost } = channel;
    expect([state, notifyVcpu, remoteDomid, remotePort, virq, priority, lost]).toEqual([0, 0, -1, 0, -1, 7, true]);
  });

  test("a channel that lost its other end may be bound by the same domain again, and names no port", () => {
    const channel = events.get(events.allocUnbound(3))!;
    events.connect(channel, 3, 5);
    events.disconnect(channel);
    expect([channel.state, channel.remoteDomid, channel.remotePort]).toEqual([ChannelState.unbound, 3, 0]);
  });

  test("set_priority is of the FIFO ABI, and of ports that there are", () => {
    expect([events.setPriority(64, 0), events.setPriority(events.allocUnbound(1), 0)]).toEqual([
      -EINVAL,
      -Errno.ENOSYS,
    ]);
  });

  test("SELF is the caller, any other number itself", () => {
    expect([DOMID.self, 7, 8].map((domid) => resolveDomid({ id: 7 } as never, domid))).toEqual([7, 7, 8]);
  });
});

describe("the FIFO ABI", () => {
  let target: ReturnType<typeof makeTarget>;
  let fifo: FifoEvents;
  let block: Int32Array;
  let page: Int32Array;
  const channel = (port: number, more: Partial<Channel> = {}) =>
    ({ port, notifyVcpu: 0, priority: 7, lastVcpu: 0, lastPriority: 7, lost: false, ...more }) as Channel;
  beforeEach(() => {
    target = makeTarget();
    fifo = new FifoEvents(target);
    block = new Int32Array(CONTROL_BLOCK_WORDS);
    page = new Int32Array(EVTCHN_FIFO.wordsPerPage);
    fifo.setControlBlock(0, block);
    fifo.addPage(page);
  });
  const ready = () => block[0];
  const head = (queue: number) => block[2 + queue];

  test("an event is linked, its queue made ready, its vCPU and its pollers told, once", () => {
    const three = channel(3);
    fifo.setPending(three);
    fifo.setPending(three);
    expect([page[3], ready(), head(7)]).toEqual([PENDING | LINKED, 1 << 7, 3]);
    expect(target.told).toEqual(["vCPU 0", "pollers of 3"]);
  });

  test("the second of a queue hangs on the first, and tells nobody anew but its pollers", () => {
    fifo.setPending(channel(3));
    fifo.setPending(channel(4));
    expect([page[3]! & EVTCHN_FIFO.linkMask, head(7), target.told.at(-1)]).toEqual([4, 3, "pollers of 4"]);
    expect(target.told.filter((text) => text === "vCPU 0").length).toBe(1);
  });

  test("an event without its page is lost for now; with one it is not", () => {
    const far = channel(EVTCHN_FIFO.wordsPerPage);
    fifo.setPending(far);
    expect([far.lost, target.told, fifo.isPending(far.port), fifo.isMasked(far.port)]).toEqual([true, [], false, true]);
    fifo.clearPending(far);
    fifo.unmask(far);
    expect([far.lost, target.told]).toEqual([true, []]);
    expect([fifo.isMasked(3), fifo.isPending(3)]).toEqual([false, false]);
  });

  test("of a vCPU without a control block it is pending, and in no queue", () => {
    fifo.setPending(channel(5, { notifyVcpu: 1 }));
    expect([page[5], ready(), target.told]).toEqual([PENDING, 0, ["pollers of 5"]]);
  });

  test("masked it waits, and unmasking links it", () => {
    page[6] = MASKED;
    fifo.setPending(channel(6));
    expect([page[6]! & LINKED, fifo.isMasked(6), ready()]).toEqual([0, true, 0]);
    fifo.unmask(channel(6));
    expect([page[6], ready()]).toEqual([PENDING | LINKED, 1 << 7]);
    fifo.clearPending(channel(6));
    expect([page[6]! & PENDING, fifo.isPending(6)]).toEqual([0, false]);
  });

  test("priorities end at the least", () => {
    const three = channel(3);
    expect([fifo.setPriority(three, 15), three.priority, fifo.setPriority(three, 16), three.priority]).toEqual([
      0,
      15,
      -EINVAL,
      15,
    ]);
  });

  test("an event that was the last of another queue leaves it: the next one there begins it anew", () => {
    const three = channel(3);
    fifo.setPending(three);
    // The guest has taken it, and asks for another priority.
    page[3] = 0;
    block[0] = 0;
    fifo.setPriority(three, 2);
    fifo.setPending(three);
    expect([head(2), three.lastPriority]).toEqual([3, 2]);
    fifo.setPending(channel(4));
    expect([head(7), page[3]! & EVTCHN_FIFO.linkMask]).toEqual([4, 0]);
  });

  /** The guest takes the first event of a queue: the next one is its head, and the queue is ready no more when there is none. */
  function take(port: number, queue = 7): void {
    const next = page[port]! & EVTCHN_FIFO.linkMask;
    page[port]! &= ~(PENDING | LINKED | EVTCHN_FIFO.linkMask);
    block[2 + queue] = next;
    if (next === 0) block[0]! &= ~(1 << queue);
  }

  test("one that was not the last of its old queue leaves the others there", () => {
    const three = channel(3);
    fifo.setPending(three);
    fifo.setPending(channel(4));
    take(3);
    fifo.setPriority(three, 2);
    fifo.setPending(three);
    fifo.setPending(channel(5));
    expect([head(7), page[4]! & EVTCHN_FIFO.linkMask, head(2)]).toEqual([4, 5, 3]);
  });

  test("the queue that it left is that of the vCPU it was on", () => {
    const other = new Int32Array(CONTROL_BLOCK_WORDS);
    fifo.setControlBlock(1, other);
    const three = channel(3, { notifyVcpu: 1 });
    fifo.setPending(three);
    expect(other[2 + 7]).toBe(3);
    page[3] = 0;
    other.fill(0);
    three.notifyVcpu = 0;
    fifo.setPending(three);
    fifo.setPending(channel(5, { notifyVcpu: 1 }));
    expect([head(7), other[2 + 7], page[3]! & EVTCHN_FIFO.linkMask]).toEqual([3, 5, 0]);
  });

  test("the last of a queue that the guest has taken is linked to no more: the next one is the head", () => {
    fifo.setPending(channel(3));
    take(3);
    fifo.setPending(channel(4));
    expect([head(7), page[3], target.told.filter((text) => text === "vCPU 0").length]).toEqual([4, 0, 2]);
    take(4);
    fifo.setPending(channel(4));
    expect([head(7), page[4]]).toEqual([4, PENDING | LINKED]);
  });

  test("an empty queue has no last event, whatever the guest writes into the word of port 0", () => {
    page[0] = LINKED;
    fifo.setPending(channel(3));
    expect([page[0], head(7)]).toEqual([LINKED, 3]);
  });

  test("a queue that is ready already does not tell its vCPU again", () => {
    block[0] = 1 << 7;
    fifo.setPending(channel(3));
    expect([head(7), target.told]).toEqual([3, ["pollers of 3"]]);
  });
});

/** xen/event_channel.h: a pending bit, a mask bit, and a selector bit for each 64 ports; evtchn_2l_set_pending and _unmask. */
describe("the 2-level ABI", () => {
  const PENDING_WORD = SharedInfo.offsets.evtchnPending / 4;
  const MASK_WORD = SharedInfo.offsets.evtchnMask / 4;
  const SELECTOR_WORD = VcpuInfo.offsets.evtchnPendingSel / 4;
  let target: ReturnType<typeof makeTarget>;
  let abi: TwoLevelEvents;
  const channel = (port: number): Channel => ({ port, notifyVcpu: 1 }) as Channel;
  const selector = () => target.vcpuInfo(1)[SELECTOR_WORD];
  beforeEach(() => {
    target = makeTarget();
    abi = new TwoLevelEvents(target);
  });

  test("an event that is pending already tells nobody, whatever the guest has done to its selector", () => {
    abi.setPending(channel(3));
    target.vcpuInfo(1)[SELECTOR_WORD] = 0;
    abi.setPending(channel(3));
    expect([selector(), target.told]).toEqual([0, ["vCPU 1", "pollers of 3"]]);
  });

  test("the second of a selector's ports tells its pollers, and not its vCPU again", () => {
    abi.setPending(channel(3));
    abi.setPending(channel(4));
    expect(target.told).toEqual(["vCPU 1", "pollers of 3", "pollers of 4"]);
  });

  test("unmasking raises what was masked and pending, and nothing that was not masked", () => {
    target.sharedInfo[PENDING_WORD] = (1 << 3) | (1 << 4);
    target.sharedInfo[MASK_WORD] = (1 << 4) | (1 << 5);
    abi.unmask(channel(3));
    abi.unmask(channel(5));
    expect([selector(), target.told]).toEqual([0, []]);
    abi.unmask(channel(4));
    expect([selector(), target.told, target.sharedInfo[MASK_WORD]]).toEqual([1, ["vCPU 1"], 0]);
  });
});

describe("setting the FIFO ABI up", () => {
  let domain: TestDomain;
  const view = new DataView(new ArrayBuffer(64));
  beforeEach(() => {
    domain = new World().domain(1, [], { vcpus: 2 });
  });
  function init(pfn: number, offset: number, vcpu: number): number {
    EvtchnInitControl.controlGfn.setNumber(view, 0, domain.mfn(pfn));
    EvtchnInitControl.offset.set(view, 0, offset);
    EvtchnInitControl.vcpu.set(view, 0, vcpu);
    return initControl(domain.domain, view);
  }
  function expand(pfn: number): number {
    EvtchnExpandArray.arrayGfn.setNumber(view, 0, domain.mfn(pfn));
    return expandArray(domain.domain, view);
  }
  const BLOCK = CONTROL_BLOCK_WORDS * 4;

  test.each([
    ["at the page's end", 4096 - BLOCK, 0, 0],
    ["over the page's end", 4096 - BLOCK + 8, 0, -EINVAL],
    ["not aligned", 4, 0, -EINVAL],
    ["of the last vCPU", 0, 1, 0],
    ["of one more", 0, 2, -ENOENT],
  ])("a control block %s", (_where, offset, vcpu, answer) => {
    expect(init(40, offset, vcpu)).toBe(answer);
    expect(domain.domain.fifoFrames.length).toBe(answer === 0 ? 1 : 0);
    if (answer === 0) expect(EvtchnInitControl.linkBits.get(view, 0)).toBe(17);
  });

  test("each vCPU has one", () => {
    expect([init(40, 0, 0), init(41, 0, 0), init(41, 0, 1)]).toEqual([0, -EINVAL, 0]);
  });

  test("what was pending before is raised with its page, and nothing else; priorities begin anew", () => {
    const { events } = domain.domain;
    const [quiet, loud] = [events.allocUnbound(1), events.allocUnbound(1)];
    events.abi.setPending(events.get(loud)!);
    events.get(quiet)!.priority = 3;
    expect(init(40, 0, 0)).toBe(0);
    expect([events.get(quiet)!.lost, events.get(loud)!.lost, events.get(quiet)!.priority]).toEqual([false, true, 7]);
    expect(expand(41)).toBe(0);
    expect([events.abi.isPending(quiet), events.abi.isPending(loud)]).toEqual([false, true]);
  });

  test("what was lost once is raised again by whoever sets the ABI up anew, with no use of its port too", () => {
    const { events } = domain.domain;
    const port = events.allocUnbound(1);
    init(40, 0, 0);
    events.abi.setPending(events.get(port)!);
    expand(41);
    events.free(events.get(port)!);
    events.resetAbi();
    releaseFifoFrames(domain.domain);
    init(40, 0, 0);
    new Int32Array(domain.domain.memory.buffer, domain.domain.memory.hostOffset(domain.mfn(41)), 1024).fill(0);
    expect(events.abi.isPending(port)).toBe(false);
    expand(41);
    expect(events.abi.isPending(port)).toBe(true);
  });

  test("a closed port that is still in a queue is given to nobody until the guest has taken it out", () => {
    const { events } = domain.domain;
    init(40, 0, 0);
    expand(41);
    const port = events.allocUnbound(1);
    events.abi.setPending(events.get(port)!);
    events.free(events.get(port)!);
    expect([events.allocUnbound(1), events.allocUnbound(1)]).toEqual([port + 1, port + 2]);
    new Int32Array(domain.domain.memory.buffer, domain.domain.memory.hostOffset(domain.mfn(41)), 1024).fill(0);
    expect([events.allocUnbound(1), events.allocUnbound(1)]).toEqual([port, port + 3]);
  });

  test("a lost event waits for the page that its port is in", () => {
    const { events } = domain.domain;
    init(40, 0, 0);
    const low = events.get(events.allocUnbound(1))!;
    const high = { ...low, port: EVTCHN_FIFO.wordsPerPage, lost: true };
    low.lost = true;
    // A domain of this size has no port so high: it is put beside those that there are.
    const made = (first: number) => (first === 0 ? [low] : [high]);
    Object.assign(domain.domain, { events: { ...events, made, abi: events.abi } });
    expect(expand(41)).toBe(0);
    expect([events.abi.isPending(low.port), events.abi.isPending(high.port)]).toEqual([true, false]);
    events.abi.clearPending(low);
    expect(expand(42)).toBe(0);
    expect([events.abi.isPending(low.port), events.abi.isPending(high.port)]).toEqual([false, true]);
  });

  test("the array ends, and needs the ABI; its frames are free after a release, once", () => {
    expect(expand(41)).toBe(-EOPNOTSUPP);
    init(40, 0, 0);
    const { abi } = domain.domain.events;
    for (let i = 0; i < MAX_ARRAY_PAGES; i++) expect(expand(41)).toBe(0);
    expect([(abi as FifoEvents).arrayPages, expand(41)]).toEqual([MAX_ARRAY_PAGES, -ENOSPC]);
    const { frames, map } = domain.domain.memory;
    const uses = () => [40, 41].map((pfn) => frames.typeCount(domain.mfn(pfn) - map.baseMfn));
    expect(uses()).toEqual([1, MAX_ARRAY_PAGES]);
    releaseFifoFrames(domain.domain);
    releaseFifoFrames(domain.domain);
    expect(uses()).toEqual([0, 0]);
  });
});
