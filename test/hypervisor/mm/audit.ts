/**
 * Recomputes every type, count and reference of a domain from scratch, from its page tables, pins, roots and GDTs, and says what
 * differs from the frame table. The property tests run it after every operation.
 */
import type { DomainMemory } from "../../../src/hypervisor/mm/domain-memory.ts";
import {
  ALLOCATED,
  PARTIAL,
  PageType,
  PINNED,
  REF_COUNT,
  TYPE_COUNT,
  VALIDATED,
  XEN_HEAP,
} from "../../../src/hypervisor/mm/frame-table.ts";
import { mfnOfEntry } from "../../../src/hypervisor/mm/page-entry.ts";
import type { FakeEngine } from "./fake-engine.ts";

/** A reference someone outside memory management holds. */
export interface Hold {
  readonly index: number;
  readonly typed: boolean;
}

export function audit(memory: DomainMemory, engine: FakeEngine | null, holds: readonly Hold[] = []): string[] {
  const { frames, types, words, map, vcpuTables } = memory;
  const wrong: string[] = [];
  const refs = new Int32Array(frames.total);
  const uses = new Int32Array(frames.total);
  const linear = new Int32Array(frames.total);
  const namesOwnLevel = new Set<number>();
  const namedByOwnLevel = new Set<number>();
  const use = (index: number) => {
    refs[index]!++;
    uses[index]!++;
  };
  if (!types.settled) wrong.push("tables are left in limbo");

  for (const { index, typed } of holds) {
    refs[index]!++;
    if (typed) uses[index]!++;
  }
  for (const index of types.lost) refs[index]!++;
  for (const roots of [vcpuTables.kernelRoot, vcpuTables.userRoot]) for (const root of roots) if (root >= 0) use(root);
  for (const gdt of vcpuTables.gdt) for (const index of gdt) use(index);
  for (const ldt of vcpuTables.ldtPages.held) for (const index of ldt.values()) use(index);

  for (let index = 0; index < frames.total; index++) {
    const info = frames.typeInfo[index]!;
    const type = frames.type(index);
    const ref = frames.refInfo[index]!;
    if ((ref & ALLOCATED) !== 0) refs[index]!++;
    if ((ref & XEN_HEAP) !== 0) uses[index]!++;
    if ((info & PINNED) !== 0) use(index);
    if ((info & PARTIAL) !== 0) use(index);
    const table = type >= PageType.l1 && type <= PageType.l4 && (info & (VALIDATED | PARTIAL)) !== 0;
    if (!table) continue;
    if ((info & TYPE_COUNT) === 0) wrong.push(`frame ${index}: validated without a use`);
    const entries = (info & PARTIAL) !== 0 ? frames.entriesDone[index]! : 512;
    for (let slot = 0; slot < entries; slot++) {
      const word = types.wordOf(index, slot);
      const lo = words[word]!;
      const hi = words[word + 1]!;
      if (type === PageType.l4 && slot >= 256 && slot <= 271) {
        const may = types.slots.expected(slot, index + map.baseMfn);
        if (!may.some((entry) => entry[0] === lo && entry[1] === hi) && (info & VALIDATED) !== 0) {
          wrong.push(`frame ${index}: reserved slot ${slot} is ${lo} ${hi}`);
        }
        continue;
      }
      if ((lo & 1) === 0) continue;
      const target = frames.indexOf(lo, hi);
      // An alias frame's counts are the granting domain's: audit-grants.ts.
      if (target < 0 && type === PageType.l1 && memory.foreign.get(mfnOfEntry(lo, hi)) !== undefined) continue;
      if (target < 0 || !frames.owned(target)) {
        wrong.push(`frame ${index} slot ${slot}: names a frame that is not the domain's`);
        continue;
      }
      if ((lo & 4) === 0) wrong.push(`frame ${index} slot ${slot}: without USER`);
      if ((lo & (type === PageType.l1 ? 0x98 : 0x198)) !== 0)
        wrong.push(`frame ${index} slot ${slot}: flags ${lo & 0x198}`);
      if (type === PageType.l1) {
        refs[target]!++;
        if ((lo & 2) !== 0) {
          uses[target]!++;
          if (frames.type(target) !== PageType.writable)
            wrong.push(`frame ${index} slot ${slot}: writes to a ${frames.heldAs(target)}`);
        }
      } else if (target !== index) {
        use(target);
        if (frames.type(target) === type) {
          linear[index]!++;
          linear[target]!--;
          namesOwnLevel.add(index);
          namedByOwnLevel.add(target);
          if ((lo & 2) !== 0) wrong.push(`frame ${index} slot ${slot}: a writable linear entry`);
        } else if (frames.type(target) !== type - 1) {
          wrong.push(`frame ${index} slot ${slot}: L${type} names ${frames.heldAs(target)}`);
        }
      } else if ((lo & 2) !== 0) {
        wrong.push(`frame ${index} slot ${slot}: a writable entry for itself`);
      }
    }
  }

  for (const index of namesOwnLevel)
    if (namedByOwnLevel.has(index)) wrong.push(`frame ${index}: linear tables two deep`);

  let own = 0;
  for (let index = 0; index < frames.total; index++) {
    const heldRefs = frames.refInfo[index]! & REF_COUNT;
    const heldUses = frames.typeInfo[index]! & TYPE_COUNT;
    if (heldRefs !== refs[index]) wrong.push(`frame ${index}: ${heldRefs} references, ${refs[index]} found`);
    if (heldUses !== uses[index])
      wrong.push(`frame ${index}: ${heldUses} uses as ${frames.type(index)}, ${uses[index]} found`);
    if (frames.linear[index] !== linear[index])
      wrong.push(`frame ${index}: linear ${frames.linear[index]}, ${linear[index]} found`);
    if (frames.isFree(index) !== (heldRefs === 0))
      wrong.push(`frame ${index}: ${heldRefs} references and owner ${frames.owner[index]}`);
    if (frames.owned(index) && (frames.refInfo[index]! & XEN_HEAP) === 0) own++;
    const typed = heldUses > 0 && frames.type(index) !== PageType.writable;
    if (typed && frames.type(index) !== PageType.none && engine?.cachedWrites.has(index + map.baseMfn)) {
      wrong.push(`frame ${index}: ${frames.heldAs(index)} and still writable through a TLB`);
    }
    if (frames.isFree(index) && engine?.cachedWrites.has(index + map.baseMfn))
      wrong.push(`frame ${index}: free and in a TLB`);
  }
  if (own !== frames.ownPages) wrong.push(`${frames.ownPages} own pages, ${own} found`);
  return wrong;
}
