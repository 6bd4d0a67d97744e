/**
 * Recomputes from scratch what grants hold, across all domains of a world at rest: maptrack against pins, entries of page tables against
 * alias frames, alias frames and device mappings against what the owners say is held, and the flags of the tables against the pins.
 */
import { GNTMAP, GTF } from "../../../src/abi/grant-table.ts";
import type { Domain } from "../../../src/hypervisor/domain.ts";
import { hasWriters, PIN } from "../../../src/hypervisor/grant-table/active-entries.ts";
import { PageType, VALIDATED } from "../../../src/hypervisor/mm/frame-table.ts";
import { mfnOfEntry } from "../../../src/hypervisor/mm/page-entry.ts";
import type { Hold } from "./audit.ts";

interface Count {
  refs: number;
  writable: number;
}

/** References to a domain's frames that grants hold, entries of its own tables apart. */
export function grantHolds({ grants, memory, id }: Domain): Hold[] {
  const holds: Hold[] = [];
  const add = (mfn: number, refs: number, writable: number): void => {
    for (let i = 0; i < refs; i++) holds.push({ index: mfn - memory.map.baseMfn, typed: i < writable });
  };
  for (const { mfn, refs, writable } of grants.held()) add(mfn, refs, writable);
  for (const [, { domid, ownerMfn, flags }] of grants.maptrack.all()) {
    if (domid === id && (flags & GNTMAP.deviceMap) !== 0) add(ownerMfn, 1, (flags & GNTMAP.readonly) === 0 ? 1 : 0);
  }
  return holds;
}

/**
 * What is wrong, in words. Messages between shards have been delivered. The frames' own counts are `audit`'s, with `grantHolds`. A guest
 * that is `hostile` writes the flags of use itself: they say nothing then.
 */
export function auditGrants(domains: readonly Domain[], hostile = false): string[] {
  const wrong: string[] = [];
  const living = new Map(domains.map((domain) => [domain.id as number, domain]));
  /** By owner, caller and mfn. */
  const expected = new Map<string, Count>();
  const pins = new Map<string, number>();
  const add = (owner: number, caller: number, mfn: number, writable: boolean): void => {
    const key = `${owner} ${caller} ${mfn}`;
    const count = expected.get(key) ?? { refs: 0, writable: 0 };
    count.refs++;
    if (writable) count.writable++;
    expected.set(key, count);
  };
  for (const domain of domains) {
    const { memory, grants, id } = domain;
    const handles = new Map<number, number>();
    for (const [, { domid, ref, mfn, ownerMfn, flags, ownerGone }] of grants.maptrack.all()) {
      if (ownerGone) continue;
      const writable = (flags & GNTMAP.readonly) === 0;
      const key = `${domid} ${ref}`;
      if ((flags & GNTMAP.hostMap) !== 0)
        pins.set(key, (pins.get(key) ?? 0) + (writable ? PIN.hostWrite : PIN.hostRead));
      if ((flags & GNTMAP.deviceMap) !== 0) {
        pins.set(key, (pins.get(key) ?? 0) + (writable ? PIN.deviceWrite : PIN.deviceRead));
        add(domid, id, ownerMfn, writable);
      }
      if (domid !== id) handles.set(mfn, (handles.get(mfn) ?? 0) + 1);
    }
    const entries = aliasEntries(domain);
    for (const [mfn, alias] of memory.foreign.all()) {
      const found = entries.get(mfn) ?? { refs: 0, writable: 0 };
      if (alias.entries !== found.refs || alias.writable !== found.writable)
        wrong.push(
          `domain ${id}: alias ${mfn} has ${alias.entries}/${alias.writable} entries, ${found.refs}/${found.writable} found`,
        );
      if (alias.handles !== (handles.get(mfn) ?? 0))
        wrong.push(`domain ${id}: alias ${mfn} has ${alias.handles} handles, ${handles.get(mfn) ?? 0} found`);
      for (let i = 0; i < alias.entries; i++) add(alias.domid, id, alias.mfn, i < alias.writable);
      entries.delete(mfn);
      handles.delete(mfn);
    }
    for (const mfn of entries.keys()) wrong.push(`domain ${id}: an entry names alias ${mfn}, which stands for nothing`);
    for (const mfn of handles.keys()) wrong.push(`domain ${id}: a handle names alias ${mfn}, which stands for nothing`);
  }
  for (const domain of domains) wrong.push(...auditOwner(domain, expected, pins, hostile));
  for (const key of [...expected.keys()])
    if (living.has(Number(key.split(" ")[0]))) wrong.push(`mapped, but not held: ${key}`);
  for (const key of pins.keys())
    if (living.has(Number(key.split(" ")[0]))) wrong.push(`mapped, but not in use: ${key}`);
  return wrong;
}

/** Entries of validated L1 tables that name frames of the alias range. */
function aliasEntries({ memory }: Domain): Map<number, Count> {
  const { frames, types, words, map } = memory;
  const entries = new Map<number, Count>();
  for (let index = 0; index < map.ownFrames; index++) {
    if (
      frames.type(index) !== PageType.l1 ||
      (frames.typeInfo[index]! & VALIDATED) === 0 ||
      frames.typeCount(index) === 0
    )
      continue;
    for (let slot = 0; slot < 512; slot++) {
      const word = types.wordOf(index, slot);
      const lo = words[word]!;
      const mfn = mfnOfEntry(lo, words[word + 1]!);
      if ((lo & 1) === 0 || mfn < map.aliasMfn) continue;
      const count = entries.get(mfn) ?? { refs: 0, writable: 0 };
      count.refs++;
      if ((lo & 2) !== 0) count.writable++;
      entries.set(mfn, count);
    }
  }
  return entries;
}

function auditOwner(
  domain: Domain,
  expected: Map<string, Count>,
  pins: Map<string, number>,
  hostile: boolean,
): string[] {
  const wrong: string[] = [];
  const { memory, grants, id } = domain;
  for (const { domid, mfn, refs, writable } of grants.held()) {
    const index = mfn - memory.map.baseMfn;
    const found = expected.get(`${id} ${domid} ${mfn}`);
    expected.delete(`${id} ${domid} ${mfn}`);
    if (found?.refs !== refs || found.writable !== writable)
      wrong.push(
        `domain ${id}: ${domid} holds frame ${index} ${refs}/${writable} times, ${found?.refs ?? 0}/${found?.writable ?? 0} found`,
      );
  }
  // Of its own frames only device mappings hold anything, and that is in no ledger.
  for (const key of [...expected.keys()]) if (key.startsWith(`${id} ${id} `)) expected.delete(key);
  for (const [ref, { pin }] of grants.active) {
    const found = pins.get(`${id} ${ref}`) ?? 0;
    pins.delete(`${id} ${ref}`);
    if (found !== pin)
      wrong.push(`domain ${id}: grant ${ref} has pin ${pin.toString(16)}, ${found.toString(16)} found`);
    const flags = grants.entries.status(ref);
    const wanted = GTF.reading | (hasWriters(pin) ? GTF.writing : 0);
    if (flags !== wanted && !hostile)
      wrong.push(`domain ${id}: grant ${ref} has flags ${flags} at pin ${pin.toString(16)}`);
  }
  return wrong;
}
