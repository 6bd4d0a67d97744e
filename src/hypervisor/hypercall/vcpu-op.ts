/** HYPERVISOR_vcpu_op (xen/vcpu.h): operations on a domain's own vCPUs. */
import { VcpuGuestContext } from "../../abi/arch-x86-64.ts";
import { Errno } from "../../abi/errno.ts";
import { SHUTDOWN } from "../../abi/sched.ts";
import {
  RegisterRunstateMemoryArea,
  RegisterTimeMemoryArea,
  RegisterVcpuInfo,
  SetPeriodicTimer,
  SetSingleshotTimer,
  VCPUOP,
  VcpuRunstateInfo,
} from "../../abi/vcpu.ts";
import { VcpuInfo } from "../../abi/xen.ts";
import { PageType } from "../mm/frame-table.ts";
import { accessOk } from "../mm/guest-memory.ts";
import { PAGE_SIZE } from "../mm/memory-map.ts";
import { publishRunstate, publishTime, readRunstate } from "../time/areas.ts";
import { MIN_PERIOD } from "../time/vcpu-timers.ts";
import type { Vcpu } from "../vcpu.ts";
import { setGuestContext } from "../vcpu-context.ts";
import type { HypercallArgs } from "./arguments.ts";
import type { HypercallContext, HypercallRow } from "./table.ts";
import { plainSubop, type Subop, type SubopHandler, subop, subopRow } from "./table.ts";

/** The longest period: about 146 years, half of what a signed ns count holds. */
const MAX_PERIOD = 2 ** 62;

/** A handler that gets the vCPU that argument 1 names. */
type OnVcpu = (target: Vcpu, context: HypercallContext, arg: DataView, args: HypercallArgs) => number;

const named = (context: HypercallContext, args: HypercallArgs): Vcpu | undefined => context.domain.vcpus[args.u32(1)];

const on =
  (handler: OnVcpu): SubopHandler =>
  (context, arg, args) =>
    handler(named(context, args)!, context, arg, args);

function initialise(target: Vcpu, { domain, vcpu }: HypercallContext, _arg: DataView, args: HypercallArgs): number {
  if (!target.hasInfo) return -Errno.EINVAL;
  const bytes = new Uint8Array(VcpuGuestContext.size);
  if (!domain.memory.copyFromGuest(vcpu.id, args.va(2), bytes)) return -Errno.EFAULT;
  if (target.initialised) return -Errno.EEXIST;
  return setGuestContext(target, new DataView(bytes.buffer));
}

function up(target: Vcpu): number {
  if (!target.hasInfo || !target.initialised) return -Errno.EINVAL;
  target.setUp(true);
  return 0;
}

/** The last one going down is the end of the domain. */
function down(target: Vcpu, { domain }: HypercallContext): number {
  if (domain.vcpus.some((other) => other !== target && other.up)) target.setUp(false);
  else domain.shutdown(SHUTDOWN.poweroff);
  return 0;
}

function registerVcpuInfo(target: Vcpu, { domain, vcpu }: HypercallContext, arg: DataView): number {
  const mfn = RegisterVcpuInfo.mfn.number(arg, 0);
  const offset = RegisterVcpuInfo.offset.get(arg, 0);
  if (offset > PAGE_SIZE - VcpuInfo.size) return -Errno.ENXIO;
  if (offset % VcpuInfo.align !== 0) return -Errno.ENXIO;
  if (target.infoMfn >= 0) return -Errno.EINVAL;
  // On oneself, or on a vCPU that cannot be looking.
  if (target !== vcpu && target.up) return -Errno.EINVAL;
  const { memory } = domain;
  if (memory.getPageAndType(mfn, PageType.writable) !== 0) return -Errno.EINVAL;
  target.moveInfo(mfn, memory.hostOffset(mfn) + offset);
  // Whatever was raised during the move must not be lost: the guest looks at everything once.
  target.selectEverything();
  target.markEventsPending();
  return 0;
}

function setSingleshot(target: Vcpu, _context: HypercallContext, arg: DataView): number {
  const expiry = SetSingleshotTimer.timeoutAbsNs.signed(arg, 0);
  // VCPU_SSHOTTMR_future is not looked at: a time that has passed fires at once.
  target.timers.setSingleshot(expiry);
  return 0;
}

