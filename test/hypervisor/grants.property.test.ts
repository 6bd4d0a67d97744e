/**
 * Two and three domains that grant, map, unmap, overwrite, copy and die at random, on one shard and on two, against a model that knows who
 * granted what to whom and which mappings there are. After every step the audit recomputes every reference, use, pin and flag.
 */
import { fc } from "@fast-check/vitest";
import { describe, expect, test } from "vitest";
import { GNTMAP, GNTST, GTF } from "../../src/abi/grant-table.ts";
import { GrantWorld, L1_PFN, slotVa } from "./grant-world.ts";

const SEED = Number(process.env.GRANTS_SEED ?? 20_261_125);
const RUNS = Number(process.env.GRANTS_RUNS ?? 60);
const REFS = 4;
const SLOTS = 6;
/** Frames that are granted: two plain ones, and one that is a page table. */
const PFNS = [40, 41, L1_PFN];

type Op =
  | { kind: "grant"; owner: number; ref: number; to: number; pfn: number; flags: number }
  | { kind: "map"; by: number; owner: number; ref: number; slot: number; flags: number; pte: boolean }
  | { kind: "unmap"; by: number; mapping: number; right: boolean }
  | { kind: "overwrite"; by: number; slot: number }
  | { kind: "copy"; by: number; owner: number; ref: number; into: boolean }
  | { kind: "version"; by: number; version: number }
  | { kind: "destroy"; by: number };

const domain = fc.nat(2);
const ref = fc.integer({ min: 8, max: 8 + REFS - 1 });
const slot = fc.nat(SLOTS - 1);
const op: fc.Arbitrary<Op> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("grant" as const),
      owner: domain,
      ref,
      to: domain,
      pfn: fc.constantFrom(...PFNS),
      flags: fc.constantFrom(GTF.permitAccess, GTF.permitAccess, GTF.permitAccess | GTF.readonly, 0),
    }),
  },
  {
    weight: 10,
    arbitrary: fc.record({
      kind: fc.constant("map" as const),
      by: domain,
      owner: domain,
      ref,
      slot,
      flags: fc.constantFrom(
        GNTMAP.hostMap,
        GNTMAP.hostMap | GNTMAP.readonly,
        GNTMAP.hostMap | GNTMAP.deviceMap,
        GNTMAP.deviceMap | GNTMAP.readonly,
      ),
      pte: fc.boolean(),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant("unmap" as const), by: domain, mapping: fc.nat(9), right: fc.boolean() }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("overwrite" as const), by: domain, slot }) },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("copy" as const), by: domain, owner: domain, ref, into: fc.boolean() }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("version" as const), by: domain, version: fc.constantFrom(1, 2) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("destroy" as const), by: domain }) },
);

interface Entry {
  to: number;
  pfn: number;
  flags: number;
}
interface Mapping {
  by: number;
  owner: number;
  ref: number;
  pfn: number;
  handle: number;
  slot: number;
  flags: number;
  pte: boolean;
  busAddr: number;
}

/** What the domains have said and done, without any counting. */
class Model {
  entries = new Map<string, Entry>();
  mappings: Mapping[] = [];
  /** Which mapping an L1 slot shows, by domain. */
  slots = new Map<string, Mapping | undefined>();

  uses(owner: number, wanted: number): Mapping[] {
    return this.mappings.filter((m) => m.owner === owner && m.ref === wanted);
  }

  /** Whether `by` may use a grant now, and which frame it is. */
  mayUse(by: number, owner: number, wanted: number, write: boolean): { status: number; pfn?: number } {
    const uses = this.uses(owner, wanted);
    const refused = { status: GNTST.generalError };
    const entry = this.entries.get(`${owner} ${wanted}`);
    const first = uses[0];
    if (first !== undefined && first.by !== by) return refused;
    const writers = uses.some((m) => (m.flags & GNTMAP.readonly) === 0);
    if (
      first === undefined &&
      (entry === undefined || (entry.flags & GTF.typeMask) !== GTF.permitAccess || entry.to !== by)
    )
      return refused;
    if (write && !writers && ((entry?.flags ?? 0) & GTF.readonly) !== 0) return refused;
    const pfn = first?.pfn ?? entry!.pfn;
    // A page table is nobody's to write.
    if (write && pfn === L1_PFN) return refused;
    return { status: GNTST.okay, pfn };
  }
}

