/** HYPERVISOR_xen_version (xen/version.h): what the hypervisor tells of itself. */
import { HYPERVISOR_VIRT_START } from "../../abi/arch-x86-64.ts";
import { Errno } from "../../abi/errno.ts";
import { XENFEAT } from "../../abi/features.ts";
import {
  CompileInfo,
  FeatureInfo,
  PlatformParameters,
  XEN_CAPABILITIES_INFO_LEN,
  XEN_CHANGESET_INFO_LEN,
  XEN_EXTRAVERSION_LEN,
  XENVER,
} from "../../abi/version.ts";
import { PAGE_SIZE, VMASST_TYPE } from "../../abi/xen.ts";
import { XEN_EXTRAVERSION, XEN_MAJOR, XEN_MINOR } from "../version.ts";
import type { HypercallArgs } from "./arguments.ts";
import { type HypercallContext, type HypercallRow, plainSubop, type Subop, subopOut, subopRow } from "./table.ts";

const CAPABILITIES = "xen-3.0-x86_64";
/** What Xen gives instead of a string that the domain may not see. */
const DENIED = "<denied>";

/** Copies `text` to the argument, in `length` bytes filled up with zeros. */
function giveText(text: string, length: number) {
  const bytes = new Uint8Array(length);
  bytes.set(new TextEncoder().encode(text).subarray(0, length - 1));
  return give(() => bytes);
}

function give(bytes: (context: HypercallContext) => Uint8Array) {
  return (context: HypercallContext, args: HypercallArgs): number =>
    context.domain.memory.copyToGuest(context.vcpu.id, args.va(1), bytes(context)) ? 0 : -Errno.EFAULT;
}

function features({ domain }: HypercallContext, arg: DataView): number {
  if (FeatureInfo.submapIdx.get(arg, 0) !== 0) return -Errno.EINVAL;
  let bits =
    (1 << XENFEAT.memoryOpVnodeSupported) |
    (1 << XENFEAT.mmuPtUpdatePreserveAd) |
    (1 << XENFEAT.highmemAssist) |
    (1 << XENFEAT.gnttabMapAvailBits) |
    // A PV guest's frame numbers are the machine's own.
    (1 << XENFEAT.directMapped);
  if (domain.assists(VMASST_TYPE.paeExtendedCr3)) bits |= 1 << XENFEAT.paePgdirAbove4gb;
  FeatureInfo.submap.set(arg, 0, bits);
  return 0;
}

const compileInfo = new Uint8Array(CompileInfo.size);
const compileView = new DataView(compileInfo.buffer);
CompileInfo.compiler.setText(compileView, 0, "tsc");
CompileInfo.compileBy.setText(compileView, 0, "domzero");
CompileInfo.compileDomain.setText(compileView, 0, "domzero");
CompileInfo.compileDate.setText(compileView, 0, "");

const platformParameters = new Uint8Array(PlatformParameters.size);
PlatformParameters.virtStart.setNumber(new DataView(platformParameters.buffer), 0, HYPERVISOR_VIRT_START);

const rows = new Map<number, Subop>([
  [XENVER.version, plainSubop("version", () => (XEN_MAJOR << 16) | XEN_MINOR)],
  [XENVER.extraversion, plainSubop("extraversion", giveText(XEN_EXTRAVERSION, XEN_EXTRAVERSION_LEN))],
  [
    XENVER.compileInfo,
    plainSubop(
      "compile_info",
      give(() => compileInfo),
    ),
  ],
  [XENVER.capabilities, plainSubop("capabilities", giveText(CAPABILITIES, XEN_CAPABILITIES_INFO_LEN))],
  [XENVER.changeset, plainSubop("changeset", giveText("", XEN_CHANGESET_INFO_LEN))],
  [
    XENVER.platformParameters,
    plainSubop(
      "platform_parameters",
      give(() => platformParameters),
    ),
  ],
  [XENVER.getFeatures, subopOut("get_features", FeatureInfo, features)],
  [
    XENVER.pagesize,
    plainSubop("pagesize", (_context, args) => (args.lo(1) === 0 && args.hi(1) === 0 ? PAGE_SIZE : -Errno.EINVAL)),
  ],
  [
    XENVER.guestHandle,
    plainSubop(
      "guest_handle",
      give(({ domain }) => domain.uuid),
    ),
  ],
  [XENVER.commandline, plainSubop("commandline", giveText(DENIED, DENIED.length + 1))],
  [XENVER.buildId, plainSubop("build_id", () => -Errno.EPERM)],
]);

export const xenVersion: HypercallRow = subopRow("xen_version", rows);
