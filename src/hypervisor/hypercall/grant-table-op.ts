/**
 * HYPERVISOR_grant_table_op (xen/grant_table.h): (cmd, array of arguments, count). Most failures are a GNTST status in the
 * argument, with 0 as the call's own result.
 */
import { Errno } from "../../abi/errno.ts";
import {
  CacheFlush,
  GetStatusFrames,
  GNTST,
  GNTTAB_CACHE,
  GNTTABOP,
  GnttabCopy,
  GnttabGetVersion,
  GnttabSetVersion,
  GnttabTransfer,
  MapGrantRef,
  QuerySize,
  SetupTable,
  SwapGrantRef,
  UnmapAndReplace,
  UnmapGrantRef,
} from "../../abi/grant-table.ts";
import { resolveDomid } from "../event-channel/interdomain.ts";
import { grantCopy } from "../grant-table/grant-copy.ts";
import { mapGrantRef, unmapGrant } from "../grant-table/grant-map.ts";
import { grantTransfer } from "../grant-table/grant-transfer.ts";
import { accessOk } from "../mm/guest-memory.ts";
import { MAX_GRANT_FRAMES, PAGE_SIZE } from "../mm/memory-map.ts";
import type { HypercallArgs } from "./arguments.ts";
import { Continuation, type HypercallResult } from "./result.ts";
import {
  type HypercallContext,
  type HypercallHandler,
  type HypercallRow,
  plainSubop,
  type Subop,
  type SubopHandler,
  subopOut,
  subopRow,
} from "./table.ts";

/** Array elements in one go. */
const BATCH = 256;
/** Bits of `cmd` above the sub-operation: where a cache_flush goes on, and nobody else's. */
const CMD_MASK = 0xfff;

/** Those that look at the count before they read their argument. */
const COUNTED: readonly number[] = [GNTTABOP.setupTable, GNTTABOP.querySize, GNTTABOP.getStatusFrames];

/** A sub-operation on one argument, not an array: any other count is -EINVAL. */
const single =
  (run: SubopHandler): SubopHandler =>
  (context, arg, args) =>
    args.u32(2) === 1 ? run(context, arg, args) : -Errno.EINVAL;

/** Whose table is meant: 0, or the GNTST status for someone else's. */
function ownTable({ shard, domain }: HypercallContext, domid: number): number {
  if (resolveDomid(domain, domid) === domain.id) return GNTST.okay;
  return shard.exists(domid) ? GNTST.permissionDenied : GNTST.badDomain;
}

/** Writes frame numbers to a guest's list. A GNTST status. */
function giveFrames({ domain, vcpu }: HypercallContext, list: number, frames: readonly number[]): number {
  let status: number = GNTST.okay;
  for (const [i, mfn] of frames.entries()) {
    if (!domain.memory.writeU64(vcpu.id, list + i * 8, mfn)) status = GNTST.badVirtAddr;
  }
  return status;
}

const setupTable = single((context, arg) => {
  const { grants } = context.domain;
  const count = SetupTable.nrFrames.get(arg, 0);
  const list = SetupTable.frameList.signed(arg, 0);
  if (count > 0 && !accessOk(list)) return -Errno.EFAULT;
  let status = ownTable(context, SetupTable.dom.get(arg, 0));
  if (status === GNTST.okay && !grants.grow(count)) status = GNTST.generalError;
  if (status === GNTST.okay) status = giveFrames(context, list, grants.frames.slice(0, count));
  SetupTable.status.set(arg, 0, status);
  return 0;
});

const getStatusFrames = single((context, arg) => {
  const { statusFrames } = context.domain.grants;
  const count = GetStatusFrames.nrFrames.get(arg, 0);
  const list = GetStatusFrames.frameList.signed(arg, 0);
  let status = ownTable(context, GetStatusFrames.dom.get(arg, 0));
  // Version 1 has none.
  if (status === GNTST.okay && count > statusFrames.length) status = GNTST.generalError;
  if (status === GNTST.okay) status = giveFrames(context, list, statusFrames.slice(0, count));
  GetStatusFrames.status.set(arg, 0, status);
  return 0;
});

