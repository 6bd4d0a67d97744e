/**
 * GNTTABOP_map_grant_ref, unmap_grant_ref and unmap_and_replace, as the mapping domain's shard does them: handles and page-table entries.
 * The granting side's part is in granting-side.ts.
 *
 * An operation is done or it is not: when the entry cannot be stored, the granting side takes everything back; when an entry is not what was
 * mapped, nothing is unmapped. Destroying the mapping domain gives everything back, in whatever state it is.
 */
import { PTE } from "../../abi/arch-x86-64.ts";
import { GNTMAP, GNTST, MapGrantRef } from "../../abi/grant-table.ts";
import type { Domain } from "../domain.ts";
import type { HypercallResult } from "../hypercall/result.ts";
import type { HypercallContext } from "../hypercall/table.ts";
import type { DomainMemory } from "../mm/domain-memory.ts";
import { PageType } from "../mm/frame-table.ts";
import { accessOk } from "../mm/guest-memory.ts";
import { adjustL1Hi, adjustL1Lo, mfnOfEntry, PRESENT, RW } from "../mm/page-entry.ts";
import type { Vcpu } from "../vcpu.ts";
import { statusOfDom0 } from "./domain0.ts";
import type { GrantAnswer } from "./granting-side.ts";
import type { Mapping } from "./maptrack.ts";

const PAGE_SIZE = 4096;
const ENTRIES = 512;
const PARTS = GNTMAP.hostMap | GNTMAP.deviceMap;
/** The guest's own bits of the entry, in the flags and in the entry. */
const AVAIL_FLAGS = 7 << GNTMAP.guestAvail0Bit;
const AVAIL_SHIFT = GNTMAP.guestAvail0Bit - 9;

type Done = (status: number) => HypercallResult;

/** An address of an operation: what it is as an address, and as a number that may be a machine address. */
export interface HostAddress {
  readonly va: number;
  readonly machine: number;
}

/** map_grant_ref; `done` gets its GNTST status, when handle and bus address are in `arg`. */
export function mapGrantRef(context: HypercallContext, arg: DataView, done: Done): HypercallResult {
  const { shard, domain, vcpu } = context;
  const { grants, memory } = domain;
  const flags = MapGrantRef.flags.get(arg, 0);
  const ref = MapGrantRef.ref.get(arg, 0);
  const owner = MapGrantRef.dom.get(arg, 0);
  const address = { va: MapGrantRef.hostAddr.signed(arg, 0), machine: MapGrantRef.hostAddr.number(arg, 0) };
  if ((flags & PARTS) === 0) return done(GNTST.badGntref);
  if (!shard.exists(owner)) return done(GNTST.badDomain);
  const handle = grants.maptrack.take(vcpu.id);
  if (handle === undefined) return done(GNTST.noDeviceSpace);
  const fail: Done = (status) => {
    grants.maptrack.put(handle);
    return done(status);
  };
  if (owner === 0) return fail(statusOfDom0(ref));
  const ownerShard = shard.shardOf(owner)!;
  const isOwn = owner === domain.id;
  const caller = domain.id;
  const giveBack = (mfn: number): void =>
    shard.grants.tell(ownerShard, { kind: "grant-unmap", owner, caller, ref, mfn, flags, putsHost: true });
  const late = ({ status, data }: GrantAnswer): void => {
    if (status === GNTST.okay) giveBack(data!.frame!.mfn);
  };
  const answered = ({ status, data }: GrantAnswer): HypercallResult => {
    if (status !== GNTST.okay) return fail(status);
    const { mfn: ownerMfn, start } = data!.frame!;
    const frame = { domid: owner, shard: ownerShard, mfn: ownerMfn };
    const mfn = isOwn ? ownerMfn : memory.foreign.refer(frame, start, data!.memory!);
    if ((flags & GNTMAP.hostMap) !== 0 && !createEntry(domain, vcpu, address, mfn, flags)) {
      if (!isOwn) memory.foreign.forget(mfn);
      giveBack(ownerMfn);
      return fail(GNTST.generalError);
    }
    grants.maptrack.set(handle, { domid: owner, shard: ownerShard, ref, ownerMfn, mfn, flags, ownerGone: false });
    MapGrantRef.devBusAddr.setNumber(arg, 0, mfn * PAGE_SIZE);
    MapGrantRef.handle.set(arg, 0, handle);
    return done(GNTST.okay);
  };
  const request = { kind: "grant-map", owner, caller, ref, flags } as const;
  return shard.grants.ask(vcpu, owner, request, answered, { late });
}

export interface Unmap {
  readonly handle: number;
  /** Undefined for address 0: that part is not to be unmapped. */
  readonly host?: HostAddress | undefined;
  readonly bus?: number | undefined;
  /** unmap_and_replace: the entry of this address goes in the place of the grant's. */
  readonly replacement?: number | undefined;
}

