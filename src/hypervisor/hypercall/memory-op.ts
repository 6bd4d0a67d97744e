/** HYPERVISOR_memory_op: the reservation, and what a domain may know of the machine's memory. */
import { MACH2PHYS_VIRT_END, MACH2PHYS_VIRT_START } from "../../abi/arch-x86-64.ts";
import { Errno } from "../../abi/errno.ts";
import {
  AcquireResource,
  AddToPhysmap,
  AddToPhysmapBatch,
  E820Entry,
  ForeignMemoryMap,
  MachphysMapping,
  MachphysMfnList,
  MEMOP_CMD_MASK,
  MEMOP_EXTENT_SHIFT,
  MemAccessOp,
  MemoryDomain,
  MemoryMapArg,
  MemoryReservation,
  PodTarget,
  RemoveFromPhysmap,
  VnumaTopologyInfo,
  XENMAPSPACE,
  XENMEM,
  XENMEMF,
} from "../../abi/memory.ts";
import { struct, u8, u16, u32, u64 } from "../../abi/struct.ts";
import { SharedInfo } from "../../abi/xen.ts";
import type { DomainMemory, E820Range } from "../mm/domain-memory.ts";
import { accessOk } from "../mm/guest-memory.ts";
import { PAGE_SIZE } from "../mm/memory-map.ts";
import { giveFrame, MAX_EXTENT_ORDER, takeFrames } from "../mm/reservation.ts";
import type { HypercallArgs } from "./arguments.ts";
import { memoryExchange } from "./memory-exchange.ts";
import { memoryOpDomain } from "./page-owner.ts";
import { Continuation, type HypercallResult } from "./result.ts";
import {
  type HypercallContext,
  type HypercallHandler,
  type HypercallRow,
  plainSubop,
  subop,
  subopOut,
  subopRow,
} from "./table.ts";

/** Frames handled in one go before the call continues later. */
const FRAMES_PER_GO = 4096;
/** E820_MAX: entries of a memory map at most. */
const E820_MAX = 1024;
const MFN_LIST_STEP = 512 * 512;

const argument = new Uint8Array(MemoryReservation.size);
const argumentView = new DataView(argument.buffer);

const startExtent = (args: HypercallArgs): number => Math.floor(args.number(0) / (1 << MEMOP_EXTENT_SHIFT));

/** What is done for one extent: `va` is its slot of the list (or NaN without a list). False to stop there. */
type ExtentStep = (memory: DomainMemory, vcpu: number, va: number, order: number) => boolean;

const increase: ExtentStep = (memory, vcpu, va, order) => {
  const mfn = takeFrames(memory, order);
  return mfn >= 0 && (Number.isNaN(va) || memory.writeU64(vcpu, va, mfn));
};

const decrease: ExtentStep = (memory, vcpu, va, order) => {
  const mfn = memory.readU64(vcpu, va);
  if (mfn < 0) return false;
  for (let i = 0; i < 1 << order; i++) if (!giveFrame(memory, mfn + i)) return false;
  return true;
};

const populate: ExtentStep = (memory, vcpu, va, order) => {
  // No domain may ask this of itself.
  if ((MemoryReservation.memFlags.get(argumentView, 0) & XENMEMF.populateOnDemand) !== 0) return false;
  const pfn = memory.readU64(vcpu, va);
  if (pfn < 0) return false;
  const mfn = takeFrames(memory, order);
  if (mfn < 0) return false;
  for (let i = 0; i < 1 << order; i++) memory.m2p.set(mfn - memory.map.baseMfn + i, pfn + i);
  return memory.writeU64(vcpu, va, mfn);
};

/** Flags that no reservation may have: fewer address bits than a page takes, and a node that is insisted on. */
function flagsRefused(flags: number): boolean {
  const bits = flags & XENMEMF.addressBitsMask;
  const node = (flags >>> XENMEMF.nodeShift) & XENMEMF.nodeMask;
  const insists = (flags & (XENMEMF.exactNodeRequest | XENMEMF.vnode)) === XENMEMF.exactNodeRequest;
  return (bits !== 0 && 2 ** bits <= PAGE_SIZE) || (node !== 0 && insists);
}

/** XENMEMF_address_bits: frames below 2^bits are asked for; 0 for any. All of a domain's are in reach, or none. */
function inReach({ map }: DomainMemory, flags: number): boolean {
  const bits = flags & XENMEMF.addressBitsMask;
  return bits === 0 || (map.baseMfn + map.totalFrames) * PAGE_SIZE <= 2 ** bits;
}

