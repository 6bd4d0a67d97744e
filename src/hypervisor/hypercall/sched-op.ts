/** HYPERVISOR_sched_op (xen/sched.h), and its old form sched_op_compat. */
import { Errno } from "../../abi/errno.ts";
import { SCHEDOP, SchedPoll, SchedRemoteShutdown, SchedShutdown, SchedWatchdog, SHUTDOWN } from "../../abi/sched.ts";
import { resolveDomid } from "../event-channel/interdomain.ts";
import { crashDomain } from "../traps/crash.ts";
import type { HypercallContext } from "./table.ts";
import { type HypercallRow, plainSubop, type Subop, subop, subopRow } from "./table.ts";

/** Ports of one SCHEDOP_poll. */
const MAX_POLL_PORTS = 128;

function yieldTurn({ vcpu }: HypercallContext): number {
  vcpu.yielded = true;
  return 0;
}

function block({ vcpu }: HypercallContext): number {
  vcpu.block();
  return 0;
}

/** Waits for one of some ports, whether masked or not, or a timeout. Upcalls stay as they are. */
function poll({ domain, vcpu }: HypercallContext, arg: DataView): number {
  const count = SchedPoll.nrPorts.get(arg, 0);
  if (count > MAX_POLL_PORTS) return -Errno.EINVAL;
  const list = SchedPoll.ports.signed(arg, 0);
  const timeout = SchedPoll.timeout.number(arg, 0);
  if (vcpu.upcallPending && !vcpu.upcallMasked) return 0;
  let port = 0;
  for (let i = 0; i < count; i++) {
    port = domain.memory.readU32(vcpu.id, list + i * 4);
    if (port < 0) return -Errno.EFAULT;
    if (!domain.events.usable(port)) return -Errno.EINVAL;
    if (domain.events.abi.isPending(port)) return 0;
  }
  vcpu.poll(count === 1 ? port : -1, timeout);
  return 0;
}

const rows = new Map<number, Subop>([
  [SCHEDOP.yield, plainSubop("yield", yieldTurn)],
  [SCHEDOP.block, plainSubop("block", block)],
  [
    SCHEDOP.shutdown,
    subop("shutdown", SchedShutdown, ({ domain, vcpu }, arg) => {
      const reason = SchedShutdown.reason.get(arg, 0) & 0xff;
      vcpu.suspends = reason === SHUTDOWN.suspend;
      if (reason === SHUTDOWN.crash) crashDomain(vcpu, "the guest kernel says that it has crashed");
      else domain.shutdown(reason);
      return 0;
    }),
  ],
  [SCHEDOP.poll, subop("poll", SchedPoll, poll)],
  [
    SCHEDOP.remoteShutdown,
    subop("remote_shutdown", SchedRemoteShutdown, ({ shard, domain }, arg) => {
      // A domid, SELF included, is looked up as a number; no guest may shut down another.
      const domid = SchedRemoteShutdown.domainId.get(arg, 0);
      return resolveDomid(domain, domid) === domid && shard.exists(domid) ? -Errno.EPERM : -Errno.ESRCH;
    }),
  ],
  [
    SCHEDOP.shutdownCode,
    subop("shutdown_code", SchedShutdown, ({ domain }, arg) => {
      if (domain.shutdownCode < 0) domain.shutdownCode = SchedShutdown.reason.get(arg, 0) & 0xff;
      return 0;
    }),
  ],
  [
    SCHEDOP.watchdog,
    subop("watchdog", SchedWatchdog, ({ domain }, arg) =>
      domain.watchdogs.set(SchedWatchdog.id.get(arg, 0), SchedWatchdog.timeout.get(arg, 0)),
    ),
  ],
  [SCHEDOP.pinOverride, plainSubop("pin_override", () => -Errno.EPERM)],
]);

export const schedOp: HypercallRow = subopRow("sched_op", rows);

const compatRows = new Map<number, Subop>([
  [SCHEDOP.yield, plainSubop("yield", yieldTurn)],
  [SCHEDOP.block, plainSubop("block", block)],
  [
    SCHEDOP.shutdown,
    plainSubop("shutdown", ({ domain }, args) => {
      domain.shutdown(args.u32(1) & 0xff);
      return 0;
    }),
  ],
]);

export const schedOpCompat: HypercallRow = subopRow("sched_op_compat", compatRows);
