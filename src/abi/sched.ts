/** Scheduling and shutdown (xen/sched.h). */
import { i32, struct, u16, u32, u64 } from "./struct.ts";

export const SCHEDOP = {
  yield: 0,
  block: 1,
  shutdown: 2,
  poll: 3,
  remoteShutdown: 4,
  shutdownCode: 5,
  watchdog: 6,
  pinOverride: 7,
} as const;

/** SCHEDOP_shutdown and SCHEDOP_shutdown_code. IN reason (`SHUTDOWN`). */
export const SchedShutdown = struct({ reason: u32 });
/** SCHEDOP_poll. IN ports (array of nrPorts u32), timeout: absolute system time in ns, 0 for none. */
export const SchedPoll = struct({ ports: u64, nrPorts: u32, timeout: u64 });
/** SCHEDOP_remote_shutdown. IN domainId, reason. */
export const SchedRemoteShutdown = struct({ domainId: u16, reason: u32 });
/** SCHEDOP_watchdog. IN id (0 for a new one), timeout in seconds. */
export const SchedWatchdog = struct({ id: u32, timeout: u32 });
/** SCHEDOP_pin_override. IN pcpu, negative to unpin. */
export const SchedPinOverride = struct({ pcpu: i32 });

/** Why a domain shut down. */
export const SHUTDOWN = { poweroff: 0, reboot: 1, suspend: 2, crash: 3, watchdog: 4, softReset: 5, max: 5 } as const;
