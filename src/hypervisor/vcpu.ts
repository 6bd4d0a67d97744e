/**
 * One virtual CPU: its processor state (the engine's), what a PV guest has told the hypervisor of it, and why it does or does not
 * run.
 *
 * A vCPU may run exactly when it is up, not blocked, not parked in a hypercall, and its domain may run. Every change of one of
 * these goes through a method here or in `Domain`, so that the scheduler always knows.
 */

import type { VcpuId } from "../abi/ids.ts";
import { RUNSTATE } from "../abi/vcpu.ts";
import { LEGACY_MAX_VCPUS, SharedInfo, VcpuInfo } from "../abi/xen.ts";
import type { CpuState } from "../engine/cpu-state.ts";
import { State } from "../engine/layout.ts";
import type { Domain } from "./domain.ts";
import { HypercallArgs } from "./hypercall/arguments.ts";
import type { HypercallResult } from "./hypercall/result.ts";
import type { HypercallContext } from "./hypercall/table.ts";
import { SchedEntity } from "./sched/scheduler.ts";
import type { Shard } from "./shard.ts";
import type { AnswerData } from "./shard-host.ts";
import { type Runstate, RunstateClock } from "./time/runstate.ts";
import { VcpuTimers } from "./time/vcpu-timers.ts";
import { TrapTable } from "./traps/trap-table.ts";

const CR2_WORD = VcpuInfo.arch.offsets.cr2 / 4;
/** The engine's count, as a register number. */
const INSTRUCTIONS = State.instructions / 8;
const SELECTOR_WORD = VcpuInfo.offsets.evtchnPendingSel / 4;
const VCPU_INFO_WORDS = VcpuInfo.size / 4;

/** A callback address and whether events are masked on entry. Address 0: none. */
export interface Callback {
  address: number;
  maskEvents: boolean;
}

/**
 * Writes a parked call's results to the guest and gives the hypercall's value. Called once, with the other shard's answer or with
 * "gone" when the other domain's shard is no more.
 */
export type CompleteParked = (answer: number | "gone", data?: AnswerData) => HypercallResult;

/** A hypercall that waits for an answer from another shard. */
export interface ParkedCall {
  /** The request that it waits for. */
  readonly request: number;
  readonly complete: CompleteParked;
  /** Sequence number of the call in the domain's trace; -1 when it is not traced. */
  trace: number;
  /** The call is an entry of a multicall: where the entry's result goes and how the multicall goes on. */
  resume?: (result: HypercallResult) => void;
}

export class Vcpu extends SchedEntity {
  readonly id: VcpuId;
  readonly domain: Domain;
  readonly shard: Shard;
  readonly cpu: CpuState;
  readonly context: HypercallContext;
  /** Arguments of the hypercall that is being made. */
  readonly args = new HypercallArgs();

  /** Has been given a state to start from (VCPUOP_initialise, or the builder's). */
  initialised = false;
  /** Between VCPUOP_up and VCPUOP_down. */
  up = false;
  /** In SCHEDOP_block or SCHEDOP_poll. */
  blocked = false;
  /** SCHEDOP_poll waits: the port, -1 for one of several, 0 when it does not poll. */
  pollPort = 0;
  parked: ParkedCall | null = null;

  readonly traps = new TrapTable();
  /** Stack for entries from user mode. */
  kernelSs = 0;
  kernelSp = 0;
  readonly eventCallback: Callback = { address: 0, maskEvents: true };
  readonly failsafeCallback: Callback = { address: 0, maskEvents: false };
  readonly syscallCallback: Callback = { address: 0, maskEvents: false };
  readonly syscall32Callback: Callback = { address: 0, maskEvents: false };
  readonly sysenterCallback: Callback = { address: 0, maskEvents: false };
  nmiCallback = 0;
  nmiPending = false;
  /** Between the delivery of an NMI and the next `iret` hypercall. */
  nmiMasked = false;
  /** MCG_STATUS, which is only kept. */
  mcgStatus: readonly [number, number] = [0, 0];
  /** I/O privilege level as PHYSDEVOP_set_iopl or an `iret` gave it, 0 to 3. */
  iopl = 0;
  /** CR4 bits the guest has set, of those it may. */
  cr4 = 0;
  /** I/O permission bitmap of PHYSDEVOP_set_iobitmap: its address, and the ports it covers. */
  ioBitmap = Number.NaN;
  ioBitmapPorts = 0;
  /** Its last SCHEDOP_shutdown was a suspend. */
  suspends = false;
  /** SCHEDOP_yield: gives up the rest of this turn. */
  yielded = false;

  readonly runstate: RunstateClock;
  readonly timers: VcpuTimers;
  /** Guest virtual addresses of registered areas; NaN for none. */
  runstateArea = Number.NaN;
  timeArea = Number.NaN;

