/**
 * A shard: one physical CPU, and the domains it owns. Everything of a domain happens here, on one thread, one thing at a time.
 *
 * The clock is handed in; with `virtualTime` it is counted from executed instructions instead, so that the same inputs at the same
 * times give the same run, bit for bit.
 */
import { Errno } from "../abi/errno.ts";
import { SHUTDOWN } from "../abi/sched.ts";
import { RUNSTATE } from "../abi/vcpu.ts";
import { DOMID } from "../abi/xen.ts";
import { Engine, type EngineHost } from "../engine/engine.ts";
import type { EngineLayout } from "../engine/layout.ts";
import { Bug } from "./bug.ts";
import type { Domain, GuestEngine } from "./domain.ts";
import {
  type BootContext,
  createDomain,
  type DomainCreate,
  type DomainCreated,
  type DomainInfo,
  type DomainMapping,
  destroyDomain,
  domainInfo,
  finishDestroy,
  mapFrame,
  setBootContext,
  unmapFrame,
} from "./domain-control.ts";
import { acceptNotify, bindDom0, notifyFromDom0 } from "./event-channel/interdomain.ts";
import { forgetOwner, unmapOwner } from "./grant-table/gone-owner.ts";
import { GrantRequests } from "./grant-table/grant-requests.ts";
import { type HypercallCounter, hypercallCounters } from "./hypercall/report.ts";
import { hypercallNumbers, readTrace, setTrace, type TraceFilter, type TraceReport } from "./hypercall/trace-report.ts";
import type { Refusal } from "./mm/refusals.ts";
import { Scheduler } from "./sched/scheduler.ts";
import { runSlice } from "./sched/slice.ts";
import type { ShardHost, ShardMessage } from "./shard-host.ts";
import { ShardRequests } from "./shard-requests.ts";
import { statisticsTable } from "./statistics.ts";
import { type RestoredDomain, type RestorePorts, restoreDomain } from "./suspend/restore-domain.ts";
import { saveDomain } from "./suspend/save-domain.ts";
import type { SavedDomain } from "./suspend/saved-domain.ts";
import { enterRunstate } from "./time/areas.ts";
import { Timers } from "./time/timers.ts";
import { crashDomain } from "./traps/crash.ts";
import type { Vcpu } from "./vcpu.ts";

/** How long one vCPU runs while others wait, in ns. */
const SLICE = 1_000_000;

export type EngineMaker = (memory: WebAssembly.Memory, layout: EngineLayout, host: EngineHost) => GuestEngine;

export interface VirtualTime {
  readonly nsPerInstruction: number;
}

export interface ShardOptions {
  readonly id: number;
  /** The engine, compiled (`compileEngine()`). */
  readonly module: WebAssembly.Module;
  /** Makes the engine of a domain. Default: `Engine` on `module`. */
  readonly makeEngine?: EngineMaker;
  readonly host: ShardHost;
  readonly virtualTime?: VirtualTime;
}

export class Shard {
  readonly id: number;
  readonly makeEngine: EngineMaker;
  readonly host: ShardHost;
  readonly virtualTime: VirtualTime | undefined;
  readonly domains = new Map<number, Domain>();
  readonly timers = new Timers();
  readonly scheduler = new Scheduler<Vcpu>();
  readonly requests = new ShardRequests(this);
  readonly grants = new GrantRequests(this);
  /** Domains of other shards. */
  readonly #elsewhere = new Map<number, number>();
  #virtualNow: number;
  /**
   * A vCPU has become runnable during this slice: it may have waited longer than the one that runs has run. One that waits for
   * another vCPU's answer to an event does not spin until its slice is over.
   */
  preempt = false;
  /** Guest instructions per ns lately, for budgets. */
  pace = 0.05;

  constructor(options: ShardOptions) {
    this.id = options.id;
    this.makeEngine =
      options.makeEngine ?? ((memory, layout, host) => new Engine(options.module, memory, layout, host));
    this.host = options.host;
    this.virtualTime = options.virtualTime;
    this.#virtualNow = options.host.now();
  }

