/**
 * Where every frame of a domain stands.
 *
 * A domain has one linear memory: the engine's bytes first, then machine frames, contiguous from `BASE_MFN`:
 *
 *     mfn  baseMfn            heapMfn              m2pMfn             aliasMfn         aliasMfn + aliasFrames
 *          | own RAM, spares  | Xen heap           | M2P              | alias frames   |
 *     byte ramOffset          ...                                     <= bytes (none)
 *
 * Alias frames have no memory here: they stand for granted frames of other domains (foreign-frames.ts).
 *
 * Machine frame numbers are private to the domain. Frames below `BASE_MFN` exist in the guest's eyes (they belong to
 * someone else, or are MMIO) but never in its memory. The layout depends on `maxPages`, never on `pages`: a clone or a
 * restored domain with the same maximum has the same map.
 */

/** The first frame of every domain. Not 0, so that a pfn taken for an mfn is noticed. */
export const BASE_MFN = 0x10000;
export const PAGE_SIZE = 4096;
/** The first megabyte, with the legacy MMIO hole from 0xa0, is I/O memory in Xen's eyes. */
export const MMIO_END_MFN = 0x100;

/** Own frames beyond the maximum reservation: what an exchange of one superpage needs while both halves exist. */
export const SPARE_FRAMES = 512;
/** Grant frames of a domain at most (Xen's default for max_grant_frames). */
export const MAX_GRANT_FRAMES = 64;
/** Status frames that go with them: 2 bytes for each 16-byte version 2 entry. */
export const MAX_GRANT_STATUS_FRAMES = MAX_GRANT_FRAMES / 8;
/** Heap frames that no one has a claim on yet: for structures the hypervisor shares with the guest later. */
const UNCLAIMED_HEAP_FRAMES = 16;

/** Handles of maptrack that a domain has at most (Xen's default for max_maptrack_frames, of 256 handles each). */
export const MAX_MAPTRACK_FRAMES = 1024;
export const MAPTRACK_PER_FRAME = 256;

const M2P_ENTRIES_PER_FRAME = PAGE_SIZE / 8;
const FRAMES_PER_TABLE = 512;
const WASM_PAGE = 65536;
/** A 32-bit WebAssembly memory. */
const MAX_MEMORY_BYTES = 65536 * WASM_PAGE;

/** Plain numbers; survives a structured clone. Frame counts are in 4 KiB frames, offsets and sizes in bytes. */
export interface MemoryMap {
  readonly baseMfn: number;
  /** Frames of the initial reservation: pfn i is mfn baseMfn + i at boot. */
  readonly pages: number;
  /** Ceiling of the reservation at build time. */
  readonly maxPages: number;
  readonly vcpus: number;
  /** RAM frames, spares included: [baseMfn, baseMfn + ownFrames). */
  readonly ownFrames: number;
  /** Xen heap: [heapMfn, heapMfn + heapFrames). */
  readonly heapMfn: number;
  readonly heapFrames: number;
  /** The frames of the machine-to-physical table: entries for [baseMfn, baseMfn + totalFrames). */
  readonly m2pMfn: number;
  readonly m2pFrames: number;
  /** Every frame that has memory: [baseMfn, baseMfn + totalFrames). */
  readonly totalFrames: number;
  /** Numbers for frames of other domains, one for each handle that can be: [aliasMfn, aliasMfn + aliasFrames). */
  readonly aliasMfn: number;
  readonly aliasFrames: number;
  /** Byte offset of frame baseMfn. */
  readonly ramOffset: number;
  /** Size of the linear memory: a multiple of 64 KiB, initial = maximum. */
  readonly bytes: number;
  /** The same in WebAssembly pages, as `WebAssembly.Memory` wants it. */
  readonly wasmPages: number;
}

