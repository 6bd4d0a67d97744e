/** Every hypercall that is answered with anything but -ENOSYS, by number. */
import { Errno } from "../../abi/errno.ts";
import { HYPERVISOR, NR_HYPERCALLS } from "../../abi/xen.ts";
import type { HypercallArgs } from "./arguments.ts";
import { domctl, pagingDomctlCont, platformOp, sysctl } from "./control-ops.ts";
import { setGdt, updateDescriptor } from "./descriptors.ts";
import { eventChannelOp, eventChannelOpCompat } from "./event-channel-op.ts";
import { grantTableOp } from "./grant-table-op.ts";
import { dmOp, hvmOp } from "./hvm-op.ts";
import { iret } from "./iret.ts";
import { memoryOp } from "./memory-op.ts";
import { mmuUpdate } from "./mmu-update.ts";
import { mmuextOp } from "./mmuext-op.ts";
import { multicallRow } from "./multicall.ts";
import { physdevOp, physdevOpCompat } from "./physdev-op.ts";
import { fpuTaskswitch, getDebugreg, setDebugreg, setSegmentBase, setTimerOp, vmAssist } from "./processor-state.ts";
import { consoleIo, hypfsOp, kexecOp, mca, xenpmuOp } from "./refused.ts";
import type { HypercallResult } from "./result.ts";
import { schedOp, schedOpCompat } from "./sched-op.ts";
import type { HypercallContext, HypercallRow, Operand } from "./table.ts";
import { callbackOp, nmiOp, setCallbacks, setTrapTable, stackSwitch } from "./traps-and-callbacks.ts";
import { updateVaMapping, updateVaMappingOtherdomain } from "./update-va-mapping.ts";
import { vcpuOp } from "./vcpu-op.ts";
import { xenVersion } from "./xen-version.ts";

const rows: Readonly<Partial<Record<keyof typeof HYPERVISOR, HypercallRow>>> = {
  setTrapTable,
  mmuUpdate,
  setGdt,
  stackSwitch,
  setCallbacks,
  fpuTaskswitch,
  schedOpCompat,
  platformOp,
  setDebugreg,
  getDebugreg,
  updateDescriptor,
  memoryOp,
  multicall: multicallRow(call, operandOf),
  updateVaMapping,
  setTimerOp,
  eventChannelOpCompat,
  xenVersion,
  consoleIo,
  physdevOpCompat,
  grantTableOp,
  vmAssist,
  updateVaMappingOtherdomain,
  iret,
  vcpuOp,
  setSegmentBase,
  mmuextOp,
  nmiOp,
  schedOp,
  callbackOp,
  eventChannelOp,
  physdevOp,
  hvmOp,
  sysctl,
  domctl,
  kexecOp,
  xenpmuOp,
  dmOp,
  hypfsOp,
  arch0: mca,
  arch1: pagingDomctlCont,
};

/** By number; undefined where there is no such hypercall. */
export const hypercalls: readonly (HypercallRow | undefined)[] = Array.from({ length: NR_HYPERCALLS }, (_, number) => {
  const name = (Object.keys(HYPERVISOR) as (keyof typeof HYPERVISOR)[]).find((key) => HYPERVISOR[key] === number);
  return name === undefined ? undefined : rows[name];
});

/** What a call's arguments point to, for the trace. */
export function operandOf(number: number, args: HypercallArgs): Operand | undefined {
  return hypercalls[number]?.operand?.(args);
}

/** Makes one call, as a hypercall of its own or as an entry of a multicall. Counts it. */
export function call(context: HypercallContext, number: number, args: HypercallArgs): HypercallResult {
  if (number >= NR_HYPERCALLS) return -Errno.ENOSYS;
  const { counters } = context.domain;
  counters.count(number);
  const row: HypercallRow | undefined = hypercalls[number];
  if (row === undefined) return -Errno.ENOSYS;
  if (row.subops !== undefined && row.subops.arg >= 0) {
    counters.countSubop(number, (args.u32(row.subops.arg) & row.subops.mask) >>> 0);
  }
  return row.run(context, args);
}
