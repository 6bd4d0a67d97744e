/** Event channels against a naive model: two domains do anything to each other in any order, and every state is the one that a list of pairs would give. */
import { fc, test } from "@fast-check/vitest";
import { expect } from "vitest";
import { ChannelState } from "../../src/hypervisor/event-channel/event-channels.ts";
import { acceptNotify, bindInterdomain, closePort, send } from "../../src/hypervisor/event-channel/interdomain.ts";
import { type TestDomain, World } from "./world.ts";

const PORTS = 6;

type End = { state: "closed" } | { state: "unbound"; for: number } | { state: "joined"; dom: number; port: number };

/** What is known of ports without any cleverness. */
class Model {
  readonly ends = new Map<string, End>();
  readonly pending = new Set<string>();
  key = (dom: number, port: number) => `${dom}.${port}`;
  get(dom: number, port: number): End {
    return this.ends.get(this.key(dom, port)) ?? { state: "closed" };
  }
  lowest(dom: number): number {
    for (let port = 1; ; port++) if (this.get(dom, port).state === "closed") return port;
  }
  close(dom: number, port: number): boolean {
    const end = this.get(dom, port);
    if (port === 0 || end.state === "closed") return false;
    this.ends.delete(this.key(dom, port));
    this.pending.delete(this.key(dom, port));
    if (end.state === "joined") {
      const other = this.get(end.dom, end.port);
      // A channel to itself by one port does not exist; the other end is a port of its own.
      if (other.state === "joined") this.ends.set(this.key(end.dom, end.port), { state: "unbound", for: dom });
    }
    return true;
  }
}

const dom = fc.constantFrom(1, 2);
const port = fc.integer({ min: 0, max: PORTS });
const step = fc.oneof(
  fc.record({ kind: fc.constant("alloc" as const), dom, remote: fc.constantFrom(1, 2, 3) }),
  fc.record({ kind: fc.constant("bind" as const), dom, remote: dom, port }),
  fc.record({ kind: fc.constant("close" as const), dom, port }),
  fc.record({ kind: fc.constant("send" as const), dom, port }),
  fc.record({ kind: fc.constant("stale" as const), dom, remote: dom, port, from: port }),
);

test.prop([fc.array(step, { maxLength: 80 })], { numRuns: 50 })("any order of operations", (steps) => {
  const world = new World();
  const domains: Record<number, TestDomain> = { 1: world.domain(1), 2: world.domain(2) };
  const model = new Model();
  const context = (id: number) => domains[id]!.domain.vcpus[0]!.context;
  for (const one of steps) {
    switch (one.kind) {
      case "alloc": {
        const expected = model.lowest(one.dom);
        expect(domains[one.dom]!.domain.events.allocUnbound(one.remote)).toBe(expected);
        model.ends.set(model.key(one.dom, expected), { state: "unbound", for: one.remote });
        break;
      }
      case "bind": {
        const local = model.lowest(one.dom);
        const end = model.get(one.remote, one.port);
        // The local port is taken first: a domain that binds to itself may find it to be the one it names.
        const able = end.state === "unbound" && end.for === one.dom && !(one.remote === one.dom && one.port === local);
        const rc = bindInterdomain(context(one.dom), one.remote, one.port, (bound) => bound);
        expect(rc).toBe(able ? local : -22);
        if (!able) break;
        model.ends.set(model.key(one.dom, local), { state: "joined", dom: one.remote, port: one.port });
        model.ends.set(model.key(one.remote, one.port), { state: "joined", dom: one.dom, port: local });
        model.pending.add(model.key(one.dom, local));
        break;
      }
      case "close":
        expect(closePort(context(one.dom), one.port)).toBe(model.close(one.dom, one.port) ? 0 : -22);
        break;
      case "send": {
        const end = model.get(one.dom, one.port);
        expect(send(world.shard, domains[one.dom]!.domain, one.port)).toBe(end.state === "closed" ? -22 : 0);
        if (end.state === "joined") model.pending.add(model.key(end.dom, end.port));
        break;
      }
      case "stale": {
        const end = model.get(one.remote, one.port);
        acceptNotify(world.shard, { domid: one.dom, port: one.from }, { domid: one.remote, port: one.port });
        if (end.state === "joined" && end.dom === one.dom && end.port === one.from) {
          model.pending.add(model.key(one.remote, one.port));
        }
        break;
      }
    }
    for (const id of [1, 2]) {
      const { events } = domains[id]!.domain;
      for (let p = 1; p <= 20; p++) {
        const channel = events.get(p);
        const end = model.get(id, p);
        const state = channel?.state ?? ChannelState.closed;
        expect([id, p, state]).toEqual([id, p, { closed: 0, unbound: 1, joined: 2 }[end.state]]);
        if (end.state === "joined") expect([channel!.remoteDomid, channel!.remotePort]).toEqual([end.dom, end.port]);
        if (end.state === "unbound") expect(channel!.remoteDomid).toBe(end.for);
        expect([id, p, events.abi.isPending(p)]).toEqual([id, p, model.pending.has(model.key(id, p))]);
      }
    }
  }
});
