/**
 * The reservation: frames that a domain takes from its spares and gives back (ballooning), and exchanges for others.
 *
 * Frames come zeroed, and go scrubbed when their last reference goes: a frame that is still mapped somewhere stays the domain's
 * until then, its pfn in the machine-to-physical table too.
 */
import { Errno } from "../../abi/errno.ts";
import type { DomainMemory } from "./domain-memory.ts";
import { ALLOCATED, ORDERS, PARTIAL, REF_COUNT, TYPE_COUNT, XEN_HEAP } from "./frame-table.ts";

/** Largest order of an extent that an unprivileged domain may ask for: 2 MiB. */
export const MAX_EXTENT_ORDER = ORDERS - 1;

/** First mfn of `1 << order` contiguous new frames; -1 when the ceiling or the spares do not allow it. */
export function takeFrames(memory: DomainMemory, order: number): number {
  const { frames, map } = memory;
  if (frames.ownPages + (1 << order) > memory.maxPages) {
    const text = `${1 << order} more frames would exceed the reservation's maximum of ${memory.maxPages}`;
    memory.why.argument("reservation", frames.ownPages, text);
    return -1;
  }
  const index = frames.allocate(order);
  if (index < 0) {
    memory.why.argument("reservation", 0, `no ${1 << order} contiguous frames are left`);
    return -1;
  }
  return index + map.baseMfn;
}

/** Gives a frame back: its owner's reference goes, and a pin stays, as on Xen. False when it is not the domain's, or of the Xen heap. */
export function giveFrame(memory: DomainMemory, mfn: number): boolean {
  const { frames } = memory;
  const index = frames.indexOfMfn(mfn);
  if ((frames.refInfo[index]! & XEN_HEAP) !== 0 || !frames.getPage(index)) {
    memory.why.foreign("foreign-frame", mfn, "", "a decrease of the reservation");
    return false;
  }
  frames.putAllocated(index);
  frames.putPage(index);
  return true;
}

/** Whether a frame (its index, or -1) has no use and no reference but its owner's. */
export function unused(memory: DomainMemory, index: number): boolean {
  const { frames } = memory;
  return (
    frames.owned(index) &&
    (frames.refInfo[index]! & (REF_COUNT | ALLOCATED | XEN_HEAP)) === (ALLOCATED | 1) &&
    (frames.typeInfo[index]! & (TYPE_COUNT | PARTIAL)) === 0
  );
}

/**
 * Exchanges frames that nothing uses (mfns in `give`, each once) for `count` extents of `1 << order` new contiguous frames. The
 * first mfn of each extent, -EINVAL for a frame that is in use or not the domain's, or -ENOMEM; then nothing has changed.
 */
export function exchangeFrames(
  memory: DomainMemory,
  give: readonly number[],
  count: number,
  order: number,
): readonly number[] | number {
  const { frames, map } = memory;
  const seen = new Set<number>();
  for (const mfn of give) {
    if (!unused(memory, frames.indexOfMfn(mfn)) || seen.has(mfn)) {
      memory.why.argument(
        "reservation",
        mfn,
        `frame 0x${mfn.toString(16)} is in use, or not the domain's, and cannot be exchanged`,
      );
      return -Errno.EINVAL;
    }
    seen.add(mfn);
  }
  const taken: number[] = [];
  for (let i = 0; i < count; i++) {
    const index = frames.allocate(order);
    if (index < 0) {
      for (const mfn of taken) for (let j = 0; j < 1 << order; j++) frames.putAllocated(mfn - map.baseMfn + j);
      return -Errno.ENOMEM;
    }
    taken.push(index + map.baseMfn);
  }
  for (const mfn of give) frames.putAllocated(mfn - map.baseMfn);
  return taken;
}
