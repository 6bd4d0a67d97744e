/**
 * One domain: its memory and engine, its vCPUs, event channels and grant table, and whether it may run.
 */
import type { Domid } from "../abi/ids.ts";
import { SHUTDOWN } from "../abi/sched.ts";
import { VMASST_TYPE } from "../abi/xen.ts";
import { Reg } from "../engine/cpu-state.ts";
import type { Engine } from "../engine/engine.ts";
import { Activity } from "./activity.ts";
import { Dom0Ends } from "./event-channel/dom0-ends.ts";
import type { EventTarget } from "./event-channel/event-abi.ts";
import { EventChannels } from "./event-channel/event-channels.ts";
import { GrantTable } from "./grant-table/grant-table.ts";
import { HypercallCounters } from "./hypercall/counters.ts";
import type { HypercallTrace } from "./hypercall/trace.ts";
import type { DomainMemory } from "./mm/domain-memory.ts";
import { Pirqs } from "./pirqs.ts";
import { SchedGroup } from "./sched/scheduler.ts";
import type { Shard } from "./shard.ts";
import type { CrashState, LogLevel } from "./shard-host.ts";
import { Watchdogs } from "./time/watchdogs.ts";
import { Pit } from "./traps/pit.ts";
import { Vcpu } from "./vcpu.ts";

const WORDS_PER_FRAME = 1024;
const SECOND = 1_000_000_000;
/** Lines of log that a guest may cause in a second. */
const GUEST_LINES = 10;

/** What the hypervisor uses of an engine; `Engine` is one. */
export type GuestEngine = Pick<
  Engine,
  | "vcpus"
  | "run"
  | "step"
  | "flushTlb"
  | "flushPage"
  | "dropWriteTranslations"
  | "dropAllTranslations"
  | "invalidateCode"
  | "setUncached"
  | "translate"
  | "stats"
>;

export interface DomainParts {
  readonly shard: Shard;
  readonly domid: number;
  readonly uuid: Uint8Array;
  readonly engine: GuestEngine;
  readonly memory: DomainMemory;
  /** Frame of shared_info, allocated and owned. */
  readonly sharedInfoMfn: number;
  readonly vcpus: number;
  readonly weight: number;
  readonly cap: number;
}

export class Domain implements EventTarget {
  readonly id: Domid;
  readonly uuid: Uint8Array;
  readonly shard: Shard;
  readonly engine: GuestEngine;
  readonly memory: DomainMemory;
  readonly sched: SchedGroup;
  readonly vcpuCount: number;
  readonly vcpus: readonly Vcpu[];
  readonly events: EventChannels;
  readonly dom0Ends = new Dom0Ends();
  readonly grants: GrantTable;
  readonly watchdogs: Watchdogs;
  readonly counters = new HypercallCounters();
  readonly activity = new Activity();
  trace: HypercallTrace | null = null;
  /** Where a trace that was switched off stopped counting. */
  traceNext = 0;

  readonly sharedInfoMfn: number;
  /** shared_info, as 32-bit words. */
  readonly sharedInfo: Int32Array;
  /** What the domain finds at I/O ports: a PIT, and the PCI address register, which remembers. */
  readonly ports = { pit: new Pit(), pciAddress: 0, cmosIndex: 0 };
  /** Frames that the FIFO event ABI holds. */
  readonly fifoFrames: number[] = [];
  /** Frame of PHYSDEVOP_pirq_eoi_gmfn; -1 for none. */
  pirqEoiMfn = -1;
  readonly pirqs = new Pirqs();
  readonly #assists = new Set<number>();
  #guestLines = GUEST_LINES;
  #guestLinesSince = 0;

  /** Pauses by the toolstack, counted. A domain is made paused. */
  pauseCount = 1;
  /** `SHUTDOWN` reason; -1 while it has not shut down. */
  shutdownReason = -1;
  /** What SCHEDOP_shutdown_code announced; -1 for nothing. */
  shutdownCode = -1;
  crash: CrashState | null = null;
  dying = false;
  /** Its system time less the shard's, ns: a restored domain goes on where it was suspended. */
  timeOffset = 0;
  /** Frames that Domain 0 has mapped now. */
  mappings = 0;

