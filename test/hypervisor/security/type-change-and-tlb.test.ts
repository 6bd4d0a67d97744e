/**
 * A frame becomes a page table while a processor may still write to it (the class of XSA-401).
 *
 * Types keep a page table from being mapped writable, but what a processor may write is in its TLB, and a guest need not flush. The
 * invariant: before a frame that was writable is looked at as anything else, no TLB of any vCPU can write to it any more; before it is
 * free, none can read it. The order matters: whoever validates first and flushes then has looked at entries that can still change.
 *
 * Without the flush a guest's second vCPU stores entries into a validated page table, which then name whatever it likes.
 */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Domain } from "../../../src/hypervisor/domain.ts";
import { PageType } from "../../../src/hypervisor/mm/frame-table.ts";
import { giveFrame } from "../../../src/hypervisor/mm/reservation.ts";
import { auditDomain } from "../audit-domain.ts";
import { Arena, TABLES_PFN } from "../fuzz/arena.ts";

/** A frame that both vCPUs have mapped writable, and where. */
const PAGE = 70;
const VA = PAGE * 4096;
const L1 = TABLES_PFN + 3;
const USER_L1 = TABLES_PFN + 7;

let arena: Arena;
let domain: Domain;

// A vCPU whose accesses are watched has marks in its TLB, which must not hide an entry.
describe.each([
  ["as they are", 0, 0x202],
  ["with breakpoints", 1, 0x202],
  ["with alignment checks", 0, 0x4_0202],
])("vCPUs %s", (_name, dr7, rflags) => {
  beforeEach(() => {
    arena = new Arena();
    domain = arena.domains.get(1)!;
    for (const { id, cpu } of domain.vcpus) {
      cpu.setDebugRegister(7, dr7, 0);
      cpu.rflags = rflags;
      domain.engine.run(id, 1);
    }
    // Every vCPU, in kernel mode, has written there: its TLB knows.
    for (const { id } of domain.vcpus) expect(domain.memory.copyToGuest(id, VA, new Uint8Array(8))).toBe(true);
  });
  afterEach(() => {
    expect(arena.close()).toEqual([]);
  });

  const mfn = (pfn: number) => domain.memory.map.baseMfn + pfn;
  /** The guest's own mapping goes, without a flush: that is the guest's business, for its own sake. */
  const unmap = () => expect(domain.memory.tables.update(L1, PAGE, 0, 0, false)).toBe(0);
  const canWrite = (vcpu: number) => domain.engine.translate(vcpu, VA, "write") >= 0;

  test.each<[string, () => unknown]>([
    ["an L1 page table", () => domain.memory.tables.pin(mfn(PAGE), PageType.l1)],
    ["an L2 page table", () => domain.memory.tables.pin(mfn(PAGE), PageType.l2)],
    ["an L4 page table", () => domain.memory.tables.pin(mfn(PAGE), PageType.l4)],
    ["a descriptor page", () => domain.memory.vcpuTables.setGdt(0, [mfn(PAGE)], 512)],
  ])("no vCPU can write to it once it is %s", (_name, become) => {
    unmap();
    // Stale, and harmless as long as the frame is nothing else.
    expect([canWrite(0), canWrite(1)]).toEqual([true, true]);
    expect(become()).toBe(0);
    expect([canWrite(0), canWrite(1)]).toEqual([false, false]);
    expect(auditDomain(domain)).toEqual([]);
  });

  test("no vCPU can reach it once it is free", () => {
    unmap();
    expect(giveFrame(domain.memory, mfn(PAGE))).toBe(true);
    expect(domain.memory.frames.isFree(PAGE)).toBe(true);
    for (const { id } of domain.vcpus) expect(domain.engine.translate(id, VA, "read")).toBe(-1);
    expect(auditDomain(domain)).toEqual([]);
  });

  test("a vCPU of user mode is no exception", () => {
    const { memory } = domain;
    expect(memory.tables.update(USER_L1, PAGE, (mfn(PAGE) << 12) | 7, 0, false)).toBe(0);
    domain.vcpus[0]!.cpu.kernelMode = 0;
    expect(memory.copyToGuest(0, VA, new Uint8Array(8))).toBe(true);
    unmap();
    expect(memory.tables.update(USER_L1, PAGE, 0, 0, false)).toBe(0);
    expect(memory.tables.pin(mfn(PAGE), PageType.l1)).toBe(0);
    expect(domain.engine.translate(0, VA, "write")).toBe(-1);
    expect(auditDomain(domain)).toEqual([]);
  });
});
