/**
 * Grants between domains (the classes of XSA-224, 227, 234, 255 and 379).
 *
 * A grant lets one domain use one frame of another, as long as the other says so and for as long as it is in use. What went wrong, again
 * and again: an entry was stored where the guest said, aligned or not (227); unmapping dropped a reference although the entry was not
 * what was mapped, or kept one although it was (224, 234); status frames went back to the hypervisor while they were mapped (255, 379).
 *
 * The invariants: what is mapped holds a reference, and a use as writable if it can write, until the entry is gone and no TLB has it; an
 * operation is done in whole or not at all; a frame is free only when nobody can reach it, whoever has died meanwhile.
 *
 * Without them a guest that has unmapped a page, or whose peer has died, still writes to it when it is somebody's page table.
 */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { GNTMAP, GNTST, GTF, MapGrantRef } from "../../../src/abi/grant-table.ts";
import { Reg } from "../../../src/engine/cpu-state.ts";
import type { Domain } from "../../../src/hypervisor/domain.ts";
import { type HostAddress, mapGrantRef, unmapGrant } from "../../../src/hypervisor/grant-table/grant-map.ts";
import { acceptGrantRequest } from "../../../src/hypervisor/grant-table/granting-side.ts";
import { PageType } from "../../../src/hypervisor/mm/frame-table.ts";
import { giveFrame } from "../../../src/hypervisor/mm/reservation.ts";
import { Arena, TABLES_PFN } from "../fuzz/arena.ts";

const OWNER = 2;
const REF = 9;
/** What is granted, and the slot of the L1 that shows it: behind the memory. */
const PAGE = 70;
const SLOT = 200;
const VA = SLOT * 4096;
const L1 = TABLES_PFN + 3;

let arena: Arena;
beforeEach(() => {
  arena = new Arena();
});
afterEach(() => {
  expect(arena.close()).toEqual([]);
});

