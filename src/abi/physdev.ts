/** Physical devices and interrupts (xen/physdev.h): what unprivileged guests ask for, and neighbours they are refused. */
import { i32, struct, u8, u16, u32, u64, union } from "./struct.ts";

export const PHYSDEVOP = {
  irqUnmaskNotify: 4,
  irqStatusQuery: 5,
  setIopl: 6,
  setIobitmap: 7,
  apicRead: 8,
  apicWrite: 9,
  allocIrqVector: 10,
  freeIrqVector: 11,
  eoi: 12,
  mapPirq: 13,
  unmapPirq: 14,
  managePciAdd: 15,
  managePciRemove: 16,
  pirqEoiGmfnV1: 17,
  restoreMsi: 19,
  managePciAddExt: 20,
  setupGsi: 21,
  getFreePirq: 23,
  pciMmcfgReserved: 24,
  pciDeviceAdd: 25,
  pciDeviceRemove: 26,
  restoreMsiExt: 27,
  pirqEoiGmfnV2: 28,
  dbgpOp: 29,
  prepareMsix: 30,
  releaseMsix: 31,
} as const;

/** PHYSDEVOP_eoi. IN irq. */
export const PhysdevEoi = struct({ irq: u32 });
/** PHYSDEVOP_pirq_eoi_gmfn_v1 and _v2. IN gmfn. */
export const PhysdevPirqEoiGmfn = struct({ gmfn: u64 });
/** PHYSDEVOP_irq_status_query. IN irq. OUT flags (`XENIRQSTAT`). */
export const PhysdevIrqStatusQuery = struct({ irq: u32, flags: u32 });
export const XENIRQSTAT = { needsEoi: 1, shared: 2 } as const;
/** PHYSDEVOP_set_iopl. IN iopl. */
export const PhysdevSetIopl = struct({ iopl: u32 });
/** PHYSDEVOP_set_iobitmap. IN bitmap, nrPorts. */
export const PhysdevSetIobitmap = struct({ bitmap: u64, nrPorts: u32 });
/** PHYSDEVOP_apic_read and _write. IN apicPhysbase, reg; IN or OUT value. */
export const PhysdevApic = struct({ apicPhysbase: u64, reg: u32, value: u32 });
/** PHYSDEVOP_alloc_irq_vector and free_irq_vector. IN irq. OUT vector. */
export const PhysdevIrq = struct({ irq: u32, vector: u32 });
/** PHYSDEVOP_map_pirq. */
export const PhysdevMapPirq = struct({
  domid: u16,
  type: i32,
  index: i32,
  pirq: i32,
  bus: i32,
  devfn: i32,
  entryNr: i32,
  tableBase: u64,
});
/** PHYSDEVOP_unmap_pirq. */
export const PhysdevUnmapPirq = struct({ domid: u16, pirq: i32 });
/** PHYSDEVOP_setup_gsi. */
export const PhysdevSetupGsi = struct({ gsi: i32, triggering: u8, polarity: u8 });
/** PHYSDEVOP_get_free_pirq. */
export const PhysdevGetFreePirq = struct({ type: i32, pirq: u32 });
export const MAP_PIRQ_TYPE_MSI = 0;
export const MAP_PIRQ_TYPE_GSI = 1;
export const MAP_PIRQ_TYPE_MSI_SEG = 3;
export const MAP_PIRQ_TYPE_MULTI_MSI = 4;
/** PHYSDEVOP_manage_pci_add, _remove and restore_msi. */
export const PhysdevManagePci = struct({ bus: u8, devfn: u8 });
/** PHYSDEVOP_manage_pci_add_ext. */
export const PhysdevManagePciExt = struct({
  bus: u8,
  devfn: u8,
  isExtfn: u32,
  isVirtfn: u32,
  physfnBus: u8,
  physfnDevfn: u8,
});
/** PHYSDEVOP_pci_device_add; optional words follow. */
export const PhysdevPciDeviceAdd = struct({ seg: u16, bus: u8, devfn: u8, flags: u32, physfnBus: u8, physfnDevfn: u8 });
/** struct physdev_pci_device. */
export const PhysdevPciDevice = struct({ seg: u16, bus: u8, devfn: u8 });

/** struct physdev_op: the one argument of physdev_op_compat, sub-operation and arguments together. */
export const PhysdevOpCompat = struct({
  cmd: u32,
  u: union({
    irqStatusQuery: PhysdevIrqStatusQuery,
    setIopl: PhysdevSetIopl,
    setIobitmap: PhysdevSetIobitmap,
    apicOp: PhysdevApic,
    irqOp: PhysdevIrq,
  }),
});