  /** System time in ns. */
  now(): number {
    return this.virtualTime === undefined ? this.host.now() : Math.floor(this.#virtualNow);
  }

  /** Virtual time only: `instructions` have been executed. */
  elapse(instructions: number): void {
    if (this.virtualTime !== undefined) this.#virtualNow += instructions * this.virtualTime.nsPerInstruction;
  }

  /**
   * Runs runnable vCPUs until system time `untilNs` at most. Answers when to call again if no message arrives before: the system
   * time of the next timer, Infinity for none, or 0 when vCPUs are runnable now. In virtual time an idle shard moves its clock to
   * the next timer by itself, up to `untilNs`.
   */
  run(untilNs: number): number {
    for (;;) {
      const now = this.now();
      this.timers.expire(now);
      if (now >= untilNs) return this.scheduler.runnableCount > 0 ? 0 : this.timers.next;
      const vcpu = this.scheduler.pick(now);
      if (vcpu === undefined) {
        const next = Math.min(this.timers.next, this.scheduler.nextWindow(now));
        if (this.virtualTime === undefined) return next;
        if (next >= untilNs) {
          this.#virtualNow = untilNs;
          return next;
        }
        this.#virtualNow = Math.max(now, next);
        continue;
      }
      const end = Math.min(untilNs, now + SLICE, this.timers.next, now + this.scheduler.allowance(vcpu, now));
      enterRunstate(vcpu, RUNSTATE.running, now);
      const yielded = this.guarded(vcpu, () => runSlice(this, vcpu, end));
      const after = this.now();
      this.scheduler.charge(vcpu, after - now);
      enterRunstate(vcpu, vcpu.idleState, after);
      if (yielded) {
        // With nobody to yield to, whoever the guest waits for is reached by a message: let the caller look.
        if (this.scheduler.runnableCount <= 1 && this.virtualTime === undefined) return 0;
        this.scheduler.yield(vcpu);
      }
      if (this.virtualTime === undefined && this.host.interrupted?.()) return 0;
    }
  }

  // Domain control: what the control plane asks. -ESRCH where there is no such domain.

  /** Makes a domain, paused. */
  createDomain(spec: DomainCreate): DomainCreated | number {
    return createDomain(this, spec);
  }

  /** A port of the domain that `remoteDomid` may bind (0 for Domain 0's services); or -errno. */
  allocUnbound(domid: number, remoteDomid: number): number {
    return this.#with(domid, (domain) => domain.events.allocUnbound(remoteDomid));
  }

  /** 0 or -errno; the domain's refusals say why page tables were not valid. */
  setBootContext(domid: number, boot: BootContext): number {
    return this.#with(domid, (domain) => setBootContext(domain, boot));
  }

  pause(domid: number): number {
    return this.#with(domid, (domain) => {
      domain.pause();
      return 0;
    });
  }

  unpause(domid: number): number {
    return this.#with(domid, (domain) => {
      domain.unpause();
      return 0;
    });
  }

  /** Changes a domain's weight and cap (percent of one CPU, 0 for none) from now on. */
  schedule(domid: number, weight: number, cap: number): number {
    return this.#with(domid, (domain) => {
      domain.sched.change(weight, cap, this.now());
      return 0;
    });
  }

  /** A suspended domain goes on in place (a cancelled suspend). -EINVAL when it is not suspended. */
  resumeSuspended(domid: number): number {
    return this.#with(domid, (domain) => (domain.resume() ? 0 : -Errno.EINVAL));
  }

  /** What `restoreDomain` needs of a suspended domain, besides its memory; or -errno (see `saveDomain`). */
  saveDomain(domid: number): SavedDomain | number {
    const domain = this.domains.get(domid);
    return domain === undefined ? -Errno.ESRCH : saveDomain(domain);
  }

  /** Gives a new domain, whose memory is in place, a saved state. A text says why that is refused. */
  restoreDomain(domid: number, saved: SavedDomain, ports: RestorePorts): RestoredDomain | string {
    const domain = this.domains.get(domid);
    return domain === undefined ? "the domain is gone" : restoreDomain(domain, saved, ports);
  }

  /** Tears a domain down; Domain 0 gets `destroyed` when nothing of it is left. */
  destroy(domid: number): number {
    return this.#with(domid, (domain) => {
      destroyDomain(this, domain);
      return 0;
    });
  }

  domainInfo(domid: number): DomainInfo | undefined {
    const domain = this.domains.get(domid);
    return domain && domainInfo(domain);
  }

  /** Figures of all domains, or of one: rows as `statistics.ts` says, none for a domid that is not here. */
  statistics(domid?: number): Float64Array<ArrayBuffer> {
    if (domid === undefined) return statisticsTable(this.domains.values(), this.domains.size, this.now());
    const domain = this.domains.get(domid);
    return domain ? statisticsTable([domain], 1, this.now()) : new Float64Array(0);
  }

  /** The domain ends as if its guest had crashed. */
  crash(domid: number, reason: string): number {
    return this.#with(domid, (domain) => {
      crashDomain(domain.vcpus[0]!, reason);
      return 0;
    });
  }

  hypercallCounters(domid: number): HypercallCounter[] {
    const domain = this.domains.get(domid);
    return domain ? hypercallCounters(domain) : [];
  }

  /** Traces every hypercall, or those of the names in `only`: -EINVAL when one names none. */
  setTrace(domid: number, on: boolean, only?: readonly string[]): number {
    return this.#with(domid, (domain) => {
      const numbers = only && hypercallNumbers(only);
      if (only && !numbers) return -Errno.EINVAL;
      setTrace(domain, on, numbers);
      return 0;
    });
  }

  trace(domid: number, filter: TraceFilter = {}): TraceReport | undefined {
    const domain = this.domains.get(domid);
    return domain && readTrace(domain, filter);
  }

  /** Refused page-table and memory updates after sequence number `since`. */
  refusals(domid: number, since = 0): readonly Refusal[] {
    return this.domains.get(domid)?.memory.refusals.since(since) ?? [];
  }

  /** Domain 0 binds a port that the domain has offered it. */
  bindDom0(domid: number, port: number): number {
    return this.#with(domid, (domain) => (bindDom0(domain, port) ? 0 : -Errno.EINVAL));
  }

  /** Domain 0 notifies a port of the domain. */
  notifyPort(domid: number, port: number): void {
    const domain = this.domains.get(domid);
    if (domain !== undefined) notifyFromDom0(domain, port);
  }

  /** Maps a frame of a domain for Domain 0; -errno when it may not be. */
  mapForDom0(domid: number, mfn: number, writable: boolean): DomainMapping | number {
    const domain = this.domains.get(domid);
    return domain === undefined ? -Errno.ESRCH : mapFrame(domain, mfn, writable);
  }

  unmapForDom0(mapping: DomainMapping): void {
    const domain = this.domains.get(mapping.domid);
    if (domain !== undefined) unmapFrame(this, domain, mapping);
  }

  #with(domid: number, operation: (domain: Domain) => number): number {
    const domain = this.domains.get(domid);
    return domain === undefined ? -Errno.ESRCH : operation(domain);
  }

  /** A defect of ours that a domain has met is the end of that domain, and of no other. */
  guarded(vcpu: Vcpu, work: () => boolean): boolean {
    try {
      return work();
    } catch (error) {
      const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
      this.host.log("error", vcpu.domain.id, `a defect of the hypervisor: ${what}`);
      try {
        crashDomain(vcpu, `a defect of the hypervisor: ${error instanceof Error ? error.message : what}`);
      } catch {
        // What the report would have read is what is broken: the domain ends without one.
        vcpu.domain.shutdown(SHUTDOWN.crash);
      }
      return false;
    }
  }

  /** A vCPU may have become runnable, or not runnable. */
  reschedule(vcpu: Vcpu): void {
    if (!vcpu.runnable) this.scheduler.sleep(vcpu);
    else if (this.scheduler.wake(vcpu)) this.preempt = true;
    if (vcpu.runstate.state !== RUNSTATE.running) enterRunstate(vcpu, vcpu.idleState, this.now());
  }

  /** Which shard a domain lives on; undefined when there is no such domain. Domain 0 counts as living here. */
  shardOf(domid: number): number | undefined {
    if (domid === 0 || this.domains.has(domid)) return this.id;
    return this.#elsewhere.get(domid);
  }

  exists(domid: number): boolean {
    return domid < DOMID.firstReserved && this.shardOf(domid) !== undefined;
  }

  receive(message: ShardMessage): void {
    switch (message.kind) {
      case "event":
        this.notifyPort(message.domid, message.port);
        return;
      case "bind-dom0":
        this.bindDom0(message.domid, message.port);
        return;
      case "notify":
        acceptNotify(this, message.local, message.remote);
        return;
      case "request":
        this.requests.receive(message.from, message.id, message.request);
        return;
      case "answer":
        this.requests.answered(message.id, message.result, message.data);
        return;
      case "located":
        if (message.shard !== this.id) this.#elsewhere.set(message.domid, message.shard);
        return;
      case "gone":
        this.#elsewhere.delete(message.domid);
        this.requests.gone(message.domid);
        return;
      case "destroyed":
        forgetOwner(this, message.domid);
        return;
      case "lost":
        this.#elsewhere.delete(message.domid);
        this.requests.gone(message.domid, true);
        for (const domain of [...this.domains.values()]) {
          unmapOwner(domain, message.domid);
          domain.grants.releaseLost(message.domid);
          finishDestroy(this, domain);
        }
        forgetOwner(this, message.domid);
        return;
      default:
        throw new Bug(`shard ${this.id} got a ${message.kind} message`);
    }
  }
}
