/**
 * What a vCPU may read of its times without a hypercall: vcpu_time_info in vcpu_info (and in a registered area), the runstate in a
 * registered area, and the wall clock in shared_info.
 *
 * The TSC counts system time: 1 GHz, 0 at system time 0, on every vCPU. So one vcpu_time_info is right for the whole life of a
 * domain, with a scale that is exact: ((tsc << 1) * 2^31) >> 32 = tsc.
 */
import { RUNSTATE_UPDATE_HI, VcpuRunstateInfo } from "../../abi/vcpu.ts";
import { PVCLOCK, SharedInfo, VcpuInfo, VcpuTimeInfo, VMASST_TYPE } from "../../abi/xen.ts";
import type { Domain } from "../domain.ts";
import type { Vcpu } from "../vcpu.ts";
import type { Runstate } from "./runstate.ts";

/** Frequency of the virtual TSC. */
export const TSC_KHZ = 1_000_000;
const TSC_TO_SYSTEM_MUL = 0x8000_0000;
const TSC_SHIFT = 1;
const SECOND = 1_000_000_000;
/** Of vcpu_time_info's version, its first member. */
const VERSION_BYTES = 4;

const areaBytes = new Uint8Array(VcpuRunstateInfo.size);
const area = new DataView(areaBytes.buffer);

/**
 * Writes vcpu_time_info into vcpu_info, and into the area that the guest has registered: where `through` has it in its address space, for a
 * vCPU that is registered for may have none yet.
 */
export function publishTime(vcpu: Vcpu, through = vcpu): void {
  const { infoBytes } = vcpu;
  const view = new DataView(infoBytes.buffer, infoBytes.byteOffset, infoBytes.byteLength);
  const { time } = VcpuInfo;
  const version = (time.version.get(view, 0) + 1) | 1;
  time.version.set(view, 0, version);
  time.tscTimestamp.set(view, 0, 0, 0);
  time.systemTime.set(view, 0, 0, 0);
  time.tscToSystemMul.set(view, 0, TSC_TO_SYSTEM_MUL);
  time.tscShift.set(view, 0, TSC_SHIFT);
  time.flags.set(view, 0, PVCLOCK.tscStable);
  time.version.set(view, 0, version + 1);
  if (Number.isNaN(vcpu.timeArea)) return;
  const offset = VcpuInfo.offsets.time;
  inKernelMode(through, () => {
    const { memory } = through.domain;
    // The version is a single store: it goes in whole, or nothing of the rest does either.
    const versionEnds = vcpu.timeArea + VERSION_BYTES - 1;
    if (memory.offsetForWrite(through.id, versionEnds) < 0) return;
    memory.copyToGuest(through.id, vcpu.timeArea, infoBytes.subarray(offset, offset + VcpuTimeInfo.size));
  });
}

/** Writes the wall clock at system time 0 into shared_info. */
export function publishWallClock(domain: Domain): void {
  const { sharedInfo, shard } = domain;
  const view = new DataView(sharedInfo.buffer, sharedInfo.byteOffset, sharedInfo.byteLength);
  const boot = shard.host.wallClock() - shard.host.now() - domain.timeOffset;
  const seconds = Math.floor(boot / SECOND);
  const version = (SharedInfo.wcVersion.get(view, 0) + 1) | 1;
  SharedInfo.wcVersion.set(view, 0, version);
  SharedInfo.wcSec.set(view, 0, seconds % 0x1_0000_0000);
  SharedInfo.wcSecHi.set(view, 0, Math.floor(seconds / 0x1_0000_0000));
  SharedInfo.wcNsec.set(view, 0, Math.floor(boot - seconds * SECOND));
  SharedInfo.wcVersion.set(view, 0, version + 1);
}

/** Enters a runstate; the guest's registered area follows. */
export function enterRunstate(vcpu: Vcpu, state: Runstate, now: number): void {
  if (vcpu.runstate.enter(state, now) && !Number.isNaN(vcpu.runstateArea)) publishRunstate(vcpu, now);
}

/** Fills a vcpu_runstate_info. */
export function readRunstate(vcpu: Vcpu, now: number, view: DataView): void {
  const { runstate } = vcpu;
  VcpuRunstateInfo.state.set(view, 0, runstate.state);
  VcpuRunstateInfo.stateEntryTime.setNumber(view, 0, runstate.entered + vcpu.domain.timeOffset);
  for (let i = 0; i < 4; i++) VcpuRunstateInfo.time.at(i).setNumber(view, 0, runstate.time(i as Runstate, now));
}

/**
 * Writes the runstate where the guest has registered it. With the runstate_update_flag assist, stateEntryTime has its top bit set
 * while the rest changes. An area that cannot be written is left alone, as Xen does. `through`: as for `publishTime`.
 */
export function publishRunstate(vcpu: Vcpu, now: number, through = vcpu): void {
  readRunstate(vcpu, now, area);
  if (!vcpu.domain.assists(VMASST_TYPE.runstateUpdateFlag)) {
    copyToKernel(through, vcpu.runstateArea, areaBytes);
    return;
  }
  const entry = VcpuRunstateInfo.stateEntryTime;
  const hi = entry.hi(area, 0);
  const lo = entry.lo(area, 0);
  entry.set(area, 0, lo, (hi | RUNSTATE_UPDATE_HI) >>> 0);
  copyToKernel(through, vcpu.runstateArea, areaBytes);
  entry.set(area, 0, lo, hi);
  const offset = VcpuRunstateInfo.offsets.stateEntryTime;
  copyToKernel(through, vcpu.runstateArea + offset, areaBytes.subarray(offset, offset + 8));
}

function copyToKernel(vcpu: Vcpu, va: number, bytes: Uint8Array): void {
  inKernelMode(vcpu, () => vcpu.domain.memory.copyToGuest(vcpu.id, va, bytes));
}

/** Registered areas are the guest kernel's: written through its page tables, whatever mode the vCPU is in. */
function inKernelMode({ cpu }: Vcpu, write: () => void): void {
  const mode = cpu.kernelMode;
  cpu.kernelMode = 1;
  write();
  cpu.kernelMode = mode;
}