  constructor(parts: DomainParts) {
    this.id = parts.domid as Domid;
    this.uuid = parts.uuid;
    this.shard = parts.shard;
    this.engine = parts.engine;
    this.memory = parts.memory;
    this.sched = new SchedGroup(parts.weight, parts.cap);
    this.vcpuCount = parts.vcpus;
    this.sharedInfoMfn = parts.sharedInfoMfn;
    this.sharedInfo = new Int32Array(
      parts.memory.buffer,
      parts.memory.hostOffset(parts.sharedInfoMfn),
      WORDS_PER_FRAME,
    );
    this.events = new EventChannels(this);
    this.grants = new GrantTable(parts.memory);
    parts.memory.foreign.onPut = ({ domid, shard, mfn }, writable) =>
      this.shard.grants.tell(shard, { kind: "grant-put", owner: domid, caller: this.id, mfn, writable });
    this.watchdogs = new Watchdogs(this);
    this.vcpus = Array.from({ length: parts.vcpus }, (_, id) => new Vcpu(this, id, parts.engine.vcpus[id]!));
  }

  /** System time as the guest sees it, ns; its TSC counts the same. */
  now(): number {
    return this.shard.now() + this.timeOffset;
  }

  /** None of its vCPUs runs while this is false. */
  get runnable(): boolean {
    return this.pauseCount === 0 && this.shutdownReason < 0 && !this.dying;
  }

  assists(type: number): boolean {
    return this.#assists.has(type);
  }

  /** vm_assist: `type` is one of VMASST_TYPE. */
  setAssist(type: number, on: boolean): void {
    if (on) this.#assists.add(type);
    else this.#assists.delete(type);
    if (type === VMASST_TYPE.m2pStrict) this.memory.types.slots.m2pStrict = on;
  }

  vcpuInfo(vcpu: number): Int32Array {
    return this.vcpus[vcpu]!.info;
  }

  markEventsPending(vcpu: number): void {
    this.vcpus[vcpu]!.markEventsPending();
  }

  checkPollers(port: number): void {
    for (const vcpu of this.vcpus) {
      if (vcpu.pollPort !== 0 && (vcpu.pollPort === port || vcpu.pollPort < 0)) vcpu.unblock();
    }
  }

  pause(): void {
    this.pauseCount++;
    this.reschedule();
  }

  unpause(): void {
    if (this.pauseCount > 0) this.pauseCount--;
    this.reschedule();
  }

  /** The domain stops, for a `SHUTDOWN` reason, until it is destroyed or resumed. The first reason stands. */
  shutdown(reason: number): void {
    if (this.shutdownReason >= 0) return;
    this.shutdownReason = this.shutdownCode >= 0 ? this.shutdownCode : reason;
    this.reschedule();
    const message = { kind: "shutdown", domid: this.id, reason: this.shutdownReason } as const;
    this.shard.host.send("dom0", this.crash ? { ...message, crash: this.crash } : message);
  }

  /** Goes on after a suspend that was cancelled. False when the domain is not suspended. */
  resume(): boolean {
    if (this.shutdownReason !== SHUTDOWN.suspend || this.dying) return false;
    this.shutdownReason = -1;
    this.shutdownCode = -1;
    // The hypercall that suspended it answers 1: its memory and channels are as it left them.
    for (const vcpu of this.vcpus) if (vcpu.suspends) vcpu.cpu.setNumber(Reg.rax, 1);
    this.reschedule();
    return true;
  }

  reschedule(): void {
    for (const vcpu of this.vcpus) vcpu.reschedule();
  }

  log(level: LogLevel, text: string): void {
    this.shard.host.log(level, this.id, text);
  }

  /** For what a guest can make happen as often as it likes: a few lines a second, the rest is dropped. */
  logGuest(level: LogLevel, text: string): void {
    const now = this.shard.now();
    if (now - this.#guestLinesSince >= SECOND) {
      this.#guestLines = GUEST_LINES;
      this.#guestLinesSince = now;
    }
    if (this.#guestLines-- > 0) this.log(level, text);
  }
}
