/**
 * Hypercalls on the processor state that a PV kernel cannot reach itself: segment bases, CR0.TS, debug registers, the singleshot
 * timer, vm_assist.
 */
import { SEGBASE } from "../../abi/arch-x86-64.ts";
import { Errno } from "../../abi/errno.ts";
import { VMASST_CMD, VMASST_TYPE } from "../../abi/xen.ts";
import { debugRegister, setDebugRegister } from "../traps/debug-registers.ts";
import { loadUserGs } from "../traps/segments.ts";
import type { HypercallRow } from "./table.ts";

/** set_segment_base(which, base). -EINVAL: no such base, or an address that is not canonical. */
export const setSegmentBase: HypercallRow = {
  name: "set_segment_base",
  subops: {
    arg: 0,
    mask: 0xffff_ffff,
    names: new Map<number, string>([
      [SEGBASE.fs, "fs"],
      [SEGBASE.gsUser, "gs_user"],
      [SEGBASE.gsKernel, "gs_kernel"],
      [SEGBASE.gsUserSel, "gs_user_sel"],
    ]),
  },
  run({ vcpu }, args) {
    const which = args.u32(0);
    const { cpu } = vcpu;
    if (which === SEGBASE.gsUserSel) {
      loadUserGs(vcpu, args.u32(1) & 0xffff);
      return 0;
    }
    if (Number.isNaN(args.va(1))) return -Errno.EINVAL;
    switch (which) {
      case SEGBASE.fs:
        cpu.setFsBase(args.lo(1), args.hi(1));
        return 0;
      case SEGBASE.gsUser:
        cpu.gsBaseUser = [args.lo(1), args.hi(1)];
        return 0;
      case SEGBASE.gsKernel:
        cpu.gsBaseKernel = [args.lo(1), args.hi(1)];
        return 0;
      default:
        return -Errno.EINVAL;
    }
  },
};

/** fpu_taskswitch(set) */
export const fpuTaskswitch: HypercallRow = {
  name: "fpu_taskswitch",
  run({ vcpu }, args) {
    vcpu.cpu.tsFlag = args.u32(0) !== 0;
    return 0;
  },
};

/** set_debugreg(reg, value) */
export const setDebugreg: HypercallRow = {
  name: "set_debugreg",
  run: ({ vcpu }, args) => setDebugRegister(vcpu, args.u32(0), args.lo(1), args.hi(1)),
};

/** get_debugreg(reg): the value, or -ENODEV. */
export const getDebugreg: HypercallRow = {
  name: "get_debugreg",
  run({ vcpu }, args) {
    const value = debugRegister(vcpu, args.u32(0));
    return value === undefined ? -Errno.ENODEV : value[1] * 0x1_0000_0000 + (value[0] >>> 0);
  },
};

/** How late a timer fires that was set absurdly far away: a guest that wrapped has work to do, one that idles must not spin. */
const WRAPPED_TIMEOUT = 100_000_000;
const FAR_AWAY = 2 ** 50;

/** set_timer_op(timeout): absolute system time in ns; 0 stops the timer. */
export const setTimerOp: HypercallRow = {
  name: "set_timer_op",
  run({ domain, vcpu }, args) {
    const timeout = args.hi(0) * 0x1_0000_0000 + (args.lo(0) >>> 0);
    if (timeout === 0) {
      vcpu.timers.stopSingleshot();
      return 0;
    }
    const now = domain.now();
    const wrapped = timeout < 0 || timeout - now >= FAR_AWAY;
    vcpu.timers.setSingleshot(wrapped ? now + WRAPPED_TIMEOUT : timeout);
    return 0;
  },
};

const ASSISTS: ReadonlySet<number> = new Set(Object.values(VMASST_TYPE));

/** vm_assist(cmd, type). -EINVAL: no such assist. -ENOSYS: no such command. */
export const vmAssist: HypercallRow = {
  name: "vm_assist",
  subops: {
    arg: 0,
    mask: 0xffff_ffff,
    names: new Map([
      [0, "enable"],
      [1, "disable"],
    ]),
  },
  run({ domain }, args) {
    const type = args.u32(1);
    if (!ASSISTS.has(type)) return -Errno.EINVAL;
    switch (args.u32(0)) {
      case VMASST_CMD.enable:
        domain.setAssist(type, true);
        return 0;
      case VMASST_CMD.disable:
        domain.setAssist(type, false);
        return 0;
      default:
        return -Errno.ENOSYS;
    }
  },
};
