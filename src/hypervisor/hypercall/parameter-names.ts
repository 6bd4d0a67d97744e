/** What the arguments of each hypercall are called (the HYPERVISOR_* prototypes in Xen's public headers), for the trace. */
import { HYPERVISOR } from "../../abi/xen.ts";

const NAMES: Readonly<Partial<Record<keyof typeof HYPERVISOR, readonly string[]>>> = {
  setTrapTable: ["traps"],
  mmuUpdate: ["req", "count", "success_count", "foreigndom"],
  setGdt: ["frame_list", "entries"],
  stackSwitch: ["ss", "esp"],
  setCallbacks: ["event_address", "failsafe_address", "syscall_address"],
  fpuTaskswitch: ["set"],
  schedOpCompat: ["cmd", "arg"],
  platformOp: ["op"],
  setDebugreg: ["reg", "value"],
  getDebugreg: ["reg"],
  updateDescriptor: ["ma", "desc"],
  memoryOp: ["cmd", "arg"],
  multicall: ["call_list", "nr_calls"],
  updateVaMapping: ["va", "val", "flags"],
  setTimerOp: ["timeout"],
  xenVersion: ["cmd", "buffer"],
  consoleIo: ["cmd", "count", "buffer"],
  grantTableOp: ["cmd", "uop", "count"],
  vmAssist: ["cmd", "type"],
  updateVaMappingOtherdomain: ["va", "val", "flags", "domid"],
  iret: [],
  vcpuOp: ["cmd", "vcpuid", "extra_args"],
  setSegmentBase: ["which", "base"],
  mmuextOp: ["op", "count", "success_count", "foreigndom"],
  nmiOp: ["cmd", "arg"],
  schedOp: ["cmd", "arg"],
  callbackOp: ["cmd", "arg"],
  eventChannelOp: ["cmd", "arg"],
  physdevOp: ["cmd", "arg"],
  sysctl: ["op"],
  domctl: ["op"],
  kexecOp: ["op", "arg"],
  xenpmuOp: ["op", "arg"],
};

const byNumber = new Map(
  Object.entries(NAMES).map(([key, names]) => [HYPERVISOR[key as keyof typeof HYPERVISOR], names]),
);
const UNNAMED = ["arg1", "arg2", "arg3", "arg4", "arg5"];

/** In order; as many as the hypercall has, or all five for one whose arguments nobody reads. */
export function parameterNames(number: number): readonly string[] {
  return byNumber.get(number as never) ?? UNNAMED;
}
