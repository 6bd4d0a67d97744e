/**
 * Debug registers: kept and given back, with the checks that Xen makes (arch-x86's set_debugreg). The engine looks for what they ask
 * (breakpoints.ts).
 */
import { HYPERVISOR_VIRT_END, HYPERVISOR_VIRT_START } from "../../abi/arch-x86-64.ts";
import { Errno } from "../../abi/errno.ts";
import { portHits } from "../../engine/breakpoints.ts";
import { Vector } from "../../engine/exits.ts";
import type { Vcpu } from "../vcpu.ts";
import { injectException } from "./inject.ts";
import type { Emulated } from "./privileged.ts";

const DR6_ONES = 0xffff_0ff0 | 0;
const DR6_ZERO = 1 << 12;
const DR7_ONES = 1 << 10;
const DR7_ZEROS = (1 << 11) | (1 << 12) | (1 << 14) | (1 << 15);
const DR7_GENERAL_DETECT = 1 << 13;
const DR7_ENABLES = 0xff;
const CR4_DE = 1 << 3;

const TRAP_FLAG = 0x100;
/** BS of DR6. */
const SINGLE_STEP = 1 << 14;

/**
 * An instruction was emulated, and rip is behind it (behind an iteration of it): #DB when it is single-stepped, or when `hits` says which
 * breakpoints it met (bits of DR6).
 */
export function emulationEnds(vcpu: Vcpu, hits = 0): void {
  const { cpu } = vcpu;
  const bits = (cpu.rflags & TRAP_FLAG) !== 0 ? hits | SINGLE_STEP : hits;
  if (bits === 0) return;
  const [lo, hi] = cpu.debugRegister(6);
  cpu.setDebugRegister(6, lo | bits, hi);
  injectException(vcpu, Vector.debug);
}

/** The breakpoints that an access to ports meets, as bits of DR6: with CR4.DE only. */
export function portBreakpoints(vcpu: Vcpu, port: number, bytes: number): number {
  return (vcpu.cr4 & CR4_DE) === 0 ? 0 : portHits(vcpu.cpu, port, bytes);
}

/** The value, as halves; undefined for a register that does not exist. DR4 and DR5 are DR6 and DR7 unless CR4.DE is set. */
export function debugRegister(vcpu: Vcpu, n: number): readonly [number, number] | undefined {
  const real = alias(vcpu, n);
  return real === undefined ? undefined : vcpu.cpu.debugRegister(real);
}

/** 0; -EPERM: an address of the hypervisor's, or what must not be set; -EINVAL: not a value of the register; -ENODEV: no such register. */
export function setDebugRegister(vcpu: Vcpu, n: number, lo: number, hi: number): number {
  const real = alias(vcpu, n);
  if (real === undefined) return -Errno.ENODEV;
  if (real < 4) {
    const va = hi * 0x1_0000_0000 + (lo >>> 0);
    if ((hi << 16) >> 16 !== hi) return -Errno.EPERM;
    if (va >= HYPERVISOR_VIRT_START && va < HYPERVISOR_VIRT_END) return -Errno.EPERM;
    vcpu.cpu.setDebugRegister(real, lo, hi);
    return 0;
  }
  if (hi !== 0) return -Errno.EINVAL;
  if (real === 6) {
    vcpu.cpu.setDebugRegister(6, (lo | DR6_ONES) & ~DR6_ZERO, 0);
    return 0;
  }
  if ((lo & DR7_GENERAL_DETECT) !== 0) return -Errno.EPERM;
  const value = (lo | DR7_ONES) & ~DR7_ZEROS;
  // An enabled I/O breakpoint needs CR4.DE; a general enable of nothing costs nothing.
  for (let i = 0; (value & DR7_ENABLES) !== 0 && i < 4; i++) {
    const enabled = ((value >> (i * 2)) & 3) !== 0;
    const kind = (value >> (16 + i * 4)) & 3;
    if (enabled && kind === 2 && (vcpu.cr4 & CR4_DE) === 0) return -Errno.EPERM;
  }
  vcpu.cpu.setDebugRegister(7, value, 0);
  return 0;
}

/** mov reg, drN. A register that does not exist is #UD. */
export function readDebugRegister(vcpu: Vcpu, n: number, reg: number): Emulated {
  const value = debugRegister(vcpu, n);
  if (value === undefined) return invalidOpcode(vcpu);
  vcpu.cpu.set(reg, value[0], value[1]);
  return "done";
}

/** mov drN, reg. As above; a value that is refused is #GP. */
export function writeDebugRegister(vcpu: Vcpu, n: number, reg: number): Emulated {
  const rc = setDebugRegister(vcpu, n, vcpu.cpu.lo(reg), vcpu.cpu.hi(reg));
  if (rc === -Errno.ENODEV) return invalidOpcode(vcpu);
  return rc === 0 ? "done" : "refused";
}

function invalidOpcode(vcpu: Vcpu): Emulated {
  injectException(vcpu, Vector.invalidOpcode);
  return "elsewhere";
}

function alias(vcpu: Vcpu, n: number): number | undefined {
  if (n < 4 || n === 6 || n === 7) return n;
  return (n === 4 || n === 5) && (vcpu.cr4 & CR4_DE) === 0 ? n + 2 : undefined;
}
