/** Operations on a domain's own vCPUs (xen/vcpu.h). */
import { array, i32, struct, u32, u64 } from "./struct.ts";

export const VCPUOP = {
  initialise: 0,
  up: 1,
  down: 2,
  isUp: 3,
  getRunstateInfo: 4,
  registerRunstateMemoryArea: 5,
  setPeriodicTimer: 6,
  stopPeriodicTimer: 7,
  setSingleshotTimer: 8,
  stopSingleshotTimer: 9,
  registerVcpuInfo: 10,
  sendNmi: 11,
  getPhysid: 12,
  registerVcpuTimeMemoryArea: 13,
} as const;

/** struct vcpu_runstate_info: the state, when it was entered, and ns spent in each. */
export const VcpuRunstateInfo = struct({ state: i32, stateEntryTime: u64, time: array(u64, 4) });
export const RUNSTATE = { running: 0, runnable: 1, blocked: 2, offline: 3 } as const;
/** XEN_RUNSTATE_UPDATE, bit 63 of stateEntryTime: as the high half's bit. */
export const RUNSTATE_UPDATE_HI = 0x8000_0000;

/** VCPUOP_register_runstate_memory_area. IN the guest virtual address of a vcpu_runstate_info. */
export const RegisterRunstateMemoryArea = struct({ addr: u64 });
/** VCPUOP_register_vcpu_time_memory_area. IN the guest virtual address of a vcpu_time_info. */
export const RegisterTimeMemoryArea = struct({ addr: u64 });
/** VCPUOP_set_periodic_timer. IN periodNs. */
export const SetPeriodicTimer = struct({ periodNs: u64 });
/** VCPUOP_set_singleshot_timer. IN timeoutAbsNs, flags (which Xen 4.17 does not look at). */
export const SetSingleshotTimer = struct({ timeoutAbsNs: u64, flags: u32 });
/** VCPUOP_register_vcpu_info. IN mfn, offset within it. */
export const RegisterVcpuInfo = struct({ mfn: u64, offset: u32, rsvd: u32 });
/** VCPUOP_get_physid. OUT physId. */
export const GetPhysid = struct({ physId: u64 });