function run(world: GrantWorld, model: Model, count: number, one: Op): void {
  const living = new Set(world.living().filter((d) => !d.test.domain.dying));
  const at = (i: number) => world.domains[i % count]!;
  const alive = (i: number) => living.has(at(i));
  switch (one.kind) {
    case "grant": {
      const owner = at(one.owner);
      if (!alive(one.owner)) return;
      const used = model.uses(owner.id, one.ref);
      // A guest that rewrites what is in use keeps the flags of use, as a careful one does.
      const flags =
        one.flags | (used.length > 0 && owner.test.domain.grants.version === 1 ? owner.flags(one.ref) & 0x18 : 0);
      owner.grant(one.ref, at(one.to).id, one.pfn, flags);
      model.entries.set(`${owner.id} ${one.ref}`, { to: at(one.to).id, pfn: one.pfn, flags: one.flags });
      return;
    }
    case "map": {
      if (!alive(one.by)) return;
      const by = at(one.by);
      const owner = at(one.owner);
      const write = (one.flags & GNTMAP.readonly) === 0;
      const expected = alive(one.owner) ? model.mayUse(by.id, owner.id, one.ref, write) : { status: GNTST.badDomain };
      const flags = one.flags | (one.pte ? GNTMAP.containsPte : 0);
      const got = by.map(owner.id, one.ref, one.pte ? by.pteAddress(one.slot) : slotVa(one.slot), flags);
      expect(got.status).toBe(expected.status);
      if (got.status !== GNTST.okay) return;
      const { handle, busAddr } = got;
      const mapping = { ...one, by: by.id, owner: owner.id, pfn: expected.pfn!, flags, handle, busAddr };
      model.mappings.push(mapping);
      if ((one.flags & GNTMAP.hostMap) !== 0) model.slots.set(`${by.id} ${one.slot}`, mapping);
      return;
    }
    case "unmap": {
      if (!alive(one.by)) return;
      const by = at(one.by);
      const own = model.mappings.filter((m) => m.by === by.id);
      const mapping = own[one.mapping % Math.max(1, own.length)];
      if (mapping === undefined) {
        expect(by.unmap(12_345, slotVa(0))).toBe(GNTST.badHandle);
        return;
      }
      const hasHost = (mapping.flags & GNTMAP.hostMap) !== 0;
      const wrong = (mapping.slot + 1) % SLOTS;
      const target = one.right ? mapping.slot : wrong;
      const address = mapping.pte ? by.pteAddress(target) : slotVa(target);
      const bus = (mapping.flags & GNTMAP.deviceMap) !== 0 ? mapping.busAddr : 0;
      const shown = model.slots.get(`${by.id} ${target}`);
      // Another mapping of the same frame with the same rights is as good.
      const same =
        shown !== undefined &&
        shown.owner === mapping.owner &&
        shown.pfn === mapping.pfn &&
        (shown.flags & GNTMAP.readonly) === (mapping.flags & GNTMAP.readonly);
      const expected = !hasHost || same ? GNTST.okay : GNTST.generalError;
      expect(by.unmap(mapping.handle, address, bus)).toBe(expected);
      if (expected !== GNTST.okay) return;
      model.mappings = model.mappings.filter((m) => m !== mapping);
      if (hasHost) model.slots.delete(`${by.id} ${target}`);
      return;
    }
    case "overwrite": {
      if (!alive(one.by)) return;
      expect(at(one.by).setSlot(one.slot, 0n)).toBe(0);
      model.slots.delete(`${at(one.by).id} ${one.slot}`);
      return;
    }
    case "copy": {
      if (!alive(one.by)) return;
      const expected = alive(one.owner)
        ? model.mayUse(at(one.by).id, at(one.owner).id, one.ref, one.into).status
        : GNTST.badDomain;
      expect(at(one.by).copy(at(one.owner).id, one.ref, 42, one.into)).toBe(expected);
      return;
    }
    case "version": {
      if (!alive(one.by)) return;
      const owner = at(one.by);
      const busy = model.mappings.some((m) => m.owner === owner.id);
      const same = owner.test.domain.grants.version === one.version;
      const rc = owner.setVersion(one.version);
      expect(rc === 0).toBe(same || !busy);
      if (rc === 0 && !same)
        for (const key of [...model.entries.keys()]) if (key.startsWith(`${owner.id} `)) model.entries.delete(key);
      return;
    }
    case "destroy": {
      if (!alive(one.by) || living.size === 1) return;
      const gone = at(one.by);
      world.destroy(gone);
      model.mappings = model.mappings.filter((m) => m.by !== gone.id);
    }
  }
}

describe.each([
  [2, 1],
  [2, 2],
  [3, 2],
])("%i domains on %i shard(s)", (count, shards) => {
  test(`seed ${SEED}: every reference, use, pin and flag is exact after every step`, () => {
    fc.assert(
      fc.property(fc.array(op, { minLength: 10, maxLength: 40 }), (ops) => {
        const world = new GrantWorld(count, shards);
        const model = new Model();
        expect(world.audit()).toEqual([]);
        for (const one of ops) {
          run(world, model, count, one);
          expect(world.audit()).toEqual([]);
        }
        for (const d of world.domains) world.destroy(d);
        expect(world.living()).toEqual([]);
      }),
      { seed: SEED, numRuns: RUNS, endOnFailure: true },
    );
  });
});
