/** Grant tables (xen/grant_table.h): shared entries of both versions, sub-operations and their arguments. */
import { array, i16, struct, u16, u32, u64, union } from "./struct.ts";

/** struct grant_entry_v1. */
export const GrantEntryV1 = struct({ flags: u16, domid: u16, frame: u32 });
/** struct grant_entry_header, the start of every v2 entry. */
export const GrantEntryHeader = struct({ flags: u16, domid: u16 });
/** union grant_entry_v2. */
export const GrantEntryV2 = union({
  hdr: GrantEntryHeader,
  fullPage: struct({ hdr: GrantEntryHeader, pad0: u32, frame: u64 }),
  subPage: struct({ hdr: GrantEntryHeader, pageOff: u16, length: u16, frame: u64 }),
  transitive: struct({ hdr: GrantEntryHeader, transDomid: u16, pad0: u16, gref: u32 }),
  spacer: array(u32, 4),
});

/** Entries the toolstack keeps for itself, from 0 on. */
export const GNTTAB_NR_RESERVED_ENTRIES = 8;
export const GNTTAB_RESERVED_CONSOLE = 0;
export const GNTTAB_RESERVED_XENSTORE = 1;

/** GTF_*: flags of an entry. */
export const GTF = {
  invalid: 0,
  permitAccess: 1,
  acceptTransfer: 2,
  transitive: 3,
  typeMask: 3,
  readonly: 1 << 2,
  reading: 1 << 3,
  writing: 1 << 4,
  pwt: 1 << 5,
  pcd: 1 << 6,
  pat: 1 << 7,
  subPage: 1 << 8,
  transferCommitted: 1 << 2,
  transferCompleted: 1 << 3,
} as const;

export const GNTTABOP = {
  mapGrantRef: 0,
  unmapGrantRef: 1,
  setupTable: 2,
  dumpTable: 3,
  transfer: 4,
  copy: 5,
  querySize: 6,
  unmapAndReplace: 7,
  setVersion: 8,
  getStatusFrames: 9,
  getVersion: 10,
  swapGrantRef: 11,
  cacheFlush: 12,
} as const;

/** GNTTABOP_map_grant_ref. IN hostAddr, flags (`GNTMAP`), ref, dom. OUT status (`GNTST`), handle, devBusAddr. */
export const MapGrantRef = struct({
  hostAddr: u64,
  flags: u32,
  ref: u32,
  dom: u16,
  status: i16,
  handle: u32,
  devBusAddr: u64,
});
/** GNTTABOP_unmap_grant_ref. IN hostAddr, devBusAddr, handle. OUT status. */
export const UnmapGrantRef = struct({ hostAddr: u64, devBusAddr: u64, handle: u32, status: i16 });
/** GNTTABOP_setup_table. IN dom, nrFrames, frameList. OUT status, and the list. */
export const SetupTable = struct({ dom: u16, nrFrames: u32, status: i16, frameList: u64 });
/** GNTTABOP_dump_table. */
export const DumpTable = struct({ dom: u16, status: i16 });
/** GNTTABOP_transfer. IN mfn, domid, ref. OUT status. */
export const GnttabTransfer = struct({ mfn: u64, domid: u16, ref: u32, status: i16 });
/** struct gnttab_copy_ptr: one end of a copy. */
export const GnttabCopyPtr = struct({ u: union({ ref: u32, gmfn: u64 }), domid: u16, offset: u16 });
/** GNTTABOP_copy. IN all but status. OUT status. */
export const GnttabCopy = struct({ source: GnttabCopyPtr, dest: GnttabCopyPtr, len: u16, flags: u16, status: i16 });
export const GNTCOPY = { sourceGref: 1, destGref: 2 } as const;
/** GNTTABOP_query_size. IN dom. OUT nrFrames, maxNrFrames, status. */
export const QuerySize = struct({ dom: u16, nrFrames: u32, maxNrFrames: u32, status: i16 });
/** GNTTABOP_unmap_and_replace. IN hostAddr, newAddr, handle. OUT status. */
export const UnmapAndReplace = struct({ hostAddr: u64, newAddr: u64, handle: u32, status: i16 });
/** GNTTABOP_set_version. IN and OUT version. */
export const GnttabSetVersion = struct({ version: u32 });
/** GNTTABOP_get_status_frames. IN nrFrames, dom, frameList. OUT status, and the list. */
export const GetStatusFrames = struct({ nrFrames: u32, dom: u16, status: i16, frameList: u64 });
/** GNTTABOP_get_version. IN dom. OUT version. */
export const GnttabGetVersion = struct({ dom: u16, pad: u16, version: u32 });
/** GNTTABOP_swap_grant_ref. IN refA, refB. OUT status. */
export const SwapGrantRef = struct({ refA: u32, refB: u32, status: i16 });
/** GNTTABOP_cache_flush. IN all; op is of `GNTTAB_CACHE`. */
export const CacheFlush = struct({ a: union({ devBusAddr: u64, ref: u32 }), offset: u16, length: u16, op: u32 });

/** GNTTAB_CACHE_*. */
export const GNTTAB_CACHE = { clean: 1, invalidate: 2 } as const;

/** GNTMAP_*: flags of map_grant_ref. */
export const GNTMAP = {
  deviceMap: 1 << 0,
  hostMap: 1 << 1,
  readonly: 1 << 2,
  applicationMap: 1 << 3,
  containsPte: 1 << 4,
  guestAvail0Bit: 16,
} as const;

/** GNTST_*: the status member of most grant operations. */
export const GNTST = {
  okay: 0,
  generalError: -1,
  badDomain: -2,
  badGntref: -3,
  badHandle: -4,
  badVirtAddr: -5,
  badDevAddr: -6,
  noDeviceSpace: -7,
  permissionDenied: -8,
  badPage: -9,
  badCopyArg: -10,
  addressTooBig: -11,
  eagain: -12,
  noSpace: -13,
} as const;
