/** HYPERVISOR_hvm_op and dm_op: for domains of the other kind, and those who emulate devices for them. What a PV domain is told. */
import { Errno } from "../../abi/errno.ts";
import {
  DmOpBuf,
  HVM_NR_PARAMS,
  HVMOP,
  HvmGetMemType,
  HvmGetTime,
  HvmPagetableDying,
  HvmParam,
  HvmXentrace,
} from "../../abi/hvm.ts";
import { DOMID } from "../../abi/xen.ts";
import {
  type HypercallContext,
  type HypercallRow,
  plainSubop,
  type Subop,
  subop,
  subopOut,
  subopRow,
} from "./table.ts";

/** TRC_SUBCLS_SHIFT: a guest's trace events are numbered below this. */
const TRACE_EVENTS = 1 << 12;
const TRACE_EXTRA_BYTES = 28;
const MAX_DM_BUFFERS = 2;

interface DomidField {
  readonly domid: { get(view: DataView, base: number): number };
}

/** `own` for the caller, `other` for somebody else's domain, -ESRCH for nobody's. */
const byDomain =
  ({ domid }: DomidField, own: number, other: number) =>
  ({ shard, domain }: HypercallContext, arg: DataView): number => {
    const named = domid.get(arg, 0);
    if (named === DOMID.self || named === domain.id) return own;
    return shard.exists(named) ? other : -Errno.ESRCH;
  };

const noHvmDomain = byDomain(HvmParam, -Errno.EINVAL, -Errno.EINVAL);
const param = (context: HypercallContext, arg: DataView): number =>
  HvmParam.index.get(arg, 0) < HVM_NR_PARAMS ? noHvmDomain(context, arg) : -Errno.EINVAL;

const rows = new Map<number, Subop>([
  [HVMOP.setParam, subop("set_param", HvmParam, param)],
  [HVMOP.getParam, subop("get_param", HvmParam, param)],
  [HVMOP.flushTlbs, plainSubop("flush_tlbs", () => -Errno.EINVAL)],
  [
    HVMOP.pagetableDying,
    subop("pagetable_dying", HvmPagetableDying, byDomain(HvmPagetableDying, -Errno.EINVAL, -Errno.EOPNOTSUPP)),
  ],
  [
    HVMOP.getTime,
    subopOut("get_time", HvmGetTime, ({ shard }, arg) => {
      HvmGetTime.now.setNumber(arg, 0, shard.now());
      return 0;
    }),
  ],
  [
    HVMOP.xentrace,
    // There is no trace buffer: what is well-formed goes nowhere.
    subop("xentrace", HvmXentrace, (_context, arg) =>
      HvmXentrace.extraBytes.get(arg, 0) > TRACE_EXTRA_BYTES || HvmXentrace.event.get(arg, 0) >= TRACE_EVENTS
        ? -Errno.EINVAL
        : 0,
    ),
  ],
  [HVMOP.getMemType, subop("get_mem_type", HvmGetMemType, byDomain(HvmGetMemType, -Errno.EINVAL, -Errno.EPERM))],
  [HVMOP.setEvtchnUpcallVector, plainSubop("set_evtchn_upcall_vector", () => -Errno.EINVAL)],
  [
    HVMOP.guestRequestVmEvent,
    // Nobody listens to it.
    plainSubop("guest_request_vm_event", (_context, args) =>
      args.lo(1) === 0 && args.hi(1) === 0 ? 0 : -Errno.EINVAL,
    ),
  ],
  [HVMOP.altp2m, plainSubop("altp2m", () => -Errno.EOPNOTSUPP)],
]);

export const hvmOp: HypercallRow = subopRow("hvm_op", rows, { longOp: true });

const buffers = new Uint8Array(DmOpBuf.size * MAX_DM_BUFFERS);

/** dm_op(domid, nr_bufs, bufs): the first buffer says what is asked; nobody's device model is a guest of ours. */
export const dmOp: HypercallRow = {
  name: "dm_op",
  run({ shard, domain, vcpu }, args) {
    const domid = args.u32(0) & 0xffff;
    const count = args.u32(1);
    if (count > MAX_DM_BUFFERS) return -Errno.E2BIG;
    if (!domain.memory.copyFromGuest(vcpu.id, args.va(2), buffers.subarray(0, count * DmOpBuf.size)))
      return -Errno.EFAULT;
    if (count === 0) return -Errno.ENODATA;
    if (domid === domain.id) return -Errno.EPERM;
    // Whoever it is, it is no HVM domain.
    return shard.exists(domid) ? -Errno.EINVAL : -Errno.ESRCH;
  },
};
