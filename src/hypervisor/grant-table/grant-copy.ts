/**
 * GNTTABOP_copy: bytes from one frame to another, each named by its owner's frame number or by a grant. Where a frame belongs to a
 * domain of another shard, that shard does its half and the caller is parked meanwhile.
 */
import { GNTCOPY, GNTST, GnttabCopy } from "../../abi/grant-table.ts";
import { DOMID } from "../../abi/xen.ts";
import type { Domain } from "../domain.ts";
import type { HypercallContext } from "../hypercall/table.ts";
import { PAGE_SIZE } from "../mm/memory-map.ts";
import type { Shard } from "../shard.ts";
import type { ShardRequest } from "../shard-host.ts";

/** One side of a copy. */
interface Side {
  readonly domid: number;
  readonly offset: number;
  readonly isRef: boolean;
  /** Grant reference, or frame. */
  readonly name: number;
}

/** Where the copy is left when another shard has to do its half. */
export interface AwayCopy {
  readonly shard: number;
  readonly domid: number;
  readonly request: ShardRequest;
  /** Finishes the copy with the other shard's answer: the GNTST status. */
  readonly finish: (status: number, data?: Uint8Array) => number;
}

type CopyRequest = Extract<ShardRequest, { kind: "grant-copy" }>;

function side(arg: DataView, which: "source" | "dest", isRef: boolean, caller: Domain): Side {
  const pointer = GnttabCopy[which];
  const domid = pointer.domid.get(arg, 0);
  return {
    domid: domid === DOMID.self ? caller.id : domid,
    offset: pointer.offset.get(arg, 0),
    isRef,
    name: isRef ? pointer.u.ref.get(arg, 0) : pointer.u.gmfn.number(arg, 0),
  };
}

/** One copy: its GNTST status, or what is left to do. */
export function grantCopy({ shard, domain }: HypercallContext, arg: DataView): number | AwayCopy {
  const flags = GnttabCopy.flags.get(arg, 0);
  const source = side(arg, "source", (flags & GNTCOPY.sourceGref) !== 0, domain);
  const dest = side(arg, "dest", (flags & GNTCOPY.destGref) !== 0, domain);
  const length = GnttabCopy.len.get(arg, 0);
  if (source.offset + length > PAGE_SIZE || dest.offset + length > PAGE_SIZE) return GNTST.badCopyArg;
  for (const end of [source, dest]) {
    // Only grants reach into other domains.
    if (!end.isRef && end.domid !== domain.id) return GNTST.permissionDenied;
    if (shard.shardOf(end.domid) === undefined) return GNTST.badDomain;
    // Domain 0 is the service itself, and grants nothing.
    if (end.domid === 0) return GNTST.badGntref;
  }
  const sourceAway = shard.shardOf(source.domid)! !== shard.id;
  const destAway = shard.shardOf(dest.domid)! !== shard.id;
  if (sourceAway && destAway) return GNTST.generalError;
  const data = new Uint8Array(length);
  if (sourceAway) {
    return away(shard, domain, source, length, undefined, (status, bytes) =>
      status === GNTST.okay && bytes?.length === length ? copyHere(shard, domain.id, dest, bytes, true) : status,
    );
  }
  const read = copyHere(shard, domain.id, source, data, false);
  if (read !== GNTST.okay) return read;
  if (destAway) return away(shard, domain, dest, length, data, (status) => status);
  return copyHere(shard, domain.id, dest, data, true);
}

/** The half of a copy that another shard asks for. */
export function acceptGrantCopy(shard: Shard, request: CopyRequest): { status: number; data?: Uint8Array } {
  const { owner, caller, ref, offset, length, data } = request;
  const end: Side = { domid: owner, offset, isRef: true, name: ref };
  if (data !== undefined) return { status: copyHere(shard, caller, end, data, true) };
  const bytes = new Uint8Array(length);
  const status = copyHere(shard, caller, end, bytes, false);
  return status === GNTST.okay ? { status, data: bytes } : { status };
}

function away(
  shard: Shard,
  caller: Domain,
  end: Side,
  length: number,
  data: Uint8Array | undefined,
  finish: AwayCopy["finish"],
): AwayCopy {
  const where = { owner: end.domid, caller: caller.id, ref: end.name, offset: end.offset, length };
  const request: ShardRequest = { kind: "grant-copy", ...where, ...(data === undefined ? {} : { data }) };
  return { shard: shard.shardOf(end.domid)!, domid: end.domid, request, finish };
}

function copyHere(shard: Shard, caller: number, end: Side, bytes: Uint8Array, write: boolean): number {
  const owner = shard.domains.get(end.domid);
  if (owner === undefined || owner.dying) return GNTST.badDomain;
  let mfn = end.name;
  if (end.isRef) {
    const granted = owner.grants.lookUp(end.name, caller);
    if (typeof granted === "number") return granted;
    if (write && granted.readonly) return GNTST.generalError;
    mfn = granted.mfn;
  }
  return owner.grants.copyFrame(mfn, end.offset, bytes, write);
}
