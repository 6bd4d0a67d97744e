/** HYPERVISOR_update_va_mapping and _otherdomain: one L1 entry by virtual address, and a TLB flush to go with it. */
import { Errno } from "../../abi/errno.ts";
import { UVMF } from "../../abi/xen.ts";
import type { DomainMemory } from "../mm/domain-memory.ts";
import { PageType } from "../mm/frame-table.ts";
import { accessOk } from "../mm/guest-memory.ts";
import { entryText } from "../mm/page-entry.ts";
import type { HypercallArgs } from "./arguments.ts";
import { OWN, pageOwner } from "./page-owner.ts";
import type { HypercallContext, HypercallHandler, HypercallRow } from "./table.ts";
import { forVcpusIn } from "./vcpu-mask.ts";

const ENTRIES = 512;

/**
 * Stores the entry. 0; -EINVAL: no L1 table at that address; else as for mmu_update. Through a linear page table the walk ends in a table
 * of another level, whose entries an L1's rules must never be applied to.
 */
function store(memory: DomainMemory, vcpu: number, va: number, lo: number, hi: number): number {
  const root = memory.vcpuTables.kernelRoot[vcpu]!;
  const place = accessOk(va) && root >= 0 ? memory.tables.findLeaf(root + memory.map.baseMfn, va) : -1;
  if (place < 0 || memory.frames.type(Math.floor(place / ENTRIES)) !== PageType.l1) {
    memory.why.argument("not-mapped", Math.abs(va) || 0, `no L1 page table at the address of ${entryText(lo, hi)}`);
    return -Errno.EINVAL;
  }
  return memory.tables.updateL1(Math.floor(place / ENTRIES), place % ENTRIES, lo, hi, false);
}

/** The flush that `flags` ask for: 0 or -EFAULT for a vCPU bitmap that cannot be read. */
function flush({ domain, vcpu }: HypercallContext, va: number, args: HypercallArgs): number {
  const { caches } = domain.memory;
  const kind = args.lo(2) & UVMF.flushtypeMask;
  if (kind !== UVMF.tlbFlush && kind !== UVMF.invlpg) return 0;
  const one = (id: number | "all"): void => (kind === UVMF.tlbFlush ? caches.flushTlb(id) : caches.flushPage(id, va));
  const target = args.va(2) - kind;
  if (target === UVMF.local) one(vcpu.id);
  else if (target === UVMF.all) one("all");
  else if (!forVcpusIn(domain.memory, vcpu.id, target, domain.vcpuCount, one)) return -Errno.EFAULT;
  return 0;
}

const run: HypercallHandler = (context, args) => {
  const { memory } = context.domain;
  const va = args.va(0);
  memory.refusals.vcpu = context.vcpu.id;
  const rc = store(memory, context.vcpu.id, va, args.lo(1), args.hi(1));
  return rc === 0 ? flush(context, va, args) : rc;
};

export const updateVaMapping: HypercallRow = {
  name: "update_va_mapping",
  subops: {
    arg: 2,
    mask: UVMF.flushtypeMask,
    names: new Map([
      [UVMF.none, "no flush"],
      [UVMF.tlbFlush, "TLB_FLUSH"],
      [UVMF.invlpg, "INVLPG"],
    ]),
  },
  run,
};

export const updateVaMappingOtherdomain: HypercallRow = {
  name: "update_va_mapping_otherdomain",
  run(context, args) {
    const owner = pageOwner(context, args.u32(3) & 0xffff);
    if (owner < 0) return owner;
    // I/O memory: no domain here has access to any.
    return owner === OWN ? run(context, args) : -Errno.EPERM;
  },
};
