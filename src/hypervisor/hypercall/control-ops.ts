/**
 * The calls of the control domain: platform_op, sysctl, domctl and what belongs to it. Xen looks at the argument before it looks at who asks,
 * so a domain without privileges learns whether it speaks the right version, and for domctl which domains there are.
 */
import { Errno } from "../../abi/errno.ts";
import { DOMCTL, DomctlHead, PlatformOpHead, SysctlHead } from "../../abi/platform.ts";
import { DOMID } from "../../abi/xen.ts";
import type { HypercallArgs } from "./arguments.ts";
import type { HypercallContext, HypercallRow } from "./table.ts";

/** Bytes that each of these copies in: a head of cmd and version, and a union of 128. */
const ARGUMENT_BYTES = 136;
const DOMCTL_BYTES = 144;
const bytes = new Uint8Array(DOMCTL_BYTES);
const view = new DataView(bytes.buffer);

/** False when the argument cannot be read. */
function fetch({ domain, vcpu }: HypercallContext, args: HypercallArgs, size: number): boolean {
  return domain.memory.copyFromGuest(vcpu.id, args.va(0), bytes.subarray(0, size));
}

const versioned = (
  name: string,
  head: { readonly interfaceVersion: { get(view: DataView, base: number): number } },
  version: number,
): HypercallRow => ({
  name,
  run(context, args) {
    if (!fetch(context, args, ARGUMENT_BYTES)) return -Errno.EFAULT;
    return head.interfaceVersion.get(view, 0) === version ? -Errno.EPERM : -Errno.EACCES;
  },
});

export const platformOp = versioned("platform_op", PlatformOpHead, PlatformOpHead.version);
export const sysctl = versioned("sysctl", SysctlHead, SysctlHead.version);

/** The commands that may be about no domain at all, which DOMID_INVALID says; one is about DOMID_IO. */
function namesDomain({ shard }: HypercallContext, command: number, domid: number): boolean {
  switch (command) {
    case DOMCTL.createdomain:
      return true;
    case DOMCTL.assignDevice:
    case DOMCTL.deassignDevice:
      return domid === DOMID.io || shard.exists(domid);
    case DOMCTL.testAssignDevice:
    case DOMCTL.vmEventOp:
      return domid === DOMID.invalid || shard.exists(domid);
    default:
      return shard.exists(domid);
  }
}

/** -EFAULT, -EACCES for another version, -ESRCH for no such domain, -EPERM for the others. */
export const domctl: HypercallRow = {
  name: "domctl",
  run(context, args) {
    if (!fetch(context, args, DOMCTL_BYTES)) return -Errno.EFAULT;
    if (DomctlHead.interfaceVersion.get(view, 0) !== DomctlHead.version) return -Errno.EACCES;
    const named = namesDomain(context, DomctlHead.cmd.get(view, 0), DomctlHead.domain.get(view, 0));
    return named ? -Errno.EPERM : -Errno.ESRCH;
  },
};

/** Where a long XEN_DOMCTL_shadow_op goes on, and nothing else; a wrong version is not one either. */
export const pagingDomctlCont: HypercallRow = {
  name: "paging_domctl_cont",
  run(context, args) {
    if (!fetch(context, args, DOMCTL_BYTES)) return -Errno.EFAULT;
    const { cmd, interfaceVersion, version } = DomctlHead;
    if (interfaceVersion.get(view, 0) !== version || cmd.get(view, 0) !== DOMCTL.shadowOp) return -Errno.EOPNOTSUPP;
    return context.shard.exists(DomctlHead.domain.get(view, 0)) ? -Errno.EPERM : -Errno.ESRCH;
  },
};