  /** vcpu_info, wherever it stands now. */
  info: Int32Array;
  infoBytes: Uint8Array;
  /** Where VCPUOP_register_vcpu_info has put it; -1 while it is in shared_info. */
  infoMfn = -1;

  constructor(domain: Domain, id: number, cpu: CpuState) {
    super(domain.sched);
    this.domain = domain;
    this.shard = domain.shard;
    this.id = id as VcpuId;
    this.cpu = cpu;
    this.context = { shard: domain.shard, domain, vcpu: this };
    this.runstate = new RunstateClock(domain.shard.now());
    this.timers = new VcpuTimers(domain.shard, this);
    if (id < LEGACY_MAX_VCPUS) {
      const { buffer, byteOffset } = domain.sharedInfo;
      this.info = new Int32Array(
        buffer,
        byteOffset + SharedInfo.vcpuInfo.at(id).offsets.evtchnUpcallPending,
        VCPU_INFO_WORDS,
      );
    } else {
      // Xen's dummy_vcpu_info: events are lost until the guest registers its own.
      this.info = new Int32Array(VCPU_INFO_WORDS);
    }
    this.infoBytes = new Uint8Array(this.info.buffer, this.info.byteOffset, VcpuInfo.size);
  }

  /** Moves vcpu_info to `byteOffset` of the domain's memory, its content with it. */
  moveInfo(mfn: number, byteOffset: number): void {
    const info = new Int32Array(this.domain.memory.buffer, byteOffset, VCPU_INFO_WORDS);
    info.set(this.info);
    this.info = info;
    this.infoBytes = new Uint8Array(info.buffer, info.byteOffset, VcpuInfo.size);
    this.infoMfn = mfn;
  }

  /** Instructions executed so far, exact. */
  get instructions(): number {
    return this.cpu.number(INSTRUCTIONS);
  }

  /** False while it has neither a place in shared_info nor a registered vcpu_info. */
  get hasInfo(): boolean {
    return this.id < LEGACY_MAX_VCPUS || this.infoMfn >= 0;
  }

  /** 2-level ABI: has the guest look at every port. */
  selectEverything(): void {
    this.info[SELECTOR_WORD] = -1;
    this.info[SELECTOR_WORD + 1] = -1;
  }

  get upcallPending(): boolean {
    return this.infoBytes[0] !== 0;
  }

  get upcallMasked(): boolean {
    return this.infoBytes[1] !== 0;
  }

  set upcallMasked(masked: boolean) {
    this.infoBytes[1] = masked ? 1 : 0;
  }

  /** Sets evtchn_upcall_pending, and wakes the vCPU when it was clear. */
  markEventsPending(): void {
    if (this.infoBytes[0] !== 0) return;
    this.infoBytes[0] = 1;
    this.unblock();
  }

  /** CR2 as the guest sees it: in vcpu_info, and in the register that `mov` reads. */
  setCr2(va: number): void {
    this.cpu.cr2 = va;
    this.info[CR2_WORD] = va | 0;
    this.info[CR2_WORD + 1] = Math.floor(va / 0x1_0000_0000);
  }

  get runnable(): boolean {
    return this.up && !this.blocked && this.parked === null && this.domain.runnable;
  }

  /** The runstate it is in whenever it is not running. */
  get idleState(): Runstate {
    if (this.up && (this.blocked || this.parked !== null)) return RUNSTATE.blocked;
    return this.runnable ? RUNSTATE.runnable : RUNSTATE.offline;
  }

  /** SCHEDOP_block: until an event is pending. Not at all when one already is. */
  block(): void {
    this.upcallMasked = false;
    if (this.upcallPending) return;
    this.blocked = true;
    this.reschedule();
  }

  /** SCHEDOP_poll: waits for `port` (-1: any event) until system time `timeout`; 0 for no timeout. */
  poll(port: number, timeout: number): void {
    this.pollPort = port;
    this.blocked = true;
    if (timeout !== 0) this.timers.setPoll(timeout);
    this.reschedule();
  }

  unblock(): void {
    if (this.pollPort !== 0) {
      this.pollPort = 0;
      this.timers.stopPoll();
    }
    if (!this.blocked) return;
    this.blocked = false;
    this.reschedule();
  }

  /** VCPUOP_up, VCPUOP_down. */
  setUp(up: boolean): void {
    this.up = up;
    this.reschedule();
  }

  /** VCPUOP_send_nmi. */
  raiseNmi(): void {
    this.nmiPending = true;
    this.unblock();
  }

  /** Tells the scheduler after a change of what `runnable` looks at. */
  reschedule(): void {
    this.domain.shard.reschedule(this);
  }
}
