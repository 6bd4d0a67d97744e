/** Callback addresses (xen/callback.h). */
import { struct, u16, u64 } from "./struct.ts";

export const CALLBACKOP = { register: 0, unregister: 1 } as const;
export const CALLBACKTYPE = {
  event: 0,
  failsafe: 1,
  syscall: 2,
  sysenterDeprecated: 3,
  nmi: 4,
  sysenter: 5,
  syscall32: 7,
} as const;
/** CALLBACKF_mask_events: events are masked on entry. */
export const CALLBACKF = { maskEvents: 1 } as const;

/** CALLBACKOP_register. IN type, flags, address. */
export const CallbackRegister = struct({ type: u16, flags: u16, address: u64 });
/** CALLBACKOP_unregister. IN type. */
export const CallbackUnregister = struct({ type: u16, unused: u16 });

/** nmi_op (xen/nmi.h). */
export const XENNMI = { registerCallback: 0, unregisterCallback: 1 } as const;
/** struct xennmi_callback. IN handlerAddress. */
export const XennmiCallback = struct({ handlerAddress: u64, pad: u64 });
