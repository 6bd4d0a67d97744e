/**
 * Maptrack: a handle for each grant that a domain has mapped.
 *
 * Each vCPU has handles of its own, frames of 256 that are handed out in order and come back behind the others. The last one of a vCPU's
 * list is never handed out while new frames can be had (as on Xen, where it is the list's end); when they cannot, other vCPUs' are taken.
 */
import { MAPTRACK_PER_FRAME, MAX_MAPTRACK_FRAMES } from "../mm/memory-map.ts";

/** A grant that is mapped. */
export interface Mapping {
  /** The granting domain, the shard it lives on, its reference, and its own number for the frame. */
  readonly domid: number;
  readonly shard: number;
  readonly ref: number;
  readonly ownerMfn: number;
  /** The frame as the mapping domain sees it. */
  readonly mfn: number;
  /** GNTMAP: how it was mapped; `hostMap` and `deviceMap` go as those parts are unmapped. */
  flags: number;
  /** Nothing is left of the granting domain, and its domid may be another's by now: the handle is good for nothing. */
  ownerGone: boolean;
}

export class Maptrack {
  readonly #free = new Map<number, number[]>();
  /** Whose list a handle goes back to, by frame. */
  readonly #vcpuOfFrame: number[] = [];
  readonly #mappings = new Map<number, Mapping>();

  /** A handle for a mapping that the vCPU makes; undefined when there are none. Set it, or put it back. */
  take(vcpu: number): number | undefined {
    const own = this.#free.get(vcpu);
    if (own !== undefined && own.length > 1) return own.shift();
    if (this.#vcpuOfFrame.length < MAX_MAPTRACK_FRAMES) {
      const first = this.#vcpuOfFrame.length * MAPTRACK_PER_FRAME;
      this.#vcpuOfFrame.push(vcpu);
      const rest = Array.from({ length: MAPTRACK_PER_FRAME - 1 }, (_, i) => first + 1 + i);
      this.#free.set(vcpu, [...rest, ...(own ?? [])]);
      return first;
    }
    for (const list of this.#free.values()) if (list.length > 1) return list.shift();
    return undefined;
  }

  put(handle: number): void {
    this.#mappings.delete(handle);
    this.#free.get(this.#vcpuOfFrame[Math.floor(handle / MAPTRACK_PER_FRAME)]!)!.push(handle);
  }

  set(handle: number, mapping: Mapping): void {
    this.#mappings.set(handle, mapping);
  }

  get(handle: number): Mapping | undefined {
    return this.#mappings.get(handle);
  }

  all(): IterableIterator<[handle: number, mapping: Mapping]> {
    return this.#mappings.entries();
  }
}
