/** HYPERVISOR_event_channel_op (xen/event_channel.h). */
import { Errno } from "../../abi/errno.ts";
import {
  AllocUnbound,
  BindInterdomain,
  BindIpi,
  BindPirq,
  BindVirq,
  EVTCHNOP,
  EVTCHNOP_RESET_CONT,
  EvtchnBindVcpu,
  EvtchnClose,
  EvtchnExpandArray,
  EvtchnInitControl,
  EvtchnOpCompat,
  EvtchnReset,
  EvtchnSend,
  EvtchnSetPriority,
  EvtchnStatus,
  EvtchnUnmask,
} from "../../abi/event-channel.ts";
import { ChannelState } from "../event-channel/event-channels.ts";
import { expandArray, initControl, releaseFifoFrames } from "../event-channel/fifo-setup.ts";
import { bindInterdomain, closeAll, closePort, resolveDomid, send } from "../event-channel/interdomain.ts";
import { NR_PIRQS } from "../pirqs.ts";
import { compatRow, type HypercallRow, type Subop, type SubopHandler, subop, subopOut, subopRow } from "./table.ts";

/** Ports that any domain has, in use or not. Those beyond are said not to exist before it is said whose they are. */
const PORTS_OF_ANYONE = 64;

/** A sub-operation on a domain's own ports: -ESRCH and -EPERM for other domains'. */
const onOwn =
  (named: { readonly dom: { get(view: DataView, base: number): number } }, run: SubopHandler): SubopHandler =>
  (context, arg, args) => {
    const { shard, domain } = context;
    const domid = resolveDomid(domain, named.dom.get(arg, 0));
    if (domid === domain.id) return run(context, arg, args);
    return shard.exists(domid) ? -Errno.EPERM : -Errno.ESRCH;
  };