/**
 * increase_reservation, decrease_reservation, populate_physmap: how many extents were done, counted from the list's start. Every
 * failure is only a smaller number. `listOptional` is given for those that take frames, and says whether the list may be left out.
 */
function adjustReservation(step: ExtentStep, listOptional?: boolean): HypercallHandler {
  return (context, args) => {
    const { memory } = context.domain;
    const vcpu = context.vcpu.id;
    const start = startExtent(args);
    memory.refusals.vcpu = vcpu;
    if (!memory.copyFromGuest(vcpu, args.va(1), argument)) return start;
    const extents = MemoryReservation.nrExtents.number(argumentView, 0);
    const order = MemoryReservation.extentOrder.get(argumentView, 0);
    const list = MemoryReservation.extentStart.signed(argumentView, 0);
    if (extents > 0xffff_ffff >>> MEMOP_EXTENT_SHIFT || start >= extents || order > MAX_EXTENT_ORDER) return start;
    if (memoryOpDomain(context, MemoryReservation.domid.get(argumentView, 0)) !== 0) return start;
    const flags = MemoryReservation.memFlags.get(argumentView, 0);
    if (flagsRefused(flags) || (listOptional !== undefined && !inReach(memory, flags))) return start;
    const noList = listOptional === true && list === 0;
    if (!noList && !accessOk(list)) return start;
    for (let i = start; i < extents; i++) {
      if (i > start && (i - start) * 2 ** order >= FRAMES_PER_GO) {
        return new Continuation([(args.u32(0) & MEMOP_CMD_MASK) + i * (1 << MEMOP_EXTENT_SHIFT)]);
      }
      if (!step(memory, vcpu, noList ? Number.NaN : list + i * 8, order)) return i;
    }
    return extents;
  };
}

/** A sub-operation about one domain's figures. */
const figure =
  (of: (context: HypercallContext) => number) =>
  (context: HypercallContext, arg: DataView, args: HypercallArgs): HypercallResult => {
    if (startExtent(args) !== 0) return -Errno.EINVAL;
    const owner = memoryOpDomain(context, MemoryDomain.domid.get(arg, 0));
    return owner === 0 ? of(context) : owner;
  };

/** The largest pfn, from what the guest wrote to shared_info. */
function maximumGpfn({ domain }: HypercallContext): number {
  const word = SharedInfo.arch.maxPfn.offset / 4;
  const frames = (domain.sharedInfo[word + 1]! >>> 0) * 0x1_0000_0000 + (domain.sharedInfo[word]! >>> 0);
  return frames === 0 ? 0 : frames - 1;
}

/** One frame for each 2 MiB of the machine-to-physical table: that of its first page. */
function machphysMfnList({ domain, vcpu }: HypercallContext, arg: DataView): number {
  const { memory } = domain;
  const list = MachphysMfnList.extentStart.signed(arg, 0);
  const most = MachphysMfnList.maxExtents.get(arg, 0);
  const end = memory.map.baseMfn + memory.map.totalFrames;
  let extents = 0;
  for (; extents < most && extents * MFN_LIST_STEP < end; extents++) {
    const own = extents * MFN_LIST_STEP - memory.map.baseMfn;
    const mfn = memory.map.m2pMfn + Math.max(0, own / 512);
    if (!memory.writeU64(vcpu.id, list + extents * 8, mfn)) return -Errno.EFAULT;
  }
  MachphysMfnList.nrExtents.set(arg, 0, extents);
  return 0;
}

const TWO_32 = 0x1_0000_0000;
const entry = new Uint8Array(E820Entry.size);
const entryView = new DataView(entry.buffer);

function writeMemoryMap({ domain, vcpu }: HypercallContext, arg: DataView): number {
  const { memory } = domain;
  if (memory.e820.length === 0) return -Errno.ENOSYS;
  const count = Math.min(MemoryMapArg.nrEntries.get(arg, 0), memory.e820.length);
  const buffer = MemoryMapArg.buffer.signed(arg, 0);
  for (let i = 0; i < count; i++) {
    const { start, size, type } = memory.e820[i]!;
    E820Entry.addrLo.set(entryView, 0, start % TWO_32);
    E820Entry.addrHi.set(entryView, 0, Math.floor(start / TWO_32));
    E820Entry.sizeLo.set(entryView, 0, size % TWO_32);
    E820Entry.sizeHi.set(entryView, 0, Math.floor(size / TWO_32));
    E820Entry.type.set(entryView, 0, type);
    if (!memory.copyToGuest(vcpu.id, buffer + i * E820Entry.size, entry)) return -Errno.EFAULT;
  }
  MemoryMapArg.nrEntries.set(arg, 0, count);
  return 0;
}