/** unmap_grant_ref and unmap_and_replace; `done` gets the GNTST status. */
export function unmapGrant(context: HypercallContext, unmap: Unmap, done: Done): HypercallResult {
  const { shard, domain, vcpu } = context;
  const { grants, memory } = domain;
  const { handle, host, bus } = unmap;
  const mapping = grants.maptrack.get(handle);
  if (mapping === undefined) return done(GNTST.badHandle);
  if (mapping.ownerGone) {
    grants.maptrack.put(handle);
    return done(GNTST.badDomain);
  }
  const isDevice = bus !== undefined && (mapping.flags & GNTMAP.deviceMap) !== 0;
  if (isDevice && bus !== mapping.mfn * PAGE_SIZE) return done(GNTST.badDevAddr);
  let parts = 0;
  if (host !== undefined && (mapping.flags & GNTMAP.hostMap) !== 0) {
    if (!replaceEntry(domain, vcpu, host, mapping, unmap.replacement)) return done(GNTST.generalError);
    parts |= GNTMAP.hostMap;
  }
  if (isDevice) parts |= GNTMAP.deviceMap;
  if (parts === 0) return done(GNTST.okay);
  mapping.flags &= ~parts;
  const { domid: owner, ref, ownerMfn: mfn } = mapping;
  if ((mapping.flags & PARTS) === 0) {
    grants.maptrack.put(handle);
    if (owner !== domain.id) memory.foreign.forget(mapping.mfn);
  }
  const flags = parts | (mapping.flags & GNTMAP.readonly);
  const request = { kind: "grant-unmap", owner, caller: domain.id, ref, mfn, flags, putsHost: true } as const;
  // The granting domain may be dying: then it is not found by its number any more, but where it was.
  return shard.grants.ask(vcpu, owner, request, () => done(GNTST.okay), { shard: mapping.shard });
}

/** Gives back every handle of a domain that dies; its page tables are gone, and what their entries held. */
export function releaseMappings({ shard, grants, memory, id: caller }: Domain): void {
  for (const [handle, mapping] of [...grants.maptrack.all()]) {
    const { domid: owner, shard: at, ref, ownerMfn: mfn, mfn: seen, flags, ownerGone } = mapping;
    grants.maptrack.put(handle);
    if (ownerGone) continue;
    if (owner !== caller) memory.foreign.forget(seen);
    shard.grants.tell(at, { kind: "grant-unmap", owner, caller, ref, mfn, flags, putsHost: false });
  }
}

/** Stores the entry that maps the frame. False when there is no such place. What was there before is put. */
function createEntry(domain: Domain, vcpu: Vcpu, address: HostAddress, mfn: number, flags: number): boolean {
  const { memory } = domain;
  const place = placeOf(memory, vcpu, address, flags);
  if (place < 0) return false;
  let lo = (mfn << 12) | PRESENT | PTE.accessed | PTE.dirty | ((flags & AVAIL_FLAGS) >>> AVAIL_SHIFT);
  if ((flags & GNTMAP.applicationMap) !== 0) lo |= PTE.user;
  if ((flags & GNTMAP.readonly) === 0) lo |= RW;
  const hi = (mfn >>> 20) | PTE.nxHi;
  const entry = [adjustL1Lo(lo, hi), adjustL1Hi(lo, hi)] as const;
  if (memory.foreign.get(mfn) !== undefined) memory.foreign.addEntry(mfn, (lo & RW) !== 0);
  const old = memory.tables.exchangeL1(Math.floor(place / ENTRIES), place % ENTRIES, ...entry);
  memory.tables.putL1Entry(old);
  return true;
}

/**
 * Takes the mapping's entry out of the page table, what it held stays the caller's to give back. False, and nothing has changed but that a
 * replacement is gone, when the entry there is not the mapping's.
 */
function replaceEntry(
  domain: Domain,
  vcpu: Vcpu,
  address: HostAddress,
  mapping: Mapping,
  replacement: number | undefined,
): boolean {
  const { memory, engine } = domain;
  const { tables } = memory;
  const { mfn, flags } = mapping;
  const byMachine = (flags & GNTMAP.containsPte) !== 0;
  let stolen: readonly [number, number] = [0, 0];
  if (replacement !== undefined) {
    const from = byMachine ? -1 : placeOf(memory, vcpu, { va: replacement, machine: 0 }, 0);
    if (from < 0) return false;
    stolen = tables.exchangeL1(Math.floor(from / ENTRIES), from % ENTRIES, 0, 0);
    engine.flushPage("all", replacement);
  }
  const place = placeOf(memory, vcpu, address, flags);
  if (place < 0 || !isMapping(memory, place, mfn, flags)) {
    tables.putL1Entry(stolen);
    return false;
  }
  tables.exchangeL1(Math.floor(place / ENTRIES), place % ENTRIES, ...stolen);
  if (byMachine) engine.flushTlb("all");
  else engine.flushPage("all", address.va);
  if (memory.foreign.get(mfn) !== undefined) memory.foreign.removeEntry(mfn, (flags & GNTMAP.readonly) === 0);
  return true;
}

/** Whether the entry maps the frame with the rights that it was granted with. */
function isMapping({ types, words }: DomainMemory, place: number, mfn: number, flags: number): boolean {
  const word = types.wordOf(Math.floor(place / ENTRIES), place % ENTRIES);
  const lo = words[word]!;
  const rights = PRESENT | ((flags & GNTMAP.readonly) === 0 ? RW : 0);
  return mfnOfEntry(lo, words[word + 1]!) === mfn && (lo & (PRESENT | RW)) === rights;
}

/** Where the L1 entry of an address stands: index of the table * 512 + slot; -1 when it is in no L1 table that is in use as one. */
function placeOf(memory: DomainMemory, vcpu: Vcpu, { va, machine }: HostAddress, flags: number): number {
  const { frames, tables, vcpuTables, map } = memory;
  let place = -1;
  if ((flags & GNTMAP.containsPte) !== 0) {
    if (machine % 8 !== 0) return -1;
    const table = frames.indexOfMfn(Math.floor(machine / PAGE_SIZE));
    if (table >= 0) place = table * ENTRIES + (machine % PAGE_SIZE) / 8;
  } else {
    const root = vcpuTables.kernelRoot[vcpu.id]!;
    if (accessOk(va) && root >= 0) place = tables.findLeaf(root + map.baseMfn, va);
  }
  if (place < 0) return -1;
  return frames.inUseAs(Math.floor(place / ENTRIES), PageType.l1) ? place : -1;
}
