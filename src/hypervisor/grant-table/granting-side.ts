/**
 * What the granting domain's shard does of a grant operation: it looks at the grant, pins it, and takes or puts references to the frame.
 *
 * The using domain may be here or on another shard; what it gets is plain data, and a handle to the granting domain's memory, of which it
 * reaches the one page (mm/foreign-frames.ts).
 */
import { GNTMAP, GNTST, GTF } from "../../abi/grant-table.ts";
import type { Domain } from "../domain.ts";
import { finishDestroy } from "../domain-control.ts";
import { takeFrames } from "../mm/reservation.ts";
import type { Shard } from "../shard.ts";
import type { AnswerData, GrantRequest } from "../shard-host.ts";
import { type ActiveEntry, hasWriters, isFull, PIN } from "./active-entries.ts";
import { copyGranted } from "./copy-granted.ts";
import type { EntryHeader } from "./shared-entries.ts";

/** A GNTST status, and what goes with GNTST.okay. */
export interface GrantAnswer {
  readonly status: number;
  readonly data?: AnswerData;
}

type Request<K extends GrantRequest["kind"]> = Extract<GrantRequest, { kind: K }>;

export function acceptGrantRequest(shard: Shard, request: GrantRequest): GrantAnswer {
  const owner = shard.domains.get(request.owner);
  if (owner === undefined) return { status: GNTST.badDomain };
  switch (request.kind) {
    case "grant-map":
      return owner.dying ? { status: GNTST.badDomain } : map(owner, request);
    case "grant-unmap":
      unmap(owner, request);
      finishDestroy(shard, owner);
      return { status: GNTST.okay };
    case "grant-put":
      owner.grants.putHold(request.caller, request.mfn, request.writable);
      finishDestroy(shard, owner);
      return { status: GNTST.okay };
    case "grant-copy":
      return owner.dying ? { status: GNTST.badDomain } : copyGranted(owner, request);
    case "grant-transfer":
      return { status: owner.dying ? GNTST.generalError : receive(owner, request) };
  }
}

/** Whether an entry lets `user` map the frame. */
const permitsMapping =
  (user: number) =>
  ({ flags, domid }: EntryHeader): boolean =>
    (flags & (GTF.typeMask | GTF.subPage)) === GTF.permitAccess && domid === user;

/** Version 2 lets a grant that is passed on by here too, although it grants no frame: what it names is looked at as a frame. */
const permitsMappingV2 =
  (user: number) =>
  ({ flags, domid }: EntryHeader): boolean => {
    const type = flags & (GTF.typeMask | GTF.subPage);
    return (type === GTF.permitAccess || type === GTF.transitive) && domid === user;
  };

/** The holds that a mapping takes: one for each part of it, and how. */
function* partsOf(flags: number): IterableIterator<{ pin: number; writable: boolean }> {
  const writable = (flags & GNTMAP.readonly) === 0;
  if ((flags & GNTMAP.deviceMap) !== 0) yield { pin: writable ? PIN.deviceWrite : PIN.deviceRead, writable };
  if ((flags & GNTMAP.hostMap) !== 0) yield { pin: writable ? PIN.hostWrite : PIN.hostRead, writable };
}

function map(owner: Domain, { caller, ref, flags }: Request<"grant-map">): GrantAnswer {
  const { grants, memory } = owner;
  const { entries, active } = grants;
  if (ref >= entries.count) return { status: GNTST.badGntref };
  const write = (flags & GNTMAP.readonly) === 0;
  const used = active.get(ref);
  const more = [...partsOf(flags)].reduce((sum, { pin }) => sum + pin, 0);
  if (used !== undefined && (used.domid !== caller || isFull(used.pin, more) || used.isSubPage)) {
    return { status: GNTST.generalError };
  }
  let entry = used;
  if (used === undefined || (write && !hasWriters(used.pin))) {
    const permits = entries.version === 1 ? permitsMapping(caller) : permitsMappingV2(caller);
    const marked = entries.markUsed(ref, write, used !== undefined, permits);
    if (marked !== GNTST.okay) return { status: marked };
  }
  if (entry === undefined) {
    const mfn = entries.frame(ref);
    // Held for a moment only: is it the domain's frame?
    if (!memory.getPage(mfn)) {
      grants.settle(ref, 0, write);
      return { status: GNTST.badPage };
    }
    memory.putPage(mfn);
    entry = { pin: 0, domid: caller, mfn, start: 0, length: 4096, isSubPage: false };
    active.set(ref, entry);
  }
  const taken: { pin: number; writable: boolean }[] = [];
  for (const part of partsOf(flags)) {
    if (!grants.hold(caller, entry.mfn, part.writable)) {
      for (const { writable } of taken) grants.putHold(caller, entry.mfn, writable);
      for (const { pin } of taken) entry.pin -= pin;
      grants.settle(ref, entry.pin, write);
      return { status: GNTST.generalError };
    }
    entry.pin += part.pin;
    taken.push(part);
  }
  return { status: GNTST.okay, data: frameOf(owner, entry) };
}

function frameOf({ memory }: Domain, { mfn }: ActiveEntry): AnswerData {
  return { frame: { mfn, start: memory.hostOffset(mfn) }, memory: memory.buffer };
}

/** The using domain has no use for the parts in `flags` any more; nor, with `puts`, for what their mappings hold. */
function unmap(owner: Domain, { caller, ref, mfn, flags, putsHost }: Request<"grant-unmap">): void {
  const { grants } = owner;
  for (const { pin, writable } of partsOf(flags)) {
    const isHost = pin === PIN.hostWrite || pin === PIN.hostRead;
    if (putsHost || !isHost) grants.putHold(caller, mfn, writable);
    // A domain that was lost has lost its pins already.
    if (grants.active.get(ref)?.domid === caller) grants.unpin(ref, pin, writable);
  }
}

/** A frame's content arrives by GNTTABOP_transfer: it goes into a new frame of this domain, whose number goes into the entry. */
function receive(to: Domain, { caller, ref, bytes }: Request<"grant-transfer">): number {
  const { memory, grants } = to;
  const { entries } = grants;
  if (memory.frames.ownPages >= memory.maxPages) return GNTST.generalError;
  if (ref >= entries.count || !commitTransfer(to, ref, caller)) return GNTST.generalError;
  const mfn = takeFrames(memory, 0);
  if (mfn < 0) return GNTST.generalError;
  memory.bytes.set(bytes, memory.hostOffset(mfn));
  memory.caches.invalidateCode(mfn);
  memory.m2p.set(mfn - memory.map.baseMfn, entries.frame(ref));
  entries.setFrame(ref, mfn);
  entries.addFlags(ref, GTF.transferCompleted);
  return GNTST.okay;
}

function commitTransfer({ grants }: Domain, ref: number, from: number): boolean {
  const { flags, domid } = grants.entries.header(ref);
  if (flags !== GTF.acceptTransfer || domid !== from) return false;
  grants.entries.addFlags(ref, GTF.transferCommitted);
  return true;
}
