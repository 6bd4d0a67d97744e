/** Grant operations between three domains that neither the property test nor the two guests reach: transfers, grants passed on, limits. */
import { beforeEach, describe, expect, test } from "vitest";
import { GNTMAP, GNTST, GrantEntryV2, GTF } from "../../src/abi/grant-table.ts";
import { Maptrack } from "../../src/hypervisor/grant-table/maptrack.ts";
import { MAPTRACK_PER_FRAME, MAX_MAPTRACK_FRAMES } from "../../src/hypervisor/mm/memory-map.ts";
import { type GrantDomain, GrantWorld, slotVa } from "./grant-world.ts";

describe.each([1, 2])("%i shard(s)", (shards) => {
  let world: GrantWorld;
  let first: GrantDomain;
  let second: GrantDomain;
  let third: GrantDomain;
  beforeEach(() => {
    world = new GrantWorld(3, shards);
    [first, second, third] = world.domains as [GrantDomain, GrantDomain, GrantDomain];
  });

  test("a transferred page is the other's, with its content, and the giver's no more", () => {
    second.test.domain.memory.maxPages++;
    second.grantMfn(9, first.id, 77, GTF.acceptTransfer);
    first.test.view.setUint32(44 * 4096, 0xcafe, true);
    expect(first.transfer(44, second.id, 9)).toBe(GNTST.badPage);
    // Still mapped: the guest unmaps it first.
    expect(first.test.domain.memory.tables.updateL1(51, 44, 0, 0, false)).toBe(0);
    expect(first.transfer(44, second.id, 9)).toBe(GNTST.okay);
    const { memory, grants } = second.test.domain;
    expect(grants.entries.header(9).flags).toBe(GTF.acceptTransfer | GTF.transferCommitted | GTF.transferCompleted);
    const mfn = grants.entries.frame(9);
    expect(memory.words[memory.hostOffset(mfn) >> 2]).toBe(0xcafe);
    expect(memory.m2p.get(mfn - memory.map.baseMfn)).toBe(77);
    expect(first.test.domain.memory.frames.isFree(44)).toBe(true);
    expect(world.audit()).toEqual([]);
  });

  test("a page that nobody takes is lost to its giver", () => {
    expect(first.test.domain.memory.tables.updateL1(51, 44, 0, 0, false)).toBe(0);
    expect(first.transfer(44, second.id, 9)).toBe(GNTST.generalError);
    expect(first.test.domain.memory.frames.isFree(44)).toBe(true);
    expect(world.audit()).toEqual([]);
  });

  test("a grant passed on is used as its giver's, for copies alone", () => {
    expect(second.setVersion(2)).toBe(0);
    third.grant(10, second.id, 40, GTF.permitAccess | GTF.readonly);
    for (let i = 0; i < 64; i++) third.test.view.setUint8(40 * 4096 + i, i + 1);
    second.grant(11, first.id, 0, GTF.transitive);
    const { entries } = second.test.domain.grants;
    const { memory } = second.test.domain;
    const at = memory.hostOffset(entries.frames[0]!) + 11 * GrantEntryV2.size;
    const view = new DataView(memory.buffer);
    GrantEntryV2.transitive.transDomid.set(view, at, third.id);
    GrantEntryV2.transitive.gref.set(view, at, 10);
    expect(first.copy(second.id, 11, 42, false)).toBe(GNTST.okay);
    expect(first.test.view.getUint8(42 * 4096 + 5)).toBe(6);
    expect(first.copy(second.id, 11, 42, true)).toBe(GNTST.generalError);
    expect(first.map(second.id, 11, slotVa(0), GNTMAP.hostMap | GNTMAP.readonly).status).toBeLessThan(0);
    // Nothing is in use afterwards, at neither.
    expect([second.flags(11), third.flags(10)]).toEqual([GTF.transitive, GTF.permitAccess | GTF.readonly]);
    expect(world.audit()).toEqual([]);
  });

  test("a part of a page is granted to the byte", () => {
    expect(second.setVersion(2)).toBe(0);
    second.grant(11, first.id, 40, GTF.permitAccess | GTF.subPage);
    const { memory, grants } = second.test.domain;
    const at = memory.hostOffset(grants.entries.frames[0]!) + 11 * GrantEntryV2.size;
    const view = new DataView(memory.buffer);
    GrantEntryV2.subPage.pageOff.set(view, at, 100);
    GrantEntryV2.subPage.length.set(view, at, 64);
    expect(first.copy(second.id, 11, 42, true, 64, 100)).toBe(GNTST.okay);
    expect(first.copy(second.id, 11, 42, true, 65, 100)).toBe(GNTST.generalError);
    expect(first.copy(second.id, 11, 42, true, 1, 99)).toBe(GNTST.generalError);
    expect(first.copy(second.id, 11, 42, true, 64, 4090)).toBe(GNTST.badCopyArg);
    expect(first.map(second.id, 11, slotVa(0), GNTMAP.hostMap).status).toBe(GNTST.generalError);
    expect(world.audit()).toEqual([]);
  });
});

test("handles are handed out in order, come back behind the others, and end", () => {
  const maptrack = new Maptrack();
  expect([maptrack.take(0), maptrack.take(0), maptrack.take(1)]).toEqual([0, 1, MAPTRACK_PER_FRAME]);
  maptrack.put(0);
  expect(maptrack.take(0)).toBe(2);
  const most = MAPTRACK_PER_FRAME * MAX_MAPTRACK_FRAMES;
  const seen = new Set([1, 2, MAPTRACK_PER_FRAME]);
  for (let handle = maptrack.take(0); handle !== undefined; handle = maptrack.take(0)) seen.add(handle);
  // The last of each vCPU's list is its end, and stays.
  expect(seen.size).toBe(most - 2);
});
