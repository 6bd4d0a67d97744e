/**
 * Gives a fresh domain the state of a suspended one. The content of its frames is in place already, and comes from a file: page tables
 * and descriptor tables in it are validated as any guest's are, and what does not pass is refused.
 *
 * The new domain has a new shared_info, new event channels and a new grant table. start_info, wherever the guest named it, gets what the
 * guest converted to pfns as mfns again, and the numbers that have changed (xen/sched.h, xen/xen.h).
 */
import { VcpuGuestContext } from "../../abi/arch-x86-64.ts";
import { GNTTAB_RESERVED_CONSOLE, GNTTAB_RESERVED_XENSTORE } from "../../abi/grant-table.ts";
import { SharedInfo, StartInfo, VMASST_TYPE } from "../../abi/xen.ts";
import type { Domain } from "../domain.ts";
import { PageType } from "../mm/frame-table.ts";
import { publishTime, publishWallClock } from "../time/areas.ts";
import type { Vcpu } from "../vcpu.ts";
import { setGuestContext } from "../vcpu-context.ts";
import { FRAME_OWNED, FRAME_PIN_SHIFT, type SavedDomain, type SavedVcpu } from "./saved-domain.ts";

const PAGE_SIZE = 4096;
/** A linear page table needs the table that it names validated first, and that one names none: two rounds pin whatever can be. */
const PIN_ROUNDS = 2;
const ASSISTS: ReadonlySet<number> = new Set(Object.values(VMASST_TYPE));

/** The domain's ends of its channels to Domain 0's services. */
export interface RestorePorts {
  readonly storePort: number;
  readonly consolePort: number;
}

/** Frames of the rings (mfns). */
export interface RestoredDomain {
  readonly storeMfn: number;
  readonly consoleMfn: number;
  /** Frames of the reservation. */
  readonly pages: number;
}

/**
 * The domain is new, paused, has the memory map of the saved one, and its frames have their content. A text says why the state is
 * refused; the domain is of no use then.
 */
export function restoreDomain(domain: Domain, saved: SavedDomain, ports: RestorePorts): RestoredDomain | string {
  const { map } = domain.memory;
  if (saved.pages !== map.pages || saved.mapMaxPages !== map.maxPages || saved.vcpus.length !== map.vcpus) {
    return "it is of a domain with another memory map";
  }
  if (saved.frames.length !== map.ownFrames || saved.m2p.length !== map.ownFrames * 2) {
    return "its frame table has another size than the domain's memory";
  }
  if (!(saved.maxPages >= 1 && saved.maxPages <= map.ownFrames)) return "its ceiling of the reservation is impossible";
  domain.memory.maxPages = saved.maxPages;
  domain.memory.e820 = saved.e820;
  domain.timeOffset = saved.systemTime - domain.shard.now();
  for (const type of saved.assists) if (ASSISTS.has(type)) domain.setAssist(type, true);
  restoreFrames(domain, saved);
  restoreSharedInfo(domain, saved);
  const pins = restorePins(domain, saved);
  if (pins !== undefined) return pins;
  for (const vcpu of domain.vcpus) {
    const refused = restoreVcpu(vcpu, saved.vcpus[vcpu.id]!);
    if (refused !== undefined) return refused;
  }
  return restoreStartInfo(domain, saved, ports);
}

/** Who owns what, and what the machine-to-physical table says of it. */
function restoreFrames({ memory }: Domain, saved: SavedDomain): void {
  const { frames, m2p } = memory;
  for (let index = 0; index < saved.frames.length; index++) {
    const owned = (saved.frames[index]! & FRAME_OWNED) !== 0;
    if (owned) {
      if (frames.isFree(index)) frames.assign(index);
      m2p.setRaw(index, saved.m2p[index * 2]!, saved.m2p[index * 2 + 1]!);
    } else if (frames.owned(index)) {
      memory.giveBackUnused(index);
    }
  }
}

function restoreSharedInfo(domain: Domain, saved: SavedDomain): void {
  const { buffer, byteOffset, byteLength } = domain.sharedInfo;
  const bytes = new Uint8Array(buffer, byteOffset, byteLength);
  const { offsets, arch } = SharedInfo;
  bytes.set(saved.sharedArch.subarray(0, arch.size), arch.offsets.maxPfn);
  // Every port is masked until the guest has bound it again.
  bytes.fill(0xff, offsets.evtchnMask, offsets.wcVersion);
  publishWallClock(domain);
}

