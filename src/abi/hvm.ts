/** hvm_op (xen/hvm/hvm_op.h) and dm_op (xen/hvm/dm_op.h), as far as a PV domain's refusals look into the arguments. */
import { array, struct, u8, u16, u32, u64 } from "./struct.ts";

export const HVMOP = {
  setParam: 0,
  getParam: 1,
  flushTlbs: 5,
  pagetableDying: 9,
  getTime: 10,
  xentrace: 11,
  getMemType: 15,
  setEvtchnUpcallVector: 23,
  guestRequestVmEvent: 24,
  altp2m: 25,
} as const;

export const HVM_NR_PARAMS = 39;
/** HVMOP_set_param and _get_param. IN domid, index. */
export const HvmParam = struct({ domid: u16, pad: u16, index: u32, value: u64 });
/** HVMOP_pagetable_dying. IN domid, gpa. */
export const HvmPagetableDying = struct({ domid: u16, pad: array(u16, 3), gpa: u64 });
/** HVMOP_get_time. OUT now: system time in ns. */
export const HvmGetTime = struct({ now: u64 });
/** HVMOP_xentrace. IN event, extraBytes, extra. */
export const HvmXentrace = struct({ event: u16, extraBytes: u16, extra: array(u8, 28) });
/** HVMOP_get_mem_type. IN domid, pfn. OUT memType. */
export const HvmGetMemType = struct({ domid: u16, memType: u16, pad: array(u16, 2), pfn: u64 });
/** struct xen_dm_op_buf: address and bytes of a buffer. */
export const DmOpBuf = struct({ h: u64, bytes: u64 });
