/** Whose frames a memory-management hypercall is about, and what an unprivileged domain is told when they are not its own. */
import { Errno } from "../../abi/errno.ts";
import { DOMID } from "../../abi/xen.ts";
import type { HypercallContext } from "./table.ts";

/** The caller's own frames. */
export const OWN = 0;
/** I/O memory (DOMID_IO). */
export const IO = 1;

/**
 * The foreign-domain argument of mmu_update, mmuext_op and update_va_mapping_otherdomain: OWN, IO, -ESRCH (no such domain, or the
 * caller named by its own number) or -EPERM (someone else's).
 */
export function pageOwner({ shard, domain }: HypercallContext, domid: number): number {
  if (domid === DOMID.self) return OWN;
  if (domid === DOMID.io) return IO;
  if (domid === DOMID.xen) return -Errno.EPERM;
  return domid !== domain.id && shard.exists(domid) ? -Errno.EPERM : -Errno.ESRCH;
}

/** The domid of a memory_op's argument, which may be the caller's own number: OWN, -ESRCH or -EPERM. */
export function memoryOpDomain({ shard, domain }: HypercallContext, domid: number): number {
  if (domid === DOMID.self || domid === domain.id) return OWN;
  return shard.exists(domid) ? -Errno.EPERM : -Errno.ESRCH;
}