/** Pins validate: upper levels last, so that each table finds those below it done. */
function restorePins({ memory }: Domain, saved: SavedDomain): string | undefined {
  const { tables, map } = memory;
  let pins: number[] = [];
  for (let level = PageType.l1; level <= PageType.l4; level++) {
    saved.frames.forEach((kind, index) => {
      if ((kind & FRAME_OWNED) !== 0 && kind >> FRAME_PIN_SHIFT === level) pins.push(index);
    });
  }
  for (let round = 0; round < PIN_ROUNDS; round++) {
    pins = pins.filter((index) => tables.pin(map.baseMfn + index, saved.frames[index]! >> FRAME_PIN_SHIFT) !== 0);
    memory.types.settle();
  }
  if (pins.length === 0) return undefined;
  return `${pins.length} of its page tables are not valid: ${lastRefusal(memory)}`;
}

const lastRefusal = ({ refusals }: Domain["memory"]) => refusals.since(0).at(-1)?.text ?? "no reason was recorded";

function restoreVcpu(vcpu: Vcpu, saved: SavedVcpu): string | undefined {
  const { cpu } = vcpu;
  const { memory } = vcpu.domain;
  vcpu.upcallMasked = saved.info[1] !== 0;
  publishTime(vcpu);
  if (!saved.initialised) return undefined;
  if (saved.context.length !== VcpuGuestContext.size) return `the context of vCPU ${vcpu.id} has a wrong size`;
  const view = new DataView(saved.context.buffer, saved.context.byteOffset, saved.context.byteLength);
  const before = memory.refusals.since(0).length;
  const rc = setGuestContext(vcpu, view);
  if (rc !== 0) {
    const why = memory.refusals.since(0).length > before ? `: ${lastRefusal(memory)}` : "";
    return `the state of vCPU ${vcpu.id} is not valid${why}`;
  }
  vcpu.eventCallback.maskEvents = saved.eventMask;
  Object.assign(vcpu.syscall32Callback, saved.syscall32);
  Object.assign(vcpu.sysenterCallback, saved.sysenter);
  vcpu.nmiCallback = saved.nmiCallback;
  vcpu.nmiPending = saved.nmiPending;
  vcpu.nmiMasked = saved.nmiMasked;
  vcpu.cr4 = saved.cr4;
  vcpu.setCr2(saved.cr2);
  cpu.tsFlag = saved.taskSwitched;
  vcpu.ioBitmap = saved.ioBitmap ?? Number.NaN;
  vcpu.ioBitmapPorts = saved.ioBitmap === null ? 0 : saved.ioBitmapPorts;
  return undefined;
}

function restoreStartInfo(
  domain: Domain,
  saved: SavedDomain,
  { storePort, consolePort }: RestorePorts,
): RestoredDomain | string {
  const { memory, grants } = domain;
  const page = saved.startInfoMfn;
  // The use as a writable page keeps page tables out of reach of what is written.
  if (memory.getPageAndType(page, PageType.writable) !== 0)
    return "its start_info is not in a page that can be written";
  const view = new DataView(memory.buffer, memory.hostOffset(page), PAGE_SIZE);
  const info = StartInfo;
  const { domU } = info.console;
  const storeMfn = mfnOf(domain, info.storeMfn.number(view, 0));
  const consoleMfn = mfnOf(domain, domU.mfn.number(view, 0));
  if (storeMfn >= 0 && consoleMfn >= 0) {
    const { maxPfn } = SharedInfo.arch;
    const shared = new DataView(domain.sharedInfo.buffer, domain.sharedInfo.byteOffset, PAGE_SIZE);
    info.nrPages.set(view, 0, maxPfn.lo(shared, 0), maxPfn.hi(shared, 0));
    info.sharedInfo.setNumber(view, 0, domain.sharedInfoMfn * PAGE_SIZE);
    info.flags.set(view, 0, 0);
    info.storeMfn.setNumber(view, 0, storeMfn);
    info.storeEvtchn.set(view, 0, storePort);
    domU.mfn.setNumber(view, 0, consoleMfn);
    domU.evtchn.set(view, 0, consolePort);
  }
  memory.putPageAndType(page);
  if (storeMfn < 0 || consoleMfn < 0) return "its start_info names rings that are not in its memory";
  grants.seed(GNTTAB_RESERVED_CONSOLE, 0, consoleMfn);
  grants.seed(GNTTAB_RESERVED_XENSTORE, 0, storeMfn);
  return { storeMfn, consoleMfn, pages: memory.frames.ownPages };
}

/** The frame that the machine-to-physical table knows by this pfn; -1 for none. */
function mfnOf({ memory }: Domain, pfn: number): number {
  const { frames, m2p, map } = memory;
  for (let index = 0; index < map.ownFrames; index++) {
    if (frames.owned(index) && m2p.get(index) === pfn) return map.baseMfn + index;
  }
  return -1;
}
