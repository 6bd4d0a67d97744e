/**
 * How pending ports reach a guest: the part that differs between the 2-level and the FIFO ABI.
 *
 * Everything here runs on the thread of the domain's shard, the only one that touches these words from the outside. vCPUs of the
 * domain run on the same thread, never at the same time, so plain loads and stores are atomic enough.
 */

/** What an ABI needs of the domain. Words are 32-bit, little-endian. */
export interface EventTarget {
  readonly id: number;
  readonly vcpuCount: number;
  /** shared_info, 1024 words. */
  readonly sharedInfo: Int32Array;
  /** vcpu_info of a vCPU, 16 words, wherever it is registered now. */
  vcpuInfo(vcpu: number): Int32Array;
  /** Sets evtchn_upcall_pending, and wakes the vCPU when it was clear. */
  markEventsPending(vcpu: number): void;
  /** Something that may end a SCHEDOP_poll on this port has happened. */
  checkPollers(port: number): void;
}

/** What an ABI keeps with each port. */
export interface EventPortState {
  readonly port: number;
  notifyVcpu: number;
  /** FIFO: queue the event goes to. */
  priority: number;
  /** FIFO: queue it was linked to last. */
  lastVcpu: number;
  lastPriority: number;
  /** FIFO: raised before its event word existed, once. Xen forgets it with the domain only: whoever enters the ABI anew has it raised again. */
  lost: boolean;
}

export interface EventAbi {
  /** Ports are below this. */
  readonly maxPorts: number;
  setPending(channel: EventPortState): void;
  clearPending(channel: EventPortState): void;
  unmask(channel: EventPortState): void;
  isPending(port: number): boolean;
  isMasked(port: number): boolean;
  /** Whether the guest has still to take a closed port out of a queue. */
  isBusy(port: number): boolean;
  /** 0 or -errno. `usable`: whether the port has a use. */
  setPriority(channel: EventPortState, priority: number, usable: boolean): number;
}
