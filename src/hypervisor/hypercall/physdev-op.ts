/** HYPERVISOR_physdev_op (xen/physdev.h), for a domain that has no physical devices. */
import { Errno } from "../../abi/errno.ts";
import {
  PHYSDEVOP,
  PhysdevEoi,
  PhysdevIrqStatusQuery,
  PhysdevPirqEoiGmfn,
  PhysdevSetIobitmap,
  PhysdevSetIopl,
  XENIRQSTAT,
} from "../../abi/physdev.ts";
import { PageType } from "../mm/frame-table.ts";
import { accessOk } from "../mm/guest-memory.ts";
import type { HypercallContext } from "./table.ts";
import { type HypercallRow, plainSubop, type Subop, subop, subopOut, subopRow } from "./table.ts";

/** PIRQ numbers of an unprivileged domain; none of them is bound. */
const NR_PIRQS = 80;
const MAX_IO_PORTS = 65_536;
const IO_BITMAP_BYTES = 8192;

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

const refused = (name: string) => plainSubop(name, () => -Errno.EPERM);

const rows = new Map<number, Subop>([
  // No PIRQ is ever bound, so none can be ended.
  [PHYSDEVOP.eoi, subop("eoi", PhysdevEoi, () => -Errno.EINVAL)],
  [PHYSDEVOP.irqUnmaskNotify, plainSubop("irq_unmask_notify", () => -Errno.EINVAL)],
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
      if (ports > MAX_IO_PORTS || !accessOk(bitmap) || !accessOk(bitmap + IO_BITMAP_BYTES - 1)) return -Errno.EINVAL;
      vcpu.ioBitmap = bitmap;
      vcpu.ioBitmapPorts = ports;
      return 0;
    }),
  ],
  [PHYSDEVOP.pirqEoiGmfnV1, subop("pirq_eoi_gmfn_v1", PhysdevPirqEoiGmfn, pirqEoiFrame)],
  [PHYSDEVOP.pirqEoiGmfnV2, subop("pirq_eoi_gmfn_v2", PhysdevPirqEoiGmfn, pirqEoiFrame)],
  [PHYSDEVOP.apicRead, refused("apic_read")],
  [PHYSDEVOP.apicWrite, refused("apic_write")],
  [PHYSDEVOP.allocIrqVector, refused("alloc_irq_vector")],
  [PHYSDEVOP.mapPirq, refused("map_pirq")],
  [PHYSDEVOP.unmapPirq, refused("unmap_pirq")],
  [PHYSDEVOP.managePciAdd, refused("manage_pci_add")],
  [PHYSDEVOP.managePciRemove, refused("manage_pci_remove")],
  [PHYSDEVOP.managePciAddExt, refused("manage_pci_add_ext")],
  [PHYSDEVOP.pciDeviceAdd, refused("pci_device_add")],
  [PHYSDEVOP.pciDeviceRemove, refused("pci_device_remove")],
  [PHYSDEVOP.prepareMsix, refused("prepare_msix")],
  [PHYSDEVOP.releaseMsix, refused("release_msix")],
  [PHYSDEVOP.pciMmcfgReserved, refused("pci_mmcfg_reserved")],
  [PHYSDEVOP.restoreMsi, refused("restore_msi")],
  [PHYSDEVOP.restoreMsiExt, refused("restore_msi_ext")],
  [PHYSDEVOP.setupGsi, refused("setup_gsi")],
  [PHYSDEVOP.getFreePirq, refused("get_free_pirq")],
  [PHYSDEVOP.dbgpOp, refused("dbgp_op")],
]);

export const physdevOp: HypercallRow = subopRow("physdev_op", rows);