export interface MemoryMapRequest {
  /** Initial reservation in frames, at least 1. */
  readonly pages: number;
  /** Maximum reservation in frames; at least `pages`. */
  readonly maxPages: number;
  readonly vcpus: number;
  /** What the engine needs at the bottom for that many vCPUs (`engineBytes(vcpus)`). */
  readonly engineBytes: number;
}

/** L1 tables of the M2P that the heap has room for. */
const M2P_TABLES = 7;
/** L1 tables of the M2P for a given end of memory. One maps 2 MiB of table, which is 1 GiB of machine memory. */
function m2pTables(endMfn: number): number {
  return Math.ceil(endMfn / (M2P_ENTRIES_PER_FRAME * FRAMES_PER_TABLE));
}

function layout({ pages, maxPages, vcpus, engineBytes }: MemoryMapRequest): MemoryMap {
  const ownFrames = maxPages + SPARE_FRAMES;
  const heapMfn = BASE_MFN + ownFrames;
  // shared_info, the invalid M2P page, two L3s and one L2 of the M2P, and its L1s.
  const heapFrames = 5 + M2P_TABLES + MAX_GRANT_FRAMES + MAX_GRANT_STATUS_FRAMES + UNCLAIMED_HEAP_FRAMES;
  const m2pMfn = heapMfn + heapFrames;
  const before = ownFrames + heapFrames;
  // The table has entries for its own frames too: each of them describes 512, so one round of correction settles it.
  let m2pFrames = Math.ceil(before / M2P_ENTRIES_PER_FRAME);
  while (m2pFrames * M2P_ENTRIES_PER_FRAME < before + m2pFrames) m2pFrames++;
  const totalFrames = before + m2pFrames;
  const ramOffset = Math.ceil(engineBytes / WASM_PAGE) * WASM_PAGE;
  const wasmPages = Math.ceil((ramOffset + totalFrames * PAGE_SIZE) / WASM_PAGE);
  return {
    baseMfn: BASE_MFN,
    pages,
    maxPages,
    vcpus,
    ownFrames,
    heapMfn,
    heapFrames,
    m2pMfn,
    m2pFrames,
    totalFrames,
    aliasMfn: BASE_MFN + totalFrames,
    aliasFrames: MAX_MAPTRACK_FRAMES * MAPTRACK_PER_FRAME,
    ramOffset,
    bytes: wasmPages * WASM_PAGE,
    wasmPages,
  };
}

/**
 * The map of a domain. Throws RangeError on what a caller should have refused: no pages, a maximum below the
 * reservation, or more than one linear memory can hold (`largestMaxPages`).
 */
export function memoryMap(request: MemoryMapRequest): MemoryMap {
  const { pages, maxPages, vcpus } = request;
  if (!Number.isInteger(pages) || pages < 1) throw new RangeError(`a domain needs at least one page, not ${pages}`);
  if (!Number.isInteger(maxPages) || maxPages < pages) {
    throw new RangeError(`maxPages ${maxPages} is below the ${pages} pages of the reservation`);
  }
  if (!Number.isInteger(vcpus) || vcpus < 1) throw new RangeError(`a domain needs at least one vCPU, not ${vcpus}`);
  const map = layout(request);
  if (map.bytes > MAX_MEMORY_BYTES || m2pTables(map.aliasMfn + map.aliasFrames) > M2P_TABLES) {
    throw new RangeError(`${maxPages} pages do not fit one linear memory of 4 GiB`);
  }
  return map;
}

/** The largest `maxPages` that `memoryMap` takes with that many engine bytes. */
export function largestMaxPages(engineBytes: number): number {
  const fixed = layout({ pages: 1, maxPages: 1, vcpus: 1, engineBytes });
  let pages = Math.floor((MAX_MEMORY_BYTES - fixed.ramOffset) / PAGE_SIZE) - fixed.totalFrames;
  while (pages > 1 && layout({ pages: 1, maxPages: pages, vcpus: 1, engineBytes }).bytes > MAX_MEMORY_BYTES) pages--;
  return Math.max(1, pages);
}
