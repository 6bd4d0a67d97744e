/** Event channels (xen/event_channel.h): the sub-operations, their arguments, and both delivery ABIs, 2-level and FIFO. */
import { array, struct, u8, u16, u32, u64, union } from "./struct.ts";

export const EVTCHNOP = {
  bindInterdomain: 0,
  bindVirq: 1,
  bindPirq: 2,
  close: 3,
  send: 4,
  status: 5,
  allocUnbound: 6,
  bindIpi: 7,
  bindVcpu: 8,
  unmask: 9,
  reset: 10,
  initControl: 11,
  expandArray: 12,
  setPriority: 13,
} as const;
/** Where a long reset goes on: a sub-operation between the hypervisor and itself, that a guest can name nevertheless. */
export const EVTCHNOP_RESET_CONT = 14;

/** EVTCHNOP_alloc_unbound. IN dom, remoteDom. OUT port. */
export const AllocUnbound = struct({ dom: u16, remoteDom: u16, port: u32 });
/** EVTCHNOP_bind_interdomain. IN remoteDom, remotePort. OUT localPort. */
export const BindInterdomain = struct({ remoteDom: u16, remotePort: u32, localPort: u32 });
/** EVTCHNOP_bind_virq. IN virq, vcpu. OUT port. */
export const BindVirq = struct({ virq: u32, vcpu: u32, port: u32 });
/** EVTCHNOP_bind_pirq. IN pirq, flags. OUT port. */
export const BindPirq = struct({ pirq: u32, flags: u32, port: u32 });
export const BIND_PIRQ_WILL_SHARE = 1;
/** EVTCHNOP_bind_ipi. IN vcpu. OUT port. */
export const BindIpi = struct({ vcpu: u32, port: u32 });
/** EVTCHNOP_close. IN port. */
export const EvtchnClose = struct({ port: u32 });
/** EVTCHNOP_send. IN port. */
export const EvtchnSend = struct({ port: u32 });
/** EVTCHNOP_status. IN dom, port. OUT status (`EVTCHNSTAT`), vcpu and what it is bound to. */
export const EvtchnStatus = struct({
  dom: u16,
  port: u32,
  status: u32,
  vcpu: u32,
  u: union({
    unbound: struct({ dom: u16 }),
    interdomain: struct({ dom: u16, port: u32 }),
    pirq: u32,
    virq: u32,
  }),
});
export const EVTCHNSTAT = { closed: 0, unbound: 1, interdomain: 2, pirq: 3, virq: 4, ipi: 5 } as const;
/** EVTCHNOP_bind_vcpu. IN port, vcpu. */
export const EvtchnBindVcpu = struct({ port: u32, vcpu: u32 });
/** EVTCHNOP_unmask. IN port. */
export const EvtchnUnmask = struct({ port: u32 });
/** EVTCHNOP_reset. IN dom. */
export const EvtchnReset = struct({ dom: u16 });
/** EVTCHNOP_init_control. IN controlGfn, offset, vcpu. OUT linkBits. */
export const EvtchnInitControl = struct({ controlGfn: u64, offset: u32, vcpu: u32, linkBits: u8, pad: array(u8, 7) });
/** EVTCHNOP_expand_array. IN arrayGfn. */
export const EvtchnExpandArray = struct({ arrayGfn: u64 });
/** EVTCHNOP_set_priority. IN port, priority. */
export const EvtchnSetPriority = struct({ port: u32, priority: u32 });

/** Ports of the 2-level ABI (EVTCHN_2L_NR_CHANNELS). */
export const EVTCHN_2L_NR_CHANNELS = 4096;

/** The FIFO ABI: bits of an event word, priorities, sizes. */
export const EVTCHN_FIFO = {
  priorityMax: 0,
  priorityDefault: 7,
  priorityMin: 15,
  maxQueues: 16,
  pendingBit: 31,
  maskedBit: 30,
  linkedBit: 29,
  busyBit: 28,
  linkBits: 17,
  linkMask: 0x1_ffff,
  nrChannels: 0x2_0000,
  /** Event words in one page of the array. */
  wordsPerPage: 1024,
} as const;

/** struct evtchn_fifo_control_block: one for each vCPU. */
export const EvtchnFifoControlBlock = struct({ ready: u32, rsvd: u32, head: array(u32, EVTCHN_FIFO.maxQueues) });

/** struct evtchn_op: the one argument of event_channel_op_compat, sub-operation and arguments together. */
export const EvtchnOpCompat = struct({
  cmd: u32,
  u: union({
    allocUnbound: AllocUnbound,
    bindInterdomain: BindInterdomain,
    bindVirq: BindVirq,
    bindPirq: BindPirq,
    bindIpi: BindIpi,
    close: EvtchnClose,
    send: EvtchnSend,
    status: EvtchnStatus,
    bindVcpu: EvtchnBindVcpu,
    unmask: EvtchnUnmask,
  }),
});