function setPeriodic(target: Vcpu, _context: HypercallContext, arg: DataView): number {
  const period = SetPeriodicTimer.periodNs.number(arg, 0);
  if (period < MIN_PERIOD || period > MAX_PERIOD) return -Errno.EINVAL;
  target.timers.setPeriodic(period);
  return 0;
}

function getRunstate(target: Vcpu, { shard, domain, vcpu }: HypercallContext, _arg: DataView, args: HypercallArgs) {
  const bytes = new Uint8Array(VcpuRunstateInfo.size);
  readRunstate(target, shard.now(), new DataView(bytes.buffer));
  return domain.memory.copyToGuest(vcpu.id, args.va(2), bytes) ? 0 : -Errno.EFAULT;
}

const rows = new Map<number, Subop>([
  [
    VCPUOP.initialise,
    plainSubop("initialise", (context, args) => initialise(named(context, args)!, context, none, args)),
  ],
  [VCPUOP.up, plainSubop("up", (context, args) => up(named(context, args)!))],
  [VCPUOP.down, plainSubop("down", (context, args) => down(named(context, args)!, context))],
  [VCPUOP.isUp, plainSubop("is_up", (context, args) => (named(context, args)!.up ? 1 : 0))],
  [
    VCPUOP.getRunstateInfo,
    plainSubop("get_runstate_info", (context, args) => getRunstate(named(context, args)!, context, none, args)),
  ],
  [
    VCPUOP.registerRunstateMemoryArea,
    subop(
      "register_runstate_memory_area",
      RegisterRunstateMemoryArea,
      on((target, { shard, vcpu }, arg) => {
        const va = RegisterRunstateMemoryArea.addr.signed(arg, 0);
        if (!accessOk(va)) return -Errno.EFAULT;
        target.runstateArea = va;
        publishRunstate(target, shard.now(), vcpu);
        return 0;
      }),
    ),
  ],
  [
    VCPUOP.registerVcpuTimeMemoryArea,
    subop(
      "register_vcpu_time_memory_area",
      RegisterTimeMemoryArea,
      on((target, context, arg) => {
        const va = RegisterTimeMemoryArea.addr.signed(arg, 0);
        if (!accessOk(va)) return -Errno.EFAULT;
        target.timeArea = va;
        publishTime(target, context.vcpu);
        return 0;
      }),
    ),
  ],
  [VCPUOP.setPeriodicTimer, subop("set_periodic_timer", SetPeriodicTimer, on(setPeriodic))],
  [
    VCPUOP.stopPeriodicTimer,
    plainSubop("stop_periodic_timer", (context, args) => {
      named(context, args)!.timers.stopPeriodic();
      return 0;
    }),
  ],
  [VCPUOP.setSingleshotTimer, subop("set_singleshot_timer", SetSingleshotTimer, on(setSingleshot))],
  [
    VCPUOP.stopSingleshotTimer,
    plainSubop("stop_singleshot_timer", (context, args) => {
      if (named(context, args) !== context.vcpu) return -Errno.EINVAL;
      context.vcpu.timers.stopSingleshot();
      return 0;
    }),
  ],
  [VCPUOP.registerVcpuInfo, subop("register_vcpu_info", RegisterVcpuInfo, on(registerVcpuInfo))],
  [
    VCPUOP.sendNmi,
    plainSubop("send_nmi", (context, args) => {
      if (args.lo(2) !== 0 || args.hi(2) !== 0) return -Errno.EINVAL;
      named(context, args)!.raiseNmi();
      return 0;
    }),
  ],
  [VCPUOP.getPhysid, plainSubop("get_physid", () => -Errno.EINVAL)],
]);

const none = new DataView(new ArrayBuffer(0));
const table = subopRow("vcpu_op", rows, { structArg: 2 });

export const vcpuOp: HypercallRow = {
  ...table,
  run(context, args) {
    const target = named(context, args);
    if (target === undefined) return -Errno.ENOENT;
    // A vCPU's singleshot timer is its own, whatever the argument says.
    if (args.u32(0) === VCPUOP.setSingleshotTimer && target !== context.vcpu) return -Errno.EINVAL;
    return table.run(context, args);
  },
};