const rows = new Map<number, Subop>([
  [
    EVTCHNOP.bindInterdomain,
    subopOut("bind_interdomain", BindInterdomain, (context, arg, args) => {
      const { domain, vcpu } = context;
      const va = args.va(1);
      const remoteDomid = BindInterdomain.remoteDom.get(arg, 0);
      const remotePort = BindInterdomain.remotePort.get(arg, 0);
      return bindInterdomain(context, remoteDomid, remotePort, (port) => {
        // The caller may have been parked: the argument is written here, not from the dispatcher's copy.
        const out = new DataView(new ArrayBuffer(BindInterdomain.size));
        BindInterdomain.remoteDom.set(out, 0, remoteDomid);
        BindInterdomain.remotePort.set(out, 0, remotePort);
        BindInterdomain.localPort.set(out, 0, port);
        BindInterdomain.localPort.set(arg, 0, port);
        return domain.memory.copyToGuest(vcpu.id, va, new Uint8Array(out.buffer)) ? 0 : -Errno.EFAULT;
      });
    }),
  ],
  [
    EVTCHNOP.bindVirq,
    subopOut("bind_virq", BindVirq, ({ domain }, arg) => {
      const port = domain.events.bindVirq(BindVirq.virq.get(arg, 0), BindVirq.vcpu.get(arg, 0));
      if (port < 0) return port;
      BindVirq.port.set(arg, 0, port);
      return 0;
    }),
  ],
  [
    EVTCHNOP.bindPirq,
    subop("bind_pirq", BindPirq, (_context, arg) =>
      BindPirq.pirq.get(arg, 0) < NR_PIRQS ? -Errno.EPERM : -Errno.EINVAL,
    ),
  ],
  [EVTCHNOP.close, subop("close", EvtchnClose, (context, arg) => closePort(context, EvtchnClose.port.get(arg, 0)))],
  [
    EVTCHNOP.send,
    subop("send", EvtchnSend, ({ shard, domain }, arg) => send(shard, domain, EvtchnSend.port.get(arg, 0))),
  ],
  [
    EVTCHNOP.status,
    subopOut("status", EvtchnStatus, ({ shard, domain }, arg) => {
      const domid = resolveDomid(domain, EvtchnStatus.dom.get(arg, 0));
      if (domid !== domain.id) {
        if (!shard.exists(domid)) return -Errno.ESRCH;
        return EvtchnStatus.port.get(arg, 0) < PORTS_OF_ANYONE ? -Errno.EPERM : -Errno.EINVAL;
      }
      const channel = domain.events.get(EvtchnStatus.port.get(arg, 0));
      if (channel === undefined) return -Errno.EINVAL;
      const { state } = channel;
      EvtchnStatus.status.set(arg, 0, state === ChannelState.reserved ? ChannelState.closed : state);
      EvtchnStatus.vcpu.set(arg, 0, channel.notifyVcpu);
      if (state === ChannelState.unbound) EvtchnStatus.u.unbound.dom.set(arg, 0, channel.remoteDomid);
      if (state === ChannelState.interdomain) {
        EvtchnStatus.u.interdomain.dom.set(arg, 0, channel.remoteDomid);
        EvtchnStatus.u.interdomain.port.set(arg, 0, channel.remotePort);
      }
      if (state === ChannelState.virq) EvtchnStatus.u.virq.set(arg, 0, channel.virq);
      return 0;
    }),
  ],
  [
    EVTCHNOP.allocUnbound,
    subopOut("alloc_unbound", AllocUnbound, ({ shard, domain }, arg) => {
      const domid = resolveDomid(domain, AllocUnbound.dom.get(arg, 0));
      if (domid !== domain.id) return shard.exists(domid) ? -Errno.EPERM : -Errno.ESRCH;
      const port = domain.events.allocUnbound(resolveDomid(domain, AllocUnbound.remoteDom.get(arg, 0)));
      if (port < 0) return port;
      AllocUnbound.port.set(arg, 0, port);
      return 0;
    }),
  ],
  [
    EVTCHNOP.bindIpi,
    subopOut("bind_ipi", BindIpi, ({ domain }, arg) => {
      const port = domain.events.bindIpi(BindIpi.vcpu.get(arg, 0));
      if (port < 0) return port;
      BindIpi.port.set(arg, 0, port);
      return 0;
    }),
  ],
  [
    EVTCHNOP.bindVcpu,
    subop("bind_vcpu", EvtchnBindVcpu, ({ domain }, arg) =>
      domain.events.bindVcpu(EvtchnBindVcpu.port.get(arg, 0), EvtchnBindVcpu.vcpu.get(arg, 0)),
    ),
  ],
  [
    EVTCHNOP.unmask,
    subop("unmask", EvtchnUnmask, ({ domain }, arg) => domain.events.unmask(EvtchnUnmask.port.get(arg, 0))),
  ],
  [
    EVTCHNOP.reset,
    subop(
      "reset",
      EvtchnReset,
      onOwn(EvtchnReset, ({ shard, domain }) => {
        closeAll(shard, domain);
        domain.events.resetAbi();
        releaseFifoFrames(domain);
        return 0;
      }),
    ),
  ],
  // A reset is done in one go here: there is never one to be gone on with.
  [
    EVTCHNOP_RESET_CONT,
    subop(
      "reset_cont",
      EvtchnReset,
      onOwn(EvtchnReset, () => -Errno.EINVAL),
    ),
  ],
  [EVTCHNOP.initControl, subopOut("init_control", EvtchnInitControl, ({ domain }, arg) => initControl(domain, arg))],
  [EVTCHNOP.expandArray, subop("expand_array", EvtchnExpandArray, ({ domain }, arg) => expandArray(domain, arg))],
  [
    EVTCHNOP.setPriority,
    subop("set_priority", EvtchnSetPriority, ({ domain }, arg) =>
      domain.events.setPriority(EvtchnSetPriority.port.get(arg, 0), EvtchnSetPriority.priority.get(arg, 0)),
    ),
  ],
]);

export const eventChannelOp: HypercallRow = subopRow("event_channel_op", rows);

/** The old form: the sub-operation, of those that it had, in the argument's first word. */
export const eventChannelOpCompat: HypercallRow = compatRow(
  "event_channel_op_compat",
  EvtchnOpCompat,
  eventChannelOp,
  (command) => command <= EVTCHNOP.unmask,
);
