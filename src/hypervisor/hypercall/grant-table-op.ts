/**
 * HYPERVISOR_grant_table_op (xen/grant_table.h): (cmd, array of arguments, count). Most failures are a GNTST status in the
 * argument, with 0 as the call's own result.
 */
import { Errno } from "../../abi/errno.ts";
import {
  GetStatusFrames,
  GNTST,
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
import { MAX_GRANT_FRAMES } from "../mm/memory-map.ts";
import type { HypercallArgs } from "./arguments.ts";
import { Continuation, type HypercallResult } from "./result.ts";
import {
  type HypercallContext,
  type HypercallRow,
  plainSubop,
  type Subop,
  type SubopHandler,
  subopOut,
  subopRow,
} from "./table.ts";

/** Array elements in one go. */
const BATCH = 256;

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

const setupTable = single((context, arg) => {
  const { domain, vcpu } = context;
  const count = SetupTable.nrFrames.get(arg, 0);
  let status = ownTable(context, SetupTable.dom.get(arg, 0));
  if (status === GNTST.okay && !domain.grants.grow(count)) status = GNTST.generalError;
  if (status === GNTST.okay) {
    const list = SetupTable.frameList.signed(arg, 0);
    for (let i = 0; i < count; i++) {
      if (!domain.memory.writeU64(vcpu.id, list + i * 8, domain.grants.frames[i]!)) status = GNTST.badVirtAddr;
    }
  }
  SetupTable.status.set(arg, 0, status);
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

/** Version 1 only, as for a domain made with max_grant_version=1. */
const setVersion: SubopHandler = ({ domain }, arg) => {
  const version = GnttabSetVersion.version.get(arg, 0);
  if (version === 2) return -Errno.ENOSYS;
  if (version !== 1) return -Errno.EINVAL;
  GnttabSetVersion.version.set(arg, 0, domain.grants.version);
  return 0;
};

const getVersion: SubopHandler = ({ shard, domain }, arg) => {
  const domid = resolveDomid(domain, GnttabGetVersion.dom.get(arg, 0));
  if (domid !== domain.id) return shard.exists(domid) ? -Errno.EPERM : -Errno.ESRCH;
  GnttabGetVersion.version.set(arg, 0, domain.grants.version);
  return 0;
};

/** Runs `each` over the array; `each` answers the GNTST status that goes into the element, or parks. */
function overArray(
  size: number,
  status: { set(view: DataView, base: number, value: number): void },
  each: (context: HypercallContext, arg: DataView, done: (status: number) => HypercallResult) => HypercallResult,
) {
  return (context: HypercallContext, args: HypercallArgs): HypercallResult => {
    const { domain, vcpu } = context;
    const op = args.u32(0);
    const list = args.va(1);
    const count = args.u32(2);
    for (let i = 0; i < count; i++) {
      const at = list + i * size;
      if (i === BATCH) return new Continuation([op, at, count - i]);
      const bytes = new Uint8Array(size);
      const arg = new DataView(bytes.buffer);
      if (!domain.memory.copyFromGuest(vcpu.id, at, bytes)) return -Errno.EFAULT;
      let parkedHere = false;
      const result = each(context, arg, (value) => {
        status.set(arg, 0, value);
        if (!domain.memory.copyToGuest(vcpu.id, at, bytes)) return -Errno.EFAULT;
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

const copy = overArray(GnttabCopy.size, GnttabCopy.status, (context, arg, done) => {
  const outcome = grantCopy(context, arg);
  if (typeof outcome === "number") return done(outcome);
  const { shard, domid, request, finish } = outcome;
  return context.shard.park(context.vcpu, { shard, domid }, request, (answer, data) =>
    done(answer === "gone" ? GNTST.badDomain : finish(answer, data)),
  );
});

/** Frames of other domains cannot be put into a guest's page tables yet: each guest has a memory of its own. */
const map = overArray(MapGrantRef.size, MapGrantRef.status, ({ shard, domain }, arg, done) => {
  const domid = MapGrantRef.dom.get(arg, 0);
  if (!shard.exists(domid)) return done(GNTST.badDomain);
  domain.logGuest("warn", `map_grant_ref of domain ${domid}: mappings between guests are not supported yet`);
  return done(GNTST.generalError);
});

const statusOf = (status: number) => (_c: HypercallContext, _a: DataView, done: (status: number) => HypercallResult) =>
  done(status);

const rows = new Map<number, Subop>([
  [GNTTABOP.mapGrantRef, plainSubop("map_grant_ref", map)],
  [
    GNTTABOP.unmapGrantRef,
    plainSubop("unmap_grant_ref", overArray(UnmapGrantRef.size, UnmapGrantRef.status, statusOf(GNTST.badHandle))),
  ],
  [
    GNTTABOP.unmapAndReplace,
    plainSubop("unmap_and_replace", overArray(UnmapAndReplace.size, UnmapAndReplace.status, statusOf(GNTST.badHandle))),
  ],
  [GNTTABOP.setupTable, subopOut("setup_table", SetupTable, setupTable)],
  [
    GNTTABOP.transfer,
    plainSubop("transfer", overArray(GnttabTransfer.size, GnttabTransfer.status, statusOf(GNTST.badDomain))),
  ],
  [GNTTABOP.copy, plainSubop("copy", copy)],
  [GNTTABOP.querySize, subopOut("query_size", QuerySize, querySize)],
  [GNTTABOP.setVersion, subopOut("set_version", GnttabSetVersion, single(setVersion))],
  [
    GNTTABOP.getStatusFrames,
    subopOut(
      "get_status_frames",
      GetStatusFrames,
      single((_context, arg) => {
        // Version 1 has no status frames.
        GetStatusFrames.status.set(arg, 0, GNTST.generalError);
        return 0;
      }),
    ),
  ],
  [GNTTABOP.getVersion, subopOut("get_version", GnttabGetVersion, single(getVersion))],
  [
    GNTTABOP.swapGrantRef,
    plainSubop(
      "swap_grant_ref",
      overArray(SwapGrantRef.size, SwapGrantRef.status, ({ domain }, arg, done) =>
        done(domain.grants.swap(SwapGrantRef.refA.get(arg, 0), SwapGrantRef.refB.get(arg, 0))),
      ),
    ),
  ],
  [GNTTABOP.dumpTable, plainSubop("dump_table", () => -Errno.ENOSYS)],
  // Caches are coherent: nothing to flush, and only domains with devices may ask.
  [GNTTABOP.cacheFlush, plainSubop("cache_flush", () => -Errno.EOPNOTSUPP)],
]);

export const grantTableOp: HypercallRow = subopRow("grant_table_op", rows);
