/**
 * GNTTABOP_copy: bytes from one frame to another, each named by its owner's frame number or by a grant. Where a frame belongs to a domain of
 * another shard, that shard does its half and the caller is parked meanwhile; so it may be twice.
 *
 * What is refused first is what Xen refuses first: the domains, the source's grant, the destination's, and then where the bytes are.
 */
import { GNTCOPY, GNTST, GnttabCopy } from "../../abi/grant-table.ts";
import { DOMID } from "../../abi/xen.ts";
import type { HypercallResult } from "../hypercall/result.ts";
import type { HypercallContext } from "../hypercall/table.ts";
import { PAGE_SIZE } from "../mm/memory-map.ts";
import { moveFrame } from "./copy-granted.ts";
import { statusOfDom0 } from "./domain0.ts";
import type { GrantAnswer } from "./granting-side.ts";

/** One side of a copy. */
interface Side {
  readonly domid: number;
  readonly offset: number;
  readonly isRef: boolean;
  /** Grant reference, or frame. */
  readonly name: number;
}

type Done = (status: number) => HypercallResult;
type Next = (answer: GrantAnswer) => HypercallResult;

function sideOf(arg: DataView, which: "source" | "dest", isRef: boolean): Side {
  const pointer = GnttabCopy[which];
  return {
    domid: pointer.domid.get(arg, 0),
    offset: pointer.offset.get(arg, 0),
    isRef,
    name: isRef ? pointer.u.ref.get(arg, 0) : pointer.u.gmfn.number(arg, 0),
  };
}

/** One copy; `done` gets its GNTST status. */
export function grantCopy(context: HypercallContext, arg: DataView, done: Done): HypercallResult {
  const { shard } = context;
  const flags = GnttabCopy.flags.get(arg, 0);
  const source = sideOf(arg, "source", (flags & GNTCOPY.sourceGref) !== 0);
  const dest = sideOf(arg, "dest", (flags & GNTCOPY.destGref) !== 0);
  const sides = [source, dest];
  if (sides.some(({ domid }) => domid !== DOMID.self && !shard.exists(domid))) return done(GNTST.badDomain);
  // Only grants reach into other domains, and oneself is named DOMID_SELF.
  if (sides.some(({ domid, isRef }) => domid !== DOMID.self && !isRef)) return done(GNTST.permissionDenied);
  const length = GnttabCopy.len.get(arg, 0);
  const beyond = source.offset + length > PAGE_SIZE || dest.offset + length > PAGE_SIZE;
  const bytes = beyond ? 0 : length;
  const at = ({ offset }: Side): number => (beyond ? 0 : offset);
  return half(context, source, at(source), bytes, undefined, (read) => {
    if (read.status !== GNTST.okay) return done(read.status);
    const found = read.data?.bytes ?? new Uint8Array(0);
    return half(context, dest, at(dest), found.length, found, (written) => {
      if (written.status !== GNTST.okay) return done(written.status);
      if (beyond) return done(GNTST.badCopyArg);
      const outside = read.data?.outOfBounds === true || written.data?.outOfBounds === true;
      return done(outside ? GNTST.generalError : GNTST.okay);
    });
  });
}

/** One half: reads `length` bytes, or writes `data`. */
function half(
  context: HypercallContext,
  side: Side,
  offset: number,
  length: number,
  data: Uint8Array | undefined,
  next: Next,
): HypercallResult {
  const { shard, domain, vcpu } = context;
  const owner = side.domid === DOMID.self ? domain.id : side.domid;
  if (!side.isRef) {
    const bytes = data ?? new Uint8Array(length);
    const status = moveFrame(domain, side.name, offset, bytes, data !== undefined);
    return next(status === GNTST.okay && data === undefined ? { status, data: { bytes } } : { status });
  }
  if (owner === 0) return next({ status: statusOfDom0(side.name) });
  const request = {
    kind: "grant-copy",
    owner,
    caller: domain.id,
    ref: side.name,
    offset,
    length,
    onward: true,
  } as const;
  const withData = data === undefined ? request : { ...request, data };
  return shard.grants.ask(vcpu, owner, withData, (answer) => {
    const via = answer.data?.via;
    if (answer.status !== GNTST.okay || via === undefined) return next(answer);
    // Granted by a third domain to this owner, who passes it on.
    if (via.domid === 0 || !shard.exists(via.domid)) return next({ status: GNTST.generalError });
    return shard.grants.ask(
      vcpu,
      via.domid,
      { ...withData, owner: via.domid, caller: owner, ref: via.ref, onward: false },
      next,
    );
  });
}
