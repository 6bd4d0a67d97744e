/** What a suspended domain is made of, for those who keep it in files: the hypervisor's own description, and the map of its memory. */
import type { SavedDomain } from "../hypervisor/suspend/saved-domain.ts";

export type { SavedDomain, SavedVcpu } from "../hypervisor/suspend/saved-domain.ts";
export { FRAME_OWNED } from "../hypervisor/suspend/saved-domain.ts";

/** What the memory map of a domain is made of, and whose suspended state it is. */
export interface SuspendedHead {
  readonly uuid: string;
  readonly pages: number;
  readonly maxPages: number;
  readonly vcpus: number;
}

/** Frames stand one after the other from byte `ramOffset`; `ownFrames` of them are RAM. */
export interface GuestRamPlace {
  readonly memory: { readonly buffer: ArrayBufferLike };
  readonly ramOffset: number;
  readonly ownFrames: number;
}

export interface SaveJob extends GuestRamPlace {
  readonly path: string;
  readonly uuid: string;
  readonly state: SavedDomain;
  /** What was typed into its console and is not in its ring. */
  readonly typed: Uint8Array;
}

export interface LoadJob extends GuestRamPlace {
  readonly path: string;
}

/** What a file gave. */
export interface LoadedDomain extends SavedDomain {
  readonly uuid: string;
  readonly typed: Uint8Array;
}

export interface SavedFile {
  readonly bytes: number;
  /** Frames that are in the file: those of the domain that are not zero. */
  readonly frames: number;
}