function setMemoryMap(context: HypercallContext, arg: DataView): number {
  const { memory } = context.domain;
  const count = ForeignMemoryMap.map.nrEntries.get(arg, 0);
  if (count > E820_MAX) return -Errno.EINVAL;
  const owner = memoryOpDomain(context, ForeignMemoryMap.domid.get(arg, 0));
  if (owner !== 0) return owner;
  const buffer = ForeignMemoryMap.map.buffer.signed(arg, 0);
  const ranges: E820Range[] = [];
  for (let i = 0; i < count; i++) {
    if (!memory.copyFromGuest(context.vcpu.id, buffer + i * E820Entry.size, entry)) return -Errno.EFAULT;
    ranges.push({
      start: E820Entry.addrHi.get(entryView, 0) * TWO_32 + E820Entry.addrLo.get(entryView, 0),
      size: E820Entry.sizeHi.get(entryView, 0) * TWO_32 + E820Entry.sizeLo.get(entryView, 0),
      type: E820Entry.type.get(entryView, 0),
    });
  }
  memory.e820 = ranges;
  return 0;
}

/** The physical map of a PV domain is its own business: there is nothing the hypervisor could add to it. */
const noPhysmap = (struct: DomidStruct) => refusedFor(struct, Errno.EACCES);

interface DomidStruct {
  readonly domid: { get(view: DataView, base: number): number };
}

/** Refused whoever it is about, as long as there is such a domain. */
const refusedFor =
  ({ domid }: DomidStruct, errno: number) =>
  (context: HypercallContext, arg: DataView): number =>
    memoryOpDomain(context, domid.get(arg, 0)) === -Errno.ESRCH ? -Errno.ESRCH : -errno;

/** struct xen_reserved_device_memory_map. IN flags, buffer, which device. OUT nrEntries. */
const ReservedDevices = struct({ flags: u32, nrEntries: u32, buffer: u64, seg: u16, bus: u8, devfn: u8 });

/** A domain other than the caller: 0, -ESRCH (SELF is nobody's number), or -EPERM for the caller's own. */
function remoteDomain({ shard, domain }: HypercallContext, domid: number): number {
  if (domid === domain.id) return -Errno.EPERM;
  return shard.exists(domid) ? 0 : -Errno.ESRCH;
}

/** -EINVAL: a claim names no frames and one existing domain. -EPERM: only the toolstack may claim. */
function claimPages({ shard }: HypercallContext, arg: DataView): number {
  const { extentStart, extentOrder, memFlags, domid } = MemoryReservation;
  if (extentStart.lo(arg, 0) !== 0 || extentStart.hi(arg, 0) !== 0) return -Errno.EINVAL;
  if (extentOrder.get(arg, 0) !== 0 || memFlags.get(arg, 0) !== 0) return -Errno.EINVAL;
  return shard.exists(domid.get(arg, 0)) ? -Errno.EPERM : -Errno.EINVAL;
}

/** -EINVAL: padding, or frames that 32 bits do not count. -ESRCH, -EPERM. */
function acquireResource(context: HypercallContext, arg: DataView): number {
  const { pad, frame, nrFrames, domid } = AcquireResource;
  if (pad.get(arg, 0) !== 0 || frame.number(arg, 0) + nrFrames.get(arg, 0) >= TWO_32) return -Errno.EINVAL;
  const remote = remoteDomain(context, domid.get(arg, 0));
  return remote === 0 ? -Errno.EPERM : remote;
}

const refused = (name: string, errno: number) => plainSubop(name, () => -errno);

