/** The granting domain's half of a copy: one grant, or one of its own frames, read or written. */
import { GNTST, GTF } from "../../abi/grant-table.ts";
import type { Domain } from "../domain.ts";
import { PageType } from "../mm/frame-table.ts";
import { PAGE_SIZE } from "../mm/memory-map.ts";
import type { GrantRequest } from "../shard-host.ts";
import { hasWriters, isFull, PIN } from "./active-entries.ts";
import type { GrantAnswer } from "./granting-side.ts";
import type { EntryHeader } from "./shared-entries.ts";

type CopyRequest = Extract<GrantRequest, { kind: "grant-copy" }>;

/** The bytes of a frame that a grant gives access to. */
interface Part {
  readonly mfn: number;
  readonly start: number;
  readonly length: number;
}

/** Version 1 knows no parts of pages and nothing passed on: those bits of the flags mean nothing there. */
const permitsCopy =
  (user: number, version: number) =>
  ({ flags, domid }: EntryHeader): boolean => {
    const type = flags & GTF.typeMask;
    return domid === user && (type === GTF.permitAccess || (version === 2 && type === GTF.transitive));
  };

/** `data` of the answer has the bytes read; or that they are out of the grant's bounds; or which grant of a third domain to use instead. */
export function copyGranted(owner: Domain, request: CopyRequest): GrantAnswer {
  const { caller, ref, offset, length, data, onward } = request;
  const { grants } = owner;
  const { entries, active } = grants;
  const write = data !== undefined;
  if (ref >= entries.count) return { status: GNTST.badGntref };
  const used = active.get(ref);
  if (used !== undefined && (used.domid !== caller || isFull(used.pin, write ? PIN.hostWrite : PIN.hostRead)))
    return { status: GNTST.generalError };
  const pin = used?.pin ?? 0;
  let part: Part | undefined = used;
  if (used === undefined || (write && !hasWriters(pin))) {
    const marked = entries.markUsed(ref, write, used !== undefined, permitsCopy(caller, entries.version));
    if (marked !== GNTST.okay) return { status: marked };
    // From here on the use is over when this returns: nothing else of this domain runs meanwhile.
    try {
      const { flags } = entries.header(ref);
      if (entries.version === 2 && (flags & GTF.typeMask) === GTF.transitive) {
        const via = entries.transitive(ref);
        if (!onward || used !== undefined || via.domid === owner.id) return { status: GNTST.generalError };
        return { status: GNTST.okay, data: { via } };
      }
      part ??= granted(owner, ref, flags);
      return move(owner, part, offset, length, data);
    } finally {
      grants.settle(ref, pin, write);
    }
  }
  return move(owner, used, offset, length, data);
}

function granted({ grants: { entries } }: Domain, ref: number, flags: number): Part {
  const mfn = entries.frame(ref);
  if (entries.version === 1 || (flags & GTF.subPage) === 0) return { mfn, start: 0, length: PAGE_SIZE };
  const { offset, length } = entries.subPage(ref);
  return { mfn, start: offset, length };
}

function move(owner: Domain, part: Part, offset: number, length: number, data: Uint8Array | undefined): GrantAnswer {
  const inBounds = offset >= part.start && offset + length <= part.start + part.length;
  // A copy of nothing, to see whether the grant may be used, is within any bounds.
  const bytes = !inBounds ? new Uint8Array(0) : (data ?? new Uint8Array(length));
  const status = moveFrame(owner, part.mfn, offset, bytes, data !== undefined);
  if (status !== GNTST.okay || (inBounds && data !== undefined)) return { status };
  return { status, data: inBounds || length === 0 ? { bytes } : { outOfBounds: true } };
}

/**
 * Copies between a frame of the domain and `bytes`. A GNTST status: the frame has to be the domain's, and for writing neither a page table
 * nor a descriptor page.
 */
export function moveFrame({ memory }: Domain, mfn: number, offset: number, bytes: Uint8Array, write: boolean): number {
  if (memory.frames.indexOfMfn(mfn) < 0 || !memory.getPage(mfn)) return GNTST.badPage;
  let status: number = GNTST.okay;
  const start = memory.hostOffset(mfn) + offset;
  if (!write) {
    bytes.set(memory.bytes.subarray(start, start + bytes.length));
  } else if (memory.getPageAndType(mfn, PageType.writable) === 0) {
    memory.bytes.set(bytes, start);
    memory.caches.invalidateCode(mfn);
    memory.putPageAndType(mfn);
  } else {
    status = GNTST.generalError;
  }
  memory.putPage(mfn);
  return status;
}