const querySize = single((context, arg) => {
  const { domain } = context;
  const status = ownTable(context, QuerySize.dom.get(arg, 0));
  QuerySize.status.set(arg, 0, status);
  if (status === GNTST.okay) {
    QuerySize.nrFrames.set(arg, 0, domain.grants.frames.length);
    QuerySize.maxNrFrames.set(arg, 0, MAX_GRANT_FRAMES);
  }
  return 0;
});

/** The version that is in force goes back whatever comes of it. */
const setVersion: SubopHandler = ({ domain }, arg) => {
  const { grants } = domain;
  const version = GnttabSetVersion.version.get(arg, 0);
  const rc = version === 1 || version === 2 ? grants.setVersion(version) : -Errno.EINVAL;
  GnttabSetVersion.version.set(arg, 0, grants.version);
  return rc;
};

const getVersion: SubopHandler = ({ shard, domain }, arg) => {
  const domid = resolveDomid(domain, GnttabGetVersion.dom.get(arg, 0));
  if (domid !== domain.id) return shard.exists(domid) ? -Errno.EPERM : -Errno.ESRCH;
  GnttabGetVersion.version.set(arg, 0, domain.grants.version);
  return 0;
};

/** What an element's operation gives: its own status, or the call's result at once. */
type Each = (context: HypercallContext, arg: DataView, done: (status: number) => HypercallResult) => HypercallResult;

interface ArrayOf {
  readonly size: number;
  readonly status: { readonly offset: number; set(view: DataView, base: number, value: number): void };
}

/** Runs `each` over the array; `each` answers the GNTST status that goes into the element, or parks. */
function overArray({ size, status }: ArrayOf, each: Each, whole = false): HypercallHandler {
  return (context: HypercallContext, args: HypercallArgs): HypercallResult => {
    const { domain, vcpu } = context;
    const op = args.u32(0);
    const list = args.va(1);
    const count = args.u32(2);
    if (!accessOk(list)) return -Errno.EFAULT;
    for (let i = 0; i < count; i++) {
      const at = list + i * size;
      if (i === BATCH) return new Continuation([op, at, count - i]);
      const bytes = new Uint8Array(size);
      const arg = new DataView(bytes.buffer);
      if (!domain.memory.copyFromGuest(vcpu.id, at, bytes)) return -Errno.EFAULT;
      let parkedHere = false;
      const result = each(context, arg, (value) => {
        status.set(arg, 0, value);
        // Only map_grant_ref gives more back than the status.
        const out = whole ? bytes : bytes.subarray(status.offset, status.offset + 2);
        if (!domain.memory.copyToGuest(vcpu.id, whole ? at : at + status.offset, out)) return -Errno.EFAULT;
        return parkedHere && i + 1 < count ? new Continuation([op, at + size, count - i - 1]) : 0;
      });
      if (typeof result === "symbol") {
        parkedHere = true;
        return result;
      }
      if (result !== 0) return result;
    }
    return 0;
  };
}

const unmapGrantRef: Each = (context, arg, done) => {
  const { hostAddr, devBusAddr, handle } = UnmapGrantRef;
  const machine = hostAddr.number(arg, 0);
  const bus = devBusAddr.number(arg, 0);
  const host = machine === 0 ? undefined : { va: hostAddr.signed(arg, 0), machine };
  return unmapGrant(context, { handle: handle.get(arg, 0), host, bus: bus === 0 ? undefined : bus }, done);
};

const unmapAndReplace: Each = (context, arg, done) => {
  const { hostAddr, newAddr, handle } = UnmapAndReplace;
  const machine = hostAddr.number(arg, 0);
  const va = newAddr.signed(arg, 0);
  const host = machine === 0 ? undefined : { va: hostAddr.signed(arg, 0), machine };
  return unmapGrant(context, { handle: handle.get(arg, 0), host, replacement: va === 0 ? undefined : va }, done);
};

const swap: Each = ({ domain }, arg, done) =>
  done(domain.grants.swap(SwapGrantRef.refA.get(arg, 0), SwapGrantRef.refB.get(arg, 0)));

