/**
 * A vCPU's whole state from a vcpu_guest_context: what VCPUOP_initialise brings, and what the domain builder gives vCPU 0.
 */
import { CpuUserRegs, VcpuGuestContext, VGCF } from "../abi/arch-x86-64.ts";
import { Errno } from "../abi/errno.ts";
import { PAGE_SHIFT } from "../abi/xen.ts";
import { type CpuState, Reg } from "../engine/cpu-state.ts";
import { accessOk } from "./mm/guest-memory.ts";
import { PAGE_SIZE } from "./mm/memory-map.ts";
import { VcpuTables } from "./mm/vcpu-tables.ts";
import { setDebugRegister } from "./traps/debug-registers.ts";
import { loadDataSegments, loadReturnSegments } from "./traps/segments.ts";
import { TRAP_VECTORS } from "./traps/trap-table.ts";
import type { Vcpu } from "./vcpu.ts";

/** General registers, by their names in cpu_user_regs and in `Reg`. */
export const GENERAL = [
  "rax",
  "rcx",
  "rdx",
  "rbx",
  "rsp",
  "rbp",
  "rsi",
  "rdi",
  "r8",
  "r9",
  "r10",
  "r11",
  "r12",
  "r13",
  "r14",
  "r15",
] as const;
const MAX_GDT_ENTRIES = 8192;
const IF = 0x200;
const IOPL = 0x3000;

interface Word {
  lo(view: DataView, base: number): number;
  hi(view: DataView, base: number): number;
}

/** A canonical address; NaN for another value. */
function address(field: Word, view: DataView): number {
  const hi = field.hi(view, 0) | 0;
  return (hi << 16) >> 16 === hi ? hi * 0x1_0000_0000 + field.lo(view, 0) : Number.NaN;
}

const pair = (field: Word, view: DataView): readonly [number, number] => [field.lo(view, 0) | 0, field.hi(view, 0) | 0];

/** The frame that a CR3 value names. */
const frameOf = (field: Word, view: DataView) =>
  field.hi(view, 0) * 2 ** (32 - PAGE_SHIFT) + (field.lo(view, 0) >>> PAGE_SHIFT);

/**
 * Gives a vCPU its state; it is initialised afterwards, and up if the context says so.
 * 0; -EINVAL: an address that is not canonical, page tables or descriptor tables that are not valid, user mode without page tables.
 */
export function setGuestContext(vcpu: Vcpu, view: DataView): number {
  const { cpu, domain } = vcpu;
  const context = VcpuGuestContext;
  const regs = context.userRegs;
  const addresses = [
    regs.rip,
    context.eventCallbackEip,
    context.failsafeCallbackEip,
    context.syscallCallbackEip,
    context.fsBase,
    context.gsBaseKernel,
    context.gsBaseUser,
    context.kernelSp,
  ];
  if (addresses.some((field) => Number.isNaN(address(field, view)))) return -Errno.EINVAL;
  const traps = Array.from({ length: TRAP_VECTORS }, (_, vector) => context.trapCtxt.at(vector));
  if (traps.some((trap) => Number.isNaN(address(trap.address, view)))) return -Errno.EINVAL;
  const flags = context.flags.lo(view, 0);
  const inKernel = (flags & VGCF.inKernel) !== 0;
  const userRoot = frameOf(context.ctrlreg.at(1), view);
  if (!inKernel && userRoot === 0) return -Errno.EINVAL;

  const rc = loadTables(vcpu, view, userRoot);
  domain.memory.types.settle();
  if (rc !== 0) return rc;

  cpu.kernelMode = 1;
  for (const name of GENERAL) cpu.set(Reg[name], regs[name].lo(view, 0) | 0, regs[name].hi(view, 0) | 0);
  cpu.set(Reg.rip, ...pair(regs.rip, view));
  const rflags = regs.rflags.lo(view, 0);
  vcpu.iopl = (rflags & IOPL) >> 12;
  cpu.rflags = (rflags & ~IOPL) | IF;
  if ((flags & VGCF.i387Valid) !== 0) cpu.setFxImage(context.fpuCtxt.get(view, 0));
  traps.forEach((trap, vector) => {
    vcpu.traps.set(vector, address(trap.address, view), trap.cs.get(view, 0) | 3, trap.flags.get(view, 0));
  });
  vcpu.kernelSs = (context.kernelSs.lo(view, 0) & 0xffff) | 3;
  vcpu.kernelSp = address(context.kernelSp, view);
  vcpu.eventCallback.address = address(context.eventCallbackEip, view);
  vcpu.failsafeCallback.address = address(context.failsafeCallbackEip, view);
  vcpu.failsafeCallback.maskEvents = (flags & VGCF.failsafeDisablesEvents) !== 0;
  vcpu.syscallCallback.address = address(context.syscallCallbackEip, view);
  vcpu.syscallCallback.maskEvents = (flags & VGCF.syscallDisablesEvents) !== 0;
  for (const n of [0, 1, 2, 3, 6, 7]) setDebugRegister(vcpu, n, ...pair(context.debugreg.at(n), view));
  loadBases(cpu, view);
  cpu.kernelMode = inKernel ? 1 : 0;
  vcpu.initialised = true;
  const selector = (name: "cs" | "ss" | "ds" | "es" | "fs" | "gs") =>
    CpuUserRegs[name].get(view, context.offsets.userRegs);
  loadReturnSegments(vcpu, selector("cs") | 3, selector("ss") | 3);
  loadDataSegments(vcpu, [selector("ds"), selector("es"), selector("fs"), selector("gs")]);
  if ((flags & VGCF.online) !== 0) vcpu.setUp(true);
  domain.memory.types.settle();
  return 0;
}

function loadTables(vcpu: Vcpu, view: DataView, userRoot: number): number {
  const { memory } = vcpu.domain;
  const { vcpuTables } = memory;
  const context = VcpuGuestContext;
  const entries = context.gdtEnts.number(view, 0);
  if (entries > MAX_GDT_ENTRIES) return -Errno.EINVAL;
  const frames = Array.from({ length: VcpuTables.gdtFrames(entries) }, (_, i) =>
    context.gdtFrames.at(i).number(view, 0),
  );
  if (vcpuTables.setGdt(vcpu.id, frames, entries) !== 0) return -Errno.EINVAL;
  const ldtEntries = context.ldtEnts.number(view, 0);
  const ldtBase = address(context.ldtBase, view);
  if (ldtEntries > MAX_GDT_ENTRIES || ldtBase % PAGE_SIZE !== 0 || !accessOk(ldtBase)) return -Errno.EINVAL;
  vcpuTables.setLdt(vcpu.id, ldtBase, ldtEntries);
  if (vcpuTables.setKernelRoot(vcpu.id, frameOf(context.ctrlreg.at(3), view)) !== 0) return -Errno.EINVAL;
  if (userRoot !== 0 && vcpuTables.setUserRoot(vcpu.id, userRoot) !== 0) return -Errno.EINVAL;
  return 0;
}

function loadBases(cpu: CpuState, view: DataView): void {
  const context = VcpuGuestContext;
  cpu.setFsBase(...pair(context.fsBase, view));
  cpu.gsBaseKernel = pair(context.gsBaseKernel, view);
  cpu.gsBaseUser = pair(context.gsBaseUser, view);
}
