/**
 * GNTTABOP_transfer: a frame of the caller's becomes another domain's, which has said so in its table. Since frame numbers are private to
 * each domain, the frame's content moves into a frame of the other domain; the caller's own is given up.
 *
 * As on Xen, a frame that cannot be given up stays; one that was given up and is not taken is lost.
 */
import { GNTST, GnttabTransfer } from "../../abi/grant-table.ts";
import type { HypercallResult } from "../hypercall/result.ts";
import type { HypercallContext } from "../hypercall/table.ts";
import { unused } from "../mm/reservation.ts";

const PAGE_SIZE = 4096;

/** `done` gets the GNTST status. */
export function grantTransfer(
  context: HypercallContext,
  arg: DataView,
  done: (status: number) => HypercallResult,
): HypercallResult {
  const { shard, domain, vcpu } = context;
  const { memory } = domain;
  const mfn = GnttabTransfer.mfn.number(arg, 0);
  const owner = GnttabTransfer.domid.get(arg, 0);
  const ref = GnttabTransfer.ref.get(arg, 0);
  const index = memory.frames.indexOfMfn(mfn);
  if (!unused(memory, index)) return done(GNTST.badPage);
  const start = memory.hostOffset(mfn);
  const bytes = memory.bytes.slice(start, start + PAGE_SIZE);
  memory.frames.putAllocated(index);
  if (!shard.exists(owner)) return done(GNTST.badDomain);
  // Domain 0 accepts no transfers.
  if (owner === 0) return done(GNTST.generalError);
  const request = { kind: "grant-transfer", owner, caller: domain.id, ref, bytes } as const;
  return shard.grants.ask(vcpu, owner, request, ({ status }) => done(status));
}
