/** Calls that belong to the control domain: named so that they can be refused and traced by name. */
import { struct, u16, u32, u64 } from "./struct.ts";

/** platform_op's commands a guest may probe (xen/platform.h). All are -EPERM outside the control domain. */
export const XENPF = {
  settime32: 17,
  addMemtype: 31,
  delMemtype: 32,
  readMemtype: 33,
  microcodeUpdate: 35,
  platformQuirk: 39,
  settime64: 62,
} as const;

/** xenpmu_op's commands (xen/pmu.h). */
export const XENPMU = {
  modeGet: 0,
  modeSet: 1,
  featureGet: 2,
  featureSet: 3,
  init: 4,
  finish: 5,
  lvtpcSet: 6,
  flush: 7,
} as const;

/** struct xen_pmu_params. */
export const PmuParams = struct({ version: struct({ maj: u32, min: u32 }), val: u64, vcpu: u32, pad: u32 });

const versioned = { cmd: u32, interfaceVersion: u32 };
/** What every struct xen_platform_op, xen_sysctl and xen_domctl begins with; `version` is the one that Xen 4.17 takes. */
export const PlatformOpHead = { ...struct(versioned), version: 0x0300_0001 };
export const SysctlHead = { ...struct(versioned), version: 0x15 };
export const DomctlHead = { ...struct({ ...versioned, domain: u16 }), version: 0x15 };

/** domctl's commands that need not name a domain, and the one that goes on in a call of its own. */
export const DOMCTL = {
  createdomain: 1,
  shadowOp: 10,
  assignDevice: 37,
  testAssignDevice: 45,
  deassignDevice: 47,
  vmEventOp: 56,
} as const;