// The mapping domain is on the owner's shard, or on the other.
describe.each([
  ["on one shard", 4],
  ["on two shards", 1],
])("%s", (_name, mapperId) => {
  let owner: Domain;
  let mapper: Domain;
  beforeEach(() => {
    owner = arena.domains.get(OWNER)!;
    mapper = arena.domains.get(mapperId)!;
    grant(GTF.permitAccess);
  });

  const base = () => owner.memory.map.baseMfn;
  const grant = (flags: number) => owner.grants.entries.store(REF, { flags, domid: mapper.id, frame: base() + PAGE });
  const at = (va: number): HostAddress => ({ va, machine: va });
  const map = (flags: number = GNTMAP.hostMap, address = VA): { status: number; handle: number } => {
    const arg = new DataView(new ArrayBuffer(MapGrantRef.size));
    MapGrantRef.hostAddr.setNumber(arg, 0, address);
    MapGrantRef.flags.set(arg, 0, flags);
    MapGrantRef.ref.set(arg, 0, REF);
    MapGrantRef.dom.set(arg, 0, owner.id);
    let status = Number.NaN;
    mapGrantRef(mapper.vcpus[0]!.context, arg, (answer) => {
      status = answer;
      return 0;
    });
    arena.deliver();
    return { status, handle: MapGrantRef.handle.get(arg, 0) };
  };
  const unmap = (handle: number, va = VA): number => {
    let status = Number.NaN;
    unmapGrant(mapper.vcpus[0]!.context, { handle, host: at(va) }, (answer) => {
      status = answer;
      return 0;
    });
    arena.deliver();
    return status;
  };
  const writes = () => mapper.memory.copyToGuest(0, VA, new Uint8Array([1, 2, 3]));
  const ok = () => expect(arena.audit()).toEqual([]);

  test("a mapping reaches the granted page and nothing beyond it", () => {
    expect(map().status).toBe(GNTST.okay);
    expect(writes()).toBe(true);
    const start = owner.memory.hostOffset(base() + PAGE);
    expect([...owner.memory.bytes.subarray(start, start + 3)]).toEqual([1, 2, 3]);
    // Over its end lies whatever the mapper has there: nothing.
    expect(mapper.memory.copyToGuest(0, VA + 4094, new Uint8Array(4).fill(9))).toBe(false);
    expect(owner.memory.bytes[start + 4096]).toBe(0);
    ok();
  });

  test("an entry's address that is not aligned is refused, and nothing is pinned", () => {
    const address = (mapper.memory.map.baseMfn + L1) * 4096 + SLOT * 8 + 4;
    expect(map(GNTMAP.hostMap | GNTMAP.containsPte, address).status).toBe(GNTST.generalError);
    expect(owner.grants.active.size).toBe(0);
    expect(owner.grants.entries.status(REF)).toBe(0);
    ok();
  });

  test("unmapping at another address changes nothing; at the right one it is gone from every TLB", () => {
    const { handle } = map();
    expect(writes()).toBe(true);
    expect(unmap(handle, VA + 4096)).toBe(GNTST.generalError);
    expect(writes()).toBe(true);
    ok();
    expect(unmap(handle)).toBe(GNTST.okay);
    expect(writes()).toBe(false);
    expect(unmap(handle)).toBe(GNTST.badHandle);
    ok();
  });

  test("an entry that is overwritten gives up the frame, without a flush, though not the handle", () => {
    const { handle } = map();
    expect(writes()).toBe(true);
    expect(mapper.memory.tables.updateL1(L1, SLOT, 0, 0, false)).toBe(0);
    arena.deliver();
    expect(writes()).toBe(false);
    expect(unmap(handle)).toBe(GNTST.generalError);
    // The frame is the owner's alone: it may become anything.
    owner.memory.clearFrame(base() + PAGE);
    expect(owner.memory.tables.updateL1(L1, PAGE, 0, 0, false)).toBe(0);
    expect(owner.memory.tables.pin(base() + PAGE, PageType.l1)).toBe(0);
    ok();
  });

  test("a frame that is mapped for writing becomes no page table; one that is given back stays until it is unmapped", () => {
    const { handle } = map();
    expect(owner.memory.tables.updateL1(L1, PAGE, 0, 0, false)).toBe(0);
    expect(owner.memory.tables.pin(base() + PAGE, PageType.l1)).toBeLessThan(0);
    expect(giveFrame(owner.memory, base() + PAGE)).toBe(true);
    expect(owner.memory.frames.isFree(PAGE)).toBe(false);
    expect(writes()).toBe(true);
    ok();
    expect(unmap(handle)).toBe(GNTST.okay);
    expect(owner.memory.frames.isFree(PAGE)).toBe(true);
    ok();
  });

  test("the owner dies first: its memory is kept until the last mapping is gone", () => {
    const { handle } = map();
    const { shard } = owner;
    shard.destroy(OWNER);
    for (const other of arena.shards) if (other !== shard) other.receive({ kind: "gone", domid: OWNER });
    arena.deliver();
    expect(shard.domains.has(OWNER)).toBe(true);
    expect(writes()).toBe(true);
    expect(map(GNTMAP.hostMap, VA + 4096).status).toBe(GNTST.badDomain);
    expect(unmap(handle)).toBe(GNTST.okay);
    expect(shard.domains.has(OWNER)).toBe(false);
    arena.domains.delete(OWNER);
    arena.create(OWNER);
    ok();
  });

  test("a handle that outlives the owner is good for nothing, above all not for the next domain with that domid", () => {
    const { handle } = map();
    expect(mapper.memory.tables.updateL1(L1, SLOT, 0, 0, false)).toBe(0);
    arena.deliver();
    expect(arena.destroy(OWNER)).toEqual([]);
    expect(mapper.memory.foreign.count).toBe(0);
    owner = arena.create(OWNER);
    grant(GTF.permitAccess);
    const next = map();
    expect(next.status).toBe(GNTST.okay);
    expect(unmap(handle)).toBe(GNTST.badDomain);
    expect(unmap(handle)).toBe(GNTST.badHandle);
    expect(writes()).toBe(true);
    ok();
    expect(unmap(next.handle)).toBe(GNTST.okay);
    ok();
  });

  test("the owner's thread dies: its memory is mapped nowhere any more, and the handle is good for nothing", () => {
    const { handle } = map();
    expect(writes()).toBe(true);
    mapper.shard.receive({ kind: "lost", domid: OWNER });
    expect(writes()).toBe(false);
    expect(mapper.memory.foreign.count).toBe(0);
    expect(unmap(handle)).toBe(GNTST.badDomain);
    expect(arena.destroy(OWNER)).toEqual([]);
    arena.create(OWNER);
    ok();
  });

  test("the mapping domain dies in the middle of a map: what the owner pinned for it comes back", () => {
    const arg = new DataView(new ArrayBuffer(MapGrantRef.size));
    MapGrantRef.hostAddr.setNumber(arg, 0, VA);
    MapGrantRef.flags.set(arg, 0, GNTMAP.hostMap);
    MapGrantRef.ref.set(arg, 0, REF);
    MapGrantRef.dom.set(arg, 0, OWNER);
    mapGrantRef(mapper.vcpus[0]!.context, arg, () => 0);
    expect(arena.destroy(mapper.id)).toEqual([]);
    arena.create(mapper.id);
    expect(owner.grants.active.size).toBe(0);
    expect([...owner.grants.held()]).toEqual([]);
    ok();
  });

  test("status frames that are mapped do not go back to the hypervisor", () => {
    expect(owner.grants.setVersion(2)).toBe(0);
    const [status] = owner.grants.statusFrames;
    const mfn = status!;
    expect(owner.memory.tables.updateL1(L1, SLOT, (mfn << 12) | 7, mfn >>> 20, false)).toBe(0);
    expect(owner.grants.setVersion(1)).toBeLessThan(0);
    expect(owner.grants.version).toBe(2);
    expect(owner.memory.tables.updateL1(L1, SLOT, 0, 0, false)).toBe(0);
    expect(owner.grants.setVersion(1)).toBe(0);
    // Gone, it can be mapped no more.
    expect(owner.memory.tables.updateL1(L1, SLOT, (mfn << 12) | 7, mfn >>> 20, false)).toBeLessThan(0);
    ok();
  });

  /** mov eax, value; jmp . */
  const code = (value: number) => new Uint8Array([0xb8, value, 0, 0, 0, 0xeb, 0xfe]);
  /** The owner executes the page; eax afterwards. */
  const execute = (): number => {
    const { cpu } = owner.vcpus[0]!;
    cpu.setNumber(Reg.rip, PAGE * 4096);
    owner.engine.run(0, 20);
    return cpu.number(0);
  };

  test("a page that the owner has executed runs what the mapping domain has written there", () => {
    expect(owner.memory.copyToGuest(0, PAGE * 4096, code(1))).toBe(true);
    expect(execute()).toBe(1);
    const { handle } = map();
    expect(mapper.memory.copyToGuest(0, VA, code(2))).toBe(true);
    expect(execute()).toBe(2);
    expect(mapper.memory.copyToGuest(0, VA, code(3))).toBe(true);
    expect(execute()).toBe(3);
    expect(unmap(handle)).toBe(GNTST.okay);
    expect(execute()).toBe(3);
  });

  test("what a grant copy, Domain 0, or another vCPU has written there", () => {
    const mfn = base() + PAGE;
    const start = owner.memory.hostOffset(mfn);
    expect(owner.memory.copyToGuest(0, PAGE * 4096, code(1))).toBe(true);
    expect(execute()).toBe(1);
    const copy = { kind: "grant-copy", owner: OWNER, caller: mapper.id, ref: REF, offset: 0, length: 7 } as const;
    expect(acceptGrantRequest(owner.shard, { ...copy, data: code(2), onward: true }).status).toBe(GNTST.okay);
    expect(execute()).toBe(2);
    const mapping = owner.shard.mapForDom0(OWNER, mfn, true);
    if (typeof mapping === "number") throw new Error(`mapForDom0: ${mapping}`);
    for (const value of [3, 4]) {
      owner.memory.bytes.set(code(value), start);
      expect(execute()).toBe(value);
    }
    owner.memory.bytes.set(code(5), start);
    owner.shard.unmapForDom0(mapping);
    expect(execute()).toBe(5);
    expect(owner.memory.copyToGuest(1, PAGE * 4096, code(6))).toBe(true);
    expect(execute()).toBe(6);
  });

  test("the mapping domain executes what the owner writes, an instruction at a time; not where NX says no", () => {
    const start = owner.memory.hostOffset(base() + PAGE);
    expect(map().status).toBe(GNTST.okay);
    const { cpu } = mapper.vcpus[0]!;
    const run = (value: number): number => {
      owner.memory.bytes.set([0xb8, value, 0, 0, 0, 0xeb, 0xfe], start);
      cpu.setNumber(Reg.rip, VA);
      mapper.engine.run(0, 20);
      return cpu.number(0);
    };
    cpu.setNumber(0, 0);
    // Granted pages are mapped NX; the guest may take that off.
    expect(run(7)).toBe(0);
    const word = mapper.memory.types.wordOf(L1, SLOT);
    const { words } = mapper.memory;
    expect(mapper.memory.tables.updateL1(L1, SLOT, words[word]!, words[word + 1]! & 0x7fff_ffff, false)).toBe(0);
    mapper.engine.flushTlb("all");
    expect([run(7), run(8), run(9)]).toEqual([7, 8, 9]);
    ok();
  });
});
