/** Takes a suspended domain's state as plain data. The domain stays as it is: it may be saved again, resumed, or destroyed. */
import { CpuUserRegs, VcpuGuestContext, VGCF } from "../../abi/arch-x86-64.ts";
import { Errno } from "../../abi/errno.ts";
import { SHUTDOWN } from "../../abi/sched.ts";
import { SharedInfo, VMASST_TYPE } from "../../abi/xen.ts";
import { Reg, SegmentRegister } from "../../engine/cpu-state.ts";
import type { Domain } from "../domain.ts";
import { PINNED } from "../mm/frame-table.ts";
import { TRAP_VECTORS } from "../traps/trap-table.ts";
import type { Callback, Vcpu } from "../vcpu.ts";
import { GENERAL } from "../vcpu-context.ts";
import { FRAME_OWNED, FRAME_PIN_SHIFT, type SavedCallback, type SavedDomain, type SavedVcpu } from "./saved-domain.ts";

const PAGE_SIZE = 4096;

/** -EINVAL: the domain is not suspended. -EBUSY: the guest maps a frame that the hypervisor shares with it, or one of another domain. -EAGAIN: a vCPU waits for another shard's answer, which is on its way. */
export function saveDomain(domain: Domain): SavedDomain | number {
  const { memory, vcpus } = domain;
  if (domain.shutdownReason !== SHUTDOWN.suspend || domain.dying) return -Errno.EINVAL;
  if (vcpus.some((vcpu) => vcpu.parked !== null)) return -Errno.EAGAIN;
  const suspended = vcpus.find((vcpu) => vcpu.suspends);
  if (suspended === undefined) return -Errno.EINVAL;
  const { frames, map } = memory;
  // A new domain's frames of the hypervisor are others: a guest that still maps one could not come back.
  for (let index = map.ownFrames; index < frames.total; index++) {
    if (frames.owned(index) && frames.refs(index) > 1) return -Errno.EBUSY;
  }
  if (memory.foreign.count > 0) return -Errno.EBUSY;
  const kinds = new Uint8Array(map.ownFrames);
  const m2p = new Uint32Array(map.ownFrames * 2);
  for (let index = 0; index < map.ownFrames; index++) {
    memory.m2p.copyRaw(index, m2p);
    if (!frames.owned(index)) continue;
    const pinned = (frames.typeInfo[index]! & PINNED) === 0 ? 0 : frames.type(index);
    kinds[index] = FRAME_OWNED | (pinned << FRAME_PIN_SHIFT);
  }
  const { arch } = SharedInfo;
  const shared = domain.sharedInfo;
  return {
    pages: map.pages,
    mapMaxPages: map.maxPages,
    maxPages: memory.maxPages,
    e820: memory.e820,
    assists: Object.values(VMASST_TYPE).filter((type) => domain.assists(type)),
    systemTime: domain.now(),
    // The shutdown call's third argument (xen/sched.h).
    startInfoMfn: suspended.cpu.number(Reg.rdx),
    sharedArch: new Uint8Array(shared.buffer, shared.byteOffset + arch.offsets.maxPfn, arch.size).slice(),
    vcpus: vcpus.map(saveVcpu),
    frames: kinds,
    m2p,
  };
}

function saveVcpu(vcpu: Vcpu): SavedVcpu {
  const { cpu } = vcpu;
  return {
    context: guestContext(vcpu),
    info: vcpu.infoBytes.slice(),
    // A guest that comes back initialises those that are down anew, as on Xen, which does not save them.
    initialised: vcpu.initialised && vcpu.up,
    eventMask: vcpu.eventCallback.maskEvents,
    syscall32: callback(vcpu.syscall32Callback),
    sysenter: callback(vcpu.sysenterCallback),
    nmiCallback: vcpu.nmiCallback,
    nmiPending: vcpu.nmiPending,
    nmiMasked: vcpu.nmiMasked,
    cr2: cpu.cr2,
    cr4: vcpu.cr4,
    taskSwitched: cpu.tsFlag,
    ioBitmap: Number.isNaN(vcpu.ioBitmap) ? null : vcpu.ioBitmap,
    ioBitmapPorts: vcpu.ioBitmapPorts,
  };
}

const callback = ({ address, maskEvents }: Callback): SavedCallback => ({ address, maskEvents });

/** The vCPU's vcpu_guest_context: what `setGuestContext` takes. */
function guestContext(vcpu: Vcpu): Uint8Array {
  const { cpu } = vcpu;
  const bytes = new Uint8Array(VcpuGuestContext.size);
  const view = new DataView(bytes.buffer);
  const context = VcpuGuestContext;
  const fx = new Uint8Array(context.fpuCtxt.length);
  cpu.getFxImage(fx);
  context.fpuCtxt.set(view, 0, fx);
  context.flags.setNumber(
    view,
    0,
    VGCF.i387Valid |
      (cpu.kernelMode === 1 ? VGCF.inKernel : 0) |
      (vcpu.failsafeCallback.maskEvents ? VGCF.failsafeDisablesEvents : 0) |
      (vcpu.syscallCallback.maskEvents ? VGCF.syscallDisablesEvents : 0) |
      (vcpu.up ? VGCF.online : 0),
  );
  const regs = context.userRegs;
  for (const name of GENERAL) regs[name].set(view, 0, cpu.lo(Reg[name]), cpu.hi(Reg[name]));
  regs.rip.set(view, 0, cpu.lo(Reg.rip), cpu.hi(Reg.rip));
  regs.rflags.set(view, 0, cpu.rflags | (vcpu.iopl << 12), 0);
  for (const name of ["cs", "ss", "ds", "es", "fs", "gs"] as const) {
    CpuUserRegs[name].set(view, context.offsets.userRegs, cpu.selector(SegmentRegister[name]));
  }
  for (let vector = 0; vector < TRAP_VECTORS; vector++) {
    const trap = context.trapCtxt.at(vector);
    trap.vector.set(view, 0, vector);
    trap.flags.set(view, 0, vcpu.traps.flags(vector));
    trap.cs.set(view, 0, vcpu.traps.cs(vector));
    trap.address.setNumber(view, 0, vcpu.traps.address(vector));
  }
  context.ldtBase.setNumber(view, 0, cpu.ldtBase);
  context.ldtEnts.setNumber(view, 0, cpu.ldtEntries);
  for (const [i, mfn] of cpu.gdtMfns.entries()) context.gdtFrames.at(i).setNumber(view, 0, mfn);
  context.gdtEnts.setNumber(view, 0, cpu.gdtEntries);
  context.kernelSs.setNumber(view, 0, vcpu.kernelSs);
  context.kernelSp.setNumber(view, 0, vcpu.kernelSp);
  context.ctrlreg.at(1).setNumber(view, 0, cpu.cr3User * PAGE_SIZE);
  context.ctrlreg.at(3).setNumber(view, 0, cpu.cr3Kernel * PAGE_SIZE);
  for (const n of [0, 1, 2, 3, 6, 7]) context.debugreg.at(n).set(view, 0, ...cpu.debugRegister(n));
  context.eventCallbackEip.setNumber(view, 0, vcpu.eventCallback.address);
  context.failsafeCallbackEip.setNumber(view, 0, vcpu.failsafeCallback.address);
  context.syscallCallbackEip.setNumber(view, 0, vcpu.syscallCallback.address);
  context.fsBase.set(view, 0, cpu.lo(Reg.fsBase), cpu.hi(Reg.fsBase));
  context.gsBaseKernel.set(view, 0, ...cpu.gsBaseKernel);
  context.gsBaseUser.set(view, 0, ...cpu.gsBaseUser);
  return bytes;
}
