/** HYPERVISOR_physdev_op (xen/physdev.h), for a domain that has no physical devices. */
import { Errno } from "../../abi/errno.ts";
import {
  MAP_PIRQ_TYPE_GSI,
  MAP_PIRQ_TYPE_MSI,
  MAP_PIRQ_TYPE_MSI_SEG,
  MAP_PIRQ_TYPE_MULTI_MSI,
  PHYSDEVOP,
  PhysdevApic,
  PhysdevEoi,
  PhysdevGetFreePirq,
  PhysdevIrq,
  PhysdevIrqStatusQuery,
  PhysdevManagePci,
  PhysdevManagePciExt,
  PhysdevMapPirq,
  PhysdevOpCompat,
  PhysdevPciDevice,
  PhysdevPciDeviceAdd,
  PhysdevPirqEoiGmfn,
  PhysdevSetIobitmap,
  PhysdevSetIopl,
  PhysdevSetupGsi,
  PhysdevUnmapPirq,
  XENIRQSTAT,
} from "../../abi/physdev.ts";
import type { Layout } from "../../abi/struct-values.ts";
import { DOMID } from "../../abi/xen.ts";
import { PageType } from "../mm/frame-table.ts";
import { accessOk } from "../mm/guest-memory.ts";
import { NR_GSIS, NR_PIRQS } from "../pirqs.ts";
import type { Shard } from "../shard.ts";
import type { HypercallContext } from "./table.ts";
import { compatRow, type HypercallRow, plainSubop, type Subop, subop, subopOut, subopRow } from "./table.ts";

/** Interrupts that one device may have by MSI. */
const MAX_MULTI_MSI = 32;
const MAX_IO_PORTS = 65_536;

/** The frame in which Xen would tell which PIRQs need an EOI: all zeros for ever, but the guest's only to name once. */
function pirqEoiFrame({ domain }: HypercallContext, arg: DataView): number {
  const mfn = PhysdevPirqEoiGmfn.gmfn.number(arg, 0);
  if (domain.memory.getPageAndType(mfn, PageType.writable) !== 0) return -Errno.EINVAL;
  if (domain.pirqEoiMfn >= 0) {
    domain.memory.putPageAndType(mfn);
    return -Errno.EBUSY;
  }
  domain.pirqEoiMfn = mfn;
  return 0;
}

/** What only a domain with devices may ask, once its argument has been read. */
const refused = (name: string, struct: Layout) => subop(name, struct, () => -Errno.EPERM);

/** No guest may give PIRQs to anyone, itself included. */
const knownDomain = (shard: Shard, domid: number): number =>
  domid === DOMID.self || shard.exists(domid) ? -Errno.EPERM : -Errno.ESRCH;

