/** Memory reservation and the physical map (xen/memory.h). */
import { struct, u8, u16, u32, u64, union } from "./struct.ts";

export const XENMEM = {
  increaseReservation: 0,
  decreaseReservation: 1,
  maximumRamPage: 2,
  currentReservation: 3,
  maximumReservation: 4,
  machphysMfnList: 5,
  populatePhysmap: 6,
  addToPhysmap: 7,
  memoryMap: 9,
  machineMemoryMap: 10,
  exchange: 11,
  machphysMapping: 12,
  setMemoryMap: 13,
  maximumGpfn: 14,
  removeFromPhysmap: 15,
  setPodTarget: 16,
  getPodTarget: 17,
  getSharingFreedPages: 18,
  getSharingSharedPages: 19,
  pagingOp: 20,
  accessOp: 21,
  sharingOp: 22,
  addToPhysmapBatch: 23,
  claimPages: 24,
  machphysCompatMfnList: 25,
  getVnumainfo: 26,
  reservedDeviceMemoryMap: 27,
  acquireResource: 28,
} as const;

/** memory_op's first argument: sub-operation in bits 5:0, where a continuation begins in the rest. */
export const MEMOP_CMD_MASK = 0x3f;
export const MEMOP_EXTENT_SHIFT = 6;

/** XENMEMF_*: memFlags of a reservation. */
export const XENMEMF = {
  addressBitsMask: 0xff,
  nodeShift: 8,
  nodeMask: 0xff,
  populateOnDemand: 1 << 16,
  exactNodeRequest: 1 << 17,
  vnode: 1 << 18,
} as const;

/** struct xen_memory_reservation: increase, decrease, populate. IN all; extentStart's list is IN, OUT or both. */
export const MemoryReservation = struct({
  extentStart: u64,
  nrExtents: u64,
  extentOrder: u32,
  memFlags: u32,
  domid: u16,
});
/** XENMEM_exchange. IN input, output. OUT nrExchanged. */
export const MemoryExchange = struct({ input: MemoryReservation, output: MemoryReservation, nrExchanged: u64 });
/** struct xen_memory_domain: IN domid of current_reservation, maximum_reservation, maximum_gpfn. */
export const MemoryDomain = struct({ domid: u16 });
/** XENMEM_machphys_mfn_list. IN maxExtents, extentStart. OUT nrExtents. */
export const MachphysMfnList = struct({ maxExtents: u32, extentStart: u64, nrExtents: u32 });
/** XENMEM_machphys_mapping. OUT all. */
export const MachphysMapping = struct({ vStart: u64, vEnd: u64, maxMfn: u64 });
/** XENMEM_add_to_physmap. IN all; `count` (C: size) is for gmfn_range. */
export const AddToPhysmap = struct({ domid: u16, count: u16, space: u32, idx: u64, gpfn: u64 });
export const XENMAPSPACE = {
  sharedInfo: 0,
  grantTable: 1,
  gmfn: 2,
  gmfnRange: 3,
  gmfnForeign: 4,
  devMmio: 5,
} as const;
/** XENMAPIDX_grant_table_status. */
export const XENMAPIDX_GRANT_TABLE_STATUS = 0x8000_0000;
/** XENMEM_add_to_physmap_batch. `count` is size in C. */
export const AddToPhysmapBatch = struct({
  domid: u16,
  space: u16,
  count: u16,
  u: union({ foreignDomid: u16, res0: u16 }),
  idxs: u64,
  gpfns: u64,
  errs: u64,
});
/** XENMEM_remove_from_physmap. IN domid, gpfn. */
export const RemoveFromPhysmap = struct({ domid: u16, gpfn: u64 });
/** XENMEM_memory_map. IN nrEntries, buffer (array of `E820Entry`). OUT nrEntries. */
export const MemoryMapArg = struct({ nrEntries: u32, buffer: u64 });
/** XENMEM_set_memory_map. */
export const ForeignMemoryMap = struct({ domid: u16, map: MemoryMapArg });
/** XENMEM_get_pod_target. */
export const PodTarget = struct({ targetPages: u64, totPages: u64, podCachePages: u64, podEntries: u64, domid: u16 });
/** XENMEM_acquire_resource. */
export const AcquireResource = struct({
  domid: u16,
  type: u16,
  id: u32,
  nrFrames: u32,
  pad: u32,
  frame: u64,
  frameList: u64,
});
/** XENMEM_access_op. */
export const MemAccessOp = struct({
  op: u8,
  access: u8,
  domid: u16,
  nr: u32,
  pfn: u64,
  pfnList: u64,
  accessList: u64,
});
/** XENMEM_get_vnumainfo. */
export const VnumaTopologyInfo = struct({
  domid: u16,
  pad: u16,
  nrVnodes: u32,
  nrVcpus: u32,
  nrVmemranges: u32,
  vdistance: u64,
  vcpuToVnode: u64,
  vmemrange: u64,
});

/** One entry of an E820 map: 20 bytes, packed, so `size` is not a multiple of 8 (ACPI 6, 15.1). */
export const E820Entry = struct({ addrLo: u32, addrHi: u32, sizeLo: u32, sizeHi: u32, type: u32 });
export const E820 = { ram: 1, reserved: 2, acpi: 3, nvs: 4, unusable: 5 } as const;
