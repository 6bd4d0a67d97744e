/**
 * Hypercalls by which a PV kernel says where it wants to be entered: set_trap_table, set_callbacks, callback_op, nmi_op,
 * stack_switch (xen/callback.h, xen/nmi.h, arch-x86/xen.h).
 */
import { TrapInfo } from "../../abi/arch-x86-64.ts";
import {
  CALLBACKF,
  CALLBACKOP,
  CALLBACKTYPE,
  CallbackRegister,
  CallbackUnregister,
  XENNMI,
  XennmiCallback,
} from "../../abi/callback.ts";
import { Errno } from "../../abi/errno.ts";
import type { Callback, Vcpu } from "../vcpu.ts";
import { type HypercallRow, plainSubop, type Subop, subop, subopRow } from "./table.ts";

/** The end of a trap table is an entry with address 0; a table that never ends would be read for ever. */
const MAX_TRAP_ENTRIES = 4096;
const entryBytes = new Uint8Array(TrapInfo.size);
const entry = new DataView(entryBytes.buffer);

/** A 64-bit address from its halves: NaN when it is not canonical. */
function canonical(lo: number, hi: number): number {
  const high = hi | 0;
  return (high << 16) >> 16 === high ? high * 0x1_0000_0000 + (lo >>> 0) : Number.NaN;
}

/** set_trap_table(traps): NULL clears the table. */
export const setTrapTable: HypercallRow = {
  name: "set_trap_table",
  run({ domain, vcpu }, args) {
    const va = args.va(0);
    if (va === 0) {
      vcpu.traps.clear();
      return 0;
    }
    for (let i = 0; i < MAX_TRAP_ENTRIES; i++) {
      if (!domain.memory.copyFromGuest(vcpu.id, va + i * TrapInfo.size, entryBytes)) return -Errno.EFAULT;
      const address = canonical(TrapInfo.address.lo(entry, 0), TrapInfo.address.hi(entry, 0));
      if (address === 0) return 0;
      if (Number.isNaN(address)) return -Errno.EINVAL;
      vcpu.traps.set(
        TrapInfo.vector.get(entry, 0),
        address,
        TrapInfo.cs.get(entry, 0) | 3,
        TrapInfo.flags.get(entry, 0),
      );
    }
    return -Errno.EINVAL;
  },
};

/** Registers one callback. -EINVAL: not a canonical address. -ENOSYS: no such callback. */
function register(vcpu: Vcpu, type: number, address: number, maskEvents: boolean): number {
  if (Number.isNaN(address)) return -Errno.EINVAL;
  const set = (callback: Callback, masks: boolean): number => {
    callback.address = address;
    callback.maskEvents = masks;
    return 0;
  };
  switch (type) {
    case CALLBACKTYPE.event:
      return set(vcpu.eventCallback, true);
    case CALLBACKTYPE.failsafe:
      return set(vcpu.failsafeCallback, maskEvents);
    case CALLBACKTYPE.syscall:
      return set(vcpu.syscallCallback, maskEvents);
    case CALLBACKTYPE.syscall32:
      return set(vcpu.syscall32Callback, maskEvents);
    case CALLBACKTYPE.sysenter:
      return set(vcpu.sysenterCallback, maskEvents);
    case CALLBACKTYPE.nmi:
      return registerNmi(vcpu, address);
    default:
      return -Errno.ENOSYS;
  }
}

function registerNmi(vcpu: Vcpu, address: number): number {
  if (Number.isNaN(address)) return -Errno.EINVAL;
  vcpu.nmiCallback = address;
  return 0;
}

function unregister(vcpu: Vcpu, type: number): number {
  switch (type) {
    case CALLBACKTYPE.event:
    case CALLBACKTYPE.failsafe:
    case CALLBACKTYPE.syscall:
    case CALLBACKTYPE.syscall32:
    case CALLBACKTYPE.sysenter:
      return -Errno.EINVAL;
    case CALLBACKTYPE.nmi:
      vcpu.nmiCallback = 0;
      return 0;
    default:
      return -Errno.ENOSYS;
  }
}

/** set_callbacks(event, failsafe, syscall). Addresses that are not canonical are left out. */
export const setCallbacks: HypercallRow = {
  name: "set_callbacks",
  run({ vcpu }, args) {
    register(vcpu, CALLBACKTYPE.event, args.va(0), false);
    register(vcpu, CALLBACKTYPE.failsafe, args.va(1), false);
    register(vcpu, CALLBACKTYPE.syscall, args.va(2), false);
    return 0;
  },
};

export const callbackOp: HypercallRow = subopRow(
  "callback_op",
  new Map<number, Subop>([
    [
      CALLBACKOP.register,
      subop("register", CallbackRegister, ({ vcpu }, arg) =>
        register(
          vcpu,
          CallbackRegister.type.get(arg, 0),
          canonical(CallbackRegister.address.lo(arg, 0), CallbackRegister.address.hi(arg, 0)),
          (CallbackRegister.flags.get(arg, 0) & CALLBACKF.maskEvents) !== 0,
        ),
      ),
    ],
    [
      CALLBACKOP.unregister,
      subop("unregister", CallbackUnregister, ({ vcpu }, arg) => unregister(vcpu, CallbackUnregister.type.get(arg, 0))),
    ],
  ]),
);

export const nmiOp: HypercallRow = subopRow(
  "nmi_op",
  new Map<number, Subop>([
    [
      XENNMI.registerCallback,
      subop("register_callback", XennmiCallback, ({ vcpu }, arg) =>
        registerNmi(
          vcpu,
          canonical(XennmiCallback.handlerAddress.lo(arg, 0), XennmiCallback.handlerAddress.hi(arg, 0)),
        ),
      ),
    ],
    [XENNMI.unregisterCallback, plainSubop("unregister_callback", ({ vcpu }) => unregister(vcpu, CALLBACKTYPE.nmi))],
  ]),
);

/** stack_switch(ss, rsp): the stack for entries from user mode. */
export const stackSwitch: HypercallRow = {
  name: "stack_switch",
  run({ vcpu }, args) {
    vcpu.kernelSs = (args.u32(0) & 0xffff) | 3;
    vcpu.kernelSp = args.va(1);
    return 0;
  },
};