const rows = new Map<number, Subop>([
  // No PIRQ is ever bound: ending one that is reserved does nothing.
  [
    PHYSDEVOP.eoi,
    subop("eoi", PhysdevEoi, ({ domain }, arg) =>
      domain.pirqs.reserved(PhysdevEoi.irq.get(arg, 0)) ? 0 : -Errno.EINVAL,
    ),
  ],
  // All that are masked are unmasked: none.
  [PHYSDEVOP.irqUnmaskNotify, plainSubop("irq_unmask_notify", () => 0)],
  [
    PHYSDEVOP.irqStatusQuery,
    subopOut("irq_status_query", PhysdevIrqStatusQuery, ({ domain }, arg) => {
      if (PhysdevIrqStatusQuery.irq.get(arg, 0) >= NR_PIRQS) return -Errno.EINVAL;
      PhysdevIrqStatusQuery.flags.set(arg, 0, domain.pirqEoiMfn < 0 ? XENIRQSTAT.needsEoi : 0);
      return 0;
    }),
  ],
  [
    PHYSDEVOP.setIopl,
    subop("set_iopl", PhysdevSetIopl, ({ vcpu }, arg) => {
      const iopl = PhysdevSetIopl.iopl.get(arg, 0);
      if (iopl > 3) return -Errno.EINVAL;
      vcpu.iopl = iopl;
      return 0;
    }),
  ],
  [
    PHYSDEVOP.setIobitmap,
    subop("set_iobitmap", PhysdevSetIobitmap, ({ vcpu }, arg) => {
      const bitmap = PhysdevSetIobitmap.bitmap.signed(arg, 0);
      const ports = PhysdevSetIobitmap.nrPorts.get(arg, 0);
      if (ports > MAX_IO_PORTS || !accessOk(bitmap)) return -Errno.EINVAL;
      vcpu.ioBitmap = bitmap;
      vcpu.ioBitmapPorts = ports;
      return 0;
    }),
  ],
  [PHYSDEVOP.pirqEoiGmfnV1, subop("pirq_eoi_gmfn_v1", PhysdevPirqEoiGmfn, pirqEoiFrame)],
  [PHYSDEVOP.pirqEoiGmfnV2, subop("pirq_eoi_gmfn_v2", PhysdevPirqEoiGmfn, pirqEoiFrame)],
  [PHYSDEVOP.apicRead, refused("apic_read", PhysdevApic)],
  [PHYSDEVOP.apicWrite, refused("apic_write", PhysdevApic)],
  [PHYSDEVOP.allocIrqVector, refused("alloc_irq_vector", PhysdevIrq)],
  [
    PHYSDEVOP.mapPirq,
    {
      name: "map_pirq",
      size: PhysdevMapPirq.size,
      out: "always",
      run({ shard }, arg) {
        if (PhysdevMapPirq.type.get(arg, 0) === MAP_PIRQ_TYPE_MSI_SEG)
          PhysdevMapPirq.type.set(arg, 0, MAP_PIRQ_TYPE_MSI);
        const many = PhysdevMapPirq.type.get(arg, 0) === MAP_PIRQ_TYPE_MULTI_MSI;
        const entries = PhysdevMapPirq.entryNr.get(arg, 0);
        if (many && (entries <= 0 || entries > MAX_MULTI_MSI)) return -Errno.EINVAL;
        return knownDomain(shard, PhysdevMapPirq.domid.get(arg, 0));
      },
    },
  ],
  [
    PHYSDEVOP.unmapPirq,
    subop("unmap_pirq", PhysdevUnmapPirq, ({ shard }, arg) => knownDomain(shard, PhysdevUnmapPirq.domid.get(arg, 0))),
  ],
  [PHYSDEVOP.managePciAdd, refused("manage_pci_add", PhysdevManagePci)],
  [PHYSDEVOP.managePciRemove, refused("manage_pci_remove", PhysdevManagePci)],
  [
    PHYSDEVOP.managePciAddExt,
    subop("manage_pci_add_ext", PhysdevManagePciExt, (_context, arg) =>
      Math.max(PhysdevManagePciExt.isExtfn.get(arg, 0), PhysdevManagePciExt.isVirtfn.get(arg, 0)) > 1
        ? -Errno.EINVAL
        : -Errno.EPERM,
    ),
  ],
  [PHYSDEVOP.pciDeviceAdd, refused("pci_device_add", PhysdevPciDeviceAdd)],
  [PHYSDEVOP.pciDeviceRemove, refused("pci_device_remove", PhysdevPciDevice)],
  [PHYSDEVOP.prepareMsix, refused("prepare_msix", PhysdevPciDevice)],
  [PHYSDEVOP.releaseMsix, refused("release_msix", PhysdevPciDevice)],
  [PHYSDEVOP.pciMmcfgReserved, plainSubop("pci_mmcfg_reserved", () => -Errno.EPERM)],
  // There are no devices whose MSIs could be restored.
  [PHYSDEVOP.restoreMsi, subop("restore_msi", PhysdevManagePci, () => -Errno.ENODEV)],
  [PHYSDEVOP.restoreMsiExt, subop("restore_msi_ext", PhysdevPciDevice, () => -Errno.ENODEV)],
  [
    PHYSDEVOP.setupGsi,
    subop("setup_gsi", PhysdevSetupGsi, (_context, arg) => {
      const gsi = PhysdevSetupGsi.gsi.get(arg, 0);
      return gsi >= 0 && gsi < NR_GSIS ? -Errno.EPERM : -Errno.EINVAL;
    }),
  ],
  [
    PHYSDEVOP.getFreePirq,
    subopOut("get_free_pirq", PhysdevGetFreePirq, ({ domain }, arg) => {
      const pirq = domain.pirqs.allocate(PhysdevGetFreePirq.type.get(arg, 0) === MAP_PIRQ_TYPE_GSI);
      if (pirq < 0) return pirq;
      PhysdevGetFreePirq.pirq.set(arg, 0, pirq);
      return 0;
    }),
  ],
  [PHYSDEVOP.dbgpOp, plainSubop("dbgp_op", () => -Errno.EPERM)],
]);

export const physdevOp: HypercallRow = subopRow("physdev_op", rows);

/** The old form: the sub-operation in the argument's first word. */
export const physdevOpCompat: HypercallRow = compatRow("physdev_op_compat", PhysdevOpCompat, physdevOp);