/**
 * Caches are coherent here: nothing is flushed, but who may ask is looked at. One's own frames, and those that are granted. Dropping what is
 * in a cache without writing it back is not to be had.
 */
const cacheFlush: HypercallHandler = ({ domain, vcpu }, args) => {
  const { memory } = domain;
  const list = args.va(1);
  const count = args.u32(2);
  const bytes = new Uint8Array(CacheFlush.size);
  const arg = new DataView(bytes.buffer);
  if (!accessOk(list)) return -Errno.EFAULT;
  for (let i = 0; i < count; i++) {
    if (i === BATCH) return new Continuation([args.u32(0), list + i * bytes.length, count - i]);
    if (!memory.copyFromGuest(vcpu.id, list + i * bytes.length, bytes)) return -Errno.EFAULT;
    const offset = CacheFlush.offset.get(arg, 0);
    const length = CacheFlush.length.get(arg, 0);
    const op = CacheFlush.op.get(arg, 0);
    const known = (op & ~(GNTTAB_CACHE.invalidate | GNTTAB_CACHE.clean)) === 0;
    if (offset >= PAGE_SIZE || length > PAGE_SIZE || offset + length > PAGE_SIZE || !known) return -Errno.EINVAL;
    if (length === 0 || op === 0) continue;
    const mfn = Math.floor(CacheFlush.a.devBusAddr.number(arg, 0) / PAGE_SIZE);
    const index = memory.frames.indexOfMfn(mfn);
    if (index >= 0 ? !memory.frames.owned(index) : memory.foreign.get(mfn) === undefined) {
      return memory.frames.foreignKind(mfn) === "no-such-frame" ? -Errno.EINVAL : -Errno.EPERM;
    }
    if (op === GNTTAB_CACHE.invalidate) return -Errno.EOPNOTSUPP;
  }
  return 0;
};

/** An array's size and status member, by its struct. */
const array = (name: string, struct: ArrayOf, each: Each, whole = false): Subop =>
  plainSubop(name, overArray(struct, each, whole));

const rows = new Map<number, Subop>([
  [GNTTABOP.mapGrantRef, array("map_grant_ref", MapGrantRef, mapGrantRef, true)],
  [GNTTABOP.unmapGrantRef, array("unmap_grant_ref", UnmapGrantRef, unmapGrantRef)],
  [GNTTABOP.unmapAndReplace, array("unmap_and_replace", UnmapAndReplace, unmapAndReplace)],
  [GNTTABOP.setupTable, subopOut("setup_table", SetupTable, setupTable)],
  [GNTTABOP.transfer, array("transfer", GnttabTransfer, grantTransfer)],
  [GNTTABOP.copy, array("copy", GnttabCopy, grantCopy)],
  [GNTTABOP.querySize, subopOut("query_size", QuerySize, querySize)],
  [GNTTABOP.setVersion, { ...subopOut("set_version", GnttabSetVersion, setVersion), out: "always" }],
  [GNTTABOP.getStatusFrames, subopOut("get_status_frames", GetStatusFrames, getStatusFrames)],
  [GNTTABOP.getVersion, subopOut("get_version", GnttabGetVersion, getVersion)],
  [GNTTABOP.swapGrantRef, array("swap_grant_ref", SwapGrantRef, swap)],
  [GNTTABOP.dumpTable, plainSubop("dump_table", () => -Errno.ENOSYS)],
  [GNTTABOP.cacheFlush, plainSubop("cache_flush", cacheFlush)],
]);

const table = subopRow("grant_table_op", rows, { opMask: CMD_MASK });

export const grantTableOp: HypercallRow = {
  ...table,
  run(context, args) {
    const cmd = args.u32(0);
    if (args.u32(2) >= 2 ** 31) return -Errno.EINVAL;
    if (cmd > CMD_MASK && (cmd & CMD_MASK) !== GNTTABOP.cacheFlush) return -Errno.EINVAL;
    if (COUNTED.includes(cmd) && args.u32(2) !== 1) return -Errno.EINVAL;
    return table.run(context, args);
  },
};
