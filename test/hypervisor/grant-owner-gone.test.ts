/** A granting domain goes, or its thread dies: exactly what others have of it is good for nothing, and nothing else (gone-owner.ts). */
import { beforeEach, describe, expect, test } from "vitest";
import { GNTMAP, GNTST } from "../../src/abi/grant-table.ts";
import { PageType, TYPE_SHIFT } from "../../src/hypervisor/mm/frame-table.ts";
import { GrantDomain, GrantWorld, L1_PFN, slotVa } from "./grant-world.ts";

const REF = 11;
const PAGE = 40;

let world: GrantWorld;
let user: GrantDomain;
let owner: GrantDomain;
let third: GrantDomain;
beforeEach(() => {
  world = new GrantWorld(3, 1);
  [user, owner, third] = world.domains as [GrantDomain, GrantDomain, GrantDomain];
  for (const domain of [owner, third]) domain.grant(REF, user.id, PAGE);
});
const map = (from: GrantDomain, slot: number): number => {
  const { status, handle } = user.map(from.id, REF, slotVa(slot), GNTMAP.hostMap);
  expect(status).toBe(GNTST.okay);
  return handle;
};
const overwrite = (slot: number) => expect(user.setSlot(slot, 0n)).toBe(0);

describe("an owner that is destroyed", () => {
  test("leaves handles that are good for nothing, once each; those of others are as they were", () => {
    const [gone, stays] = [map(owner, 0), map(third, 1)];
    overwrite(0);
    world.destroy(owner);
    expect([user.unmap(gone, slotVa(0)), user.unmap(gone, slotVa(0))]).toEqual([GNTST.badDomain, GNTST.badHandle]);
    expect([user.pte(1) === 0n, user.unmap(stays, slotVa(1)), user.pte(1)]).toEqual([false, GNTST.okay, 0n]);
    expect(world.audit()).toEqual([]);
  });

  test("and the next of its number, and the one after", () => {
    const handles: number[] = [];
    for (let i = 0; i < 3; i++) {
      handles.push(map(owner, i));
      overwrite(i);
      world.destroy(owner);
      owner = new GrantDomain(world.world.domain(owner.id));
      owner.grant(REF, user.id, PAGE);
    }
    const last = map(owner, 0);
    expect(handles.map((handle) => user.unmap(handle, 0))).toEqual(Array(3).fill(GNTST.badDomain));
    expect(user.unmap(last, slotVa(0))).toBe(GNTST.okay);
    expect(world.audit()).toEqual([]);
  });

  test("waits while an entry maps its page, and is forgotten with it", () => {
    const handle = map(owner, 0);
    world.destroy(owner);
    expect(world.living().includes(owner)).toBe(true);
    expect(user.unmap(handle, slotVa(0))).toBe(GNTST.okay);
    expect(world.living().includes(owner)).toBe(false);
    expect(world.audit()).toEqual([]);
  });
});

describe("an owner whose thread dies", () => {
  const lose = () => user.test.domain.shard.receive({ kind: "lost", domid: owner.id });

  test("is unmapped from page tables, and from nothing that only looks like an entry", () => {
    map(owner, 0);
    map(third, 1);
    const entry = user.pte(0);
    const { view, domain } = user.test;
    // Data of the guest's, a page that was a table once, and an entry that is not present.
    view.setBigUint64(44 * 4096, entry, true);
    view.setBigUint64(45 * 4096, entry, true);
    overwrite(45 - 64);
    domain.memory.frames.typeInfo[45] = PageType.l1 << TYPE_SHIFT;
    view.setBigUint64(L1_PFN * 4096 + 500 * 8, entry & ~1n, true);
    const kept = [user.pte(1), view.getBigUint64(L1_PFN * 4096 + 41 * 8, true)];
    lose();
    expect([user.pte(0), user.pte(1), view.getBigUint64(L1_PFN * 4096 + 41 * 8, true)]).toEqual([0n, ...kept]);
    expect([44, 45].map((pfn) => view.getBigUint64(pfn * 4096, true))).toEqual([entry, entry]);
    expect(view.getBigUint64(L1_PFN * 4096 + 500 * 8, true)).toBe(entry & ~1n);
  });
});

describe("Domain 0", () => {
  test("grants nothing: a reference of its one frame is refused, one beyond is none", () => {
    const RO = GNTMAP.hostMap | GNTMAP.readonly;
    expect([0, 511, 512].map((ref) => user.map(0, ref, slotVa(0), RO).status)).toEqual([
      GNTST.generalError,
      GNTST.generalError,
      GNTST.badGntref,
    ]);
    expect([0, 511, 512].map((ref) => user.copy(0, ref, 42, false))).toEqual([
      GNTST.generalError,
      GNTST.generalError,
      GNTST.badGntref,
    ]);
  });
});