const rows = new Map([
  [XENMEM.increaseReservation, plainSubop("increase_reservation", adjustReservation(increase, true))],
  [XENMEM.decreaseReservation, plainSubop("decrease_reservation", adjustReservation(decrease))],
  [XENMEM.populatePhysmap, plainSubop("populate_physmap", adjustReservation(populate, false))],
  [XENMEM.exchange, plainSubop("exchange", memoryExchange)],
  [
    XENMEM.maximumRamPage,
    plainSubop("maximum_ram_page", ({ domain }, args) => {
      const { baseMfn, totalFrames } = domain.memory.map;
      return startExtent(args) === 0 ? baseMfn + totalFrames - 1 : -Errno.EINVAL;
    }),
  ],
  [
    XENMEM.currentReservation,
    subop(
      "current_reservation",
      MemoryDomain,
      figure(({ domain }) => domain.memory.frames.ownPages),
    ),
  ],
  [
    XENMEM.maximumReservation,
    subop(
      "maximum_reservation",
      MemoryDomain,
      figure(({ domain }) => domain.memory.maxPages),
    ),
  ],
  [XENMEM.maximumGpfn, subop("maximum_gpfn", MemoryDomain, figure(maximumGpfn))],
  [
    XENMEM.machphysMapping,
    subopOut("machphys_mapping", MachphysMapping, (_context, arg) => {
      MachphysMapping.vStart.setNumber(arg, 0, MACH2PHYS_VIRT_START);
      MachphysMapping.vEnd.setNumber(arg, 0, MACH2PHYS_VIRT_END);
      MachphysMapping.maxMfn.setNumber(arg, 0, (MACH2PHYS_VIRT_END - MACH2PHYS_VIRT_START) / 8 - 1);
      return 0;
    }),
  ],
  [XENMEM.machphysMfnList, subopOut("machphys_mfn_list", MachphysMfnList, machphysMfnList)],
  [XENMEM.memoryMap, subopOut("memory_map", MemoryMapArg, writeMemoryMap)],
  [XENMEM.setMemoryMap, subop("set_memory_map", ForeignMemoryMap, setMemoryMap)],
  [
    XENMEM.addToPhysmap,
    subop("add_to_physmap", AddToPhysmap, (context, arg) =>
      AddToPhysmap.space.get(arg, 0) === XENMAPSPACE.gmfnForeign
        ? -Errno.ENOSYS
        : noPhysmap(AddToPhysmap)(context, arg),
    ),
  ],
  [
    XENMEM.addToPhysmapBatch,
    subop("add_to_physmap_batch", AddToPhysmapBatch, (context, arg) =>
      AddToPhysmapBatch.space.get(arg, 0) === XENMAPSPACE.gmfnRange
        ? -Errno.EOPNOTSUPP
        : noPhysmap(AddToPhysmapBatch)(context, arg),
    ),
  ],
  [XENMEM.removeFromPhysmap, subop("remove_from_physmap", RemoveFromPhysmap, noPhysmap(RemoveFromPhysmap))],
  [XENMEM.claimPages, subop("claim_pages", MemoryReservation, claimPages)],
  [XENMEM.machineMemoryMap, refused("machine_memory_map", Errno.EPERM)],
  [XENMEM.acquireResource, subop("acquire_resource", AcquireResource, acquireResource)],
  [XENMEM.setPodTarget, subop("set_pod_target", PodTarget, refusedFor(PodTarget, Errno.EINVAL))],
  [XENMEM.getPodTarget, subop("get_pod_target", PodTarget, refusedFor(PodTarget, Errno.EINVAL))],
  [XENMEM.getSharingFreedPages, plainSubop("get_sharing_freed_pages", () => 0)],
  [XENMEM.getSharingSharedPages, plainSubop("get_sharing_shared_pages", () => 0)],
  [
    XENMEM.accessOp,
    subop("access_op", MemAccessOp, (context, arg) => {
      const remote = remoteDomain(context, MemAccessOp.domid.get(arg, 0));
      // Access rights of single frames are for HVM domains.
      return remote === 0 ? -Errno.EINVAL : remote;
    }),
  ],
  [XENMEM.machphysCompatMfnList, refused("machphys_compat_mfn_list", Errno.EOPNOTSUPP)],
  [
    XENMEM.reservedDeviceMemoryMap,
    // There are no devices: no ranges, for all (flag 1) or for one.
    subopOut("reserved_device_memory_map", ReservedDevices, (_context, arg) => {
      if (!accessOk(ReservedDevices.buffer.signed(arg, 0))) return -Errno.EFAULT;
      if (ReservedDevices.flags.get(arg, 0) > 1) return -Errno.EINVAL;
      ReservedDevices.nrEntries.set(arg, 0, 0);
      return 0;
    }),
  ],
  [
    XENMEM.getVnumainfo,
    subop("get_vnumainfo", VnumaTopologyInfo, (context, arg) => {
      if (VnumaTopologyInfo.pad.get(arg, 0) !== 0) return -Errno.EINVAL;
      const owner = memoryOpDomain(context, VnumaTopologyInfo.domid.get(arg, 0));
      return owner === 0 ? -Errno.EOPNOTSUPP : owner;
    }),
  ],
]);

export const memoryOp: HypercallRow = subopRow("memory_op", rows, { opMask: MEMOP_CMD_MASK });
