/** HYPERVISOR_mmuext_op: pins, page-table roots, TLB flushes, the LDT, and clearing and copying of frames. */
import { Errno } from "../../abi/errno.ts";
import { HYPERVISOR, MMUEXT, MmuextOp } from "../../abi/xen.ts";
import type { DomainMemory } from "../mm/domain-memory.ts";
import { PageType } from "../mm/frame-table.ts";
import { accessOk } from "../mm/guest-memory.ts";
import { batchOperand, runBatch } from "./mmu-batch.ts";
import { OWN, pageOwner } from "./page-owner.ts";
import type { HypercallContext, HypercallRow } from "./table.ts";
import { forVcpusIn } from "./vcpu-mask.ts";

const MAX_LDT_ENTRIES = 8192;
/** What forgetting a vCPU's translations, and clearing or copying a frame, costs of the budget, in entries looked at. */
const FLUSH_COST = 128;
const FRAME_COST = 128;

const scratch = new Uint8Array(MmuextOp.size);
const view = new DataView(scratch.buffer);

type Operation = (memory: DomainMemory, context: HypercallContext) => number;

/** An operation that cannot fail. */
const always =
  (run: (memory: DomainMemory, context: HypercallContext) => void): Operation =>
  (memory, context) => {
    run(memory, context);
    return 0;
  };

const mfnArgument = (): number => MmuextOp.arg1.mfn.number(view, 0);
const addressArgument = (): number => MmuextOp.arg1.linearAddr.signed(view, 0);

const pin =
  (level: number): Operation =>
  (memory) =>
    memory.tables.pin(mfnArgument(), level);

function flushMulti(memory: DomainMemory, { domain, vcpu }: HypercallContext, flush: (id: number) => void): number {
  const mask = MmuextOp.arg2.vcpumask.signed(view, 0);
  return forVcpusIn(memory, vcpu.id, mask, domain.vcpuCount, flush) ? 0 : -Errno.EINVAL;
}

function flushTlb(memory: DomainMemory, vcpu: number | "all"): void {
  memory.types.budget -= FLUSH_COST * (vcpu === "all" ? memory.map.vcpus : 1);
  memory.caches.flushTlb(vcpu);
}

/** An address whose translation may be asked to be forgotten; any other has none. */
function flushPage(memory: DomainMemory, vcpu: number | "all", va: number): void {
  if (accessOk(va)) memory.caches.flushPage(vcpu, va);
}

function setLdt(memory: DomainMemory, { vcpu }: HypercallContext): number {
  const entries = MmuextOp.arg2.nrEnts.get(view, 0);
  if (entries === 0) {
    memory.vcpuTables.setLdt(vcpu.id, 0, 0);
    return 0;
  }
  const base = addressArgument();
  if (
    (view.getUint32(MmuextOp.arg1.linearAddr.offset, true) & 0xfff) !== 0 ||
    !accessOk(base) ||
    entries > MAX_LDT_ENTRIES
  ) {
    memory.why.argument(
      "bad-argument",
      entries,
      `an LDT of ${entries} entries at ${hexAddress(base)} cannot be loaded`,
    );
    return -Errno.EINVAL;
  }
  memory.vcpuTables.setLdt(vcpu.id, base, entries);
  return 0;
}

const hexAddress = (va: number): string => `0x${BigInt.asUintN(64, BigInt(va)).toString(16)}`;

/** Takes a frame of the domain for writing; its index, or -1. */
function takeWritable(memory: DomainMemory, mfn: number, asked: string): number {
  const index = memory.frames.indexOfMfn(mfn);
  if (index >= 0 && memory.frames.owned(index)) {
    return memory.types.getPageAndType(index, PageType.writable) === 0 ? index : -1;
  }
  memory.why.foreign("foreign-frame", mfn, "", asked);
  return -1;
}

function clearPage(memory: DomainMemory): number {
  const mfn = mfnArgument();
  const index = takeWritable(memory, mfn, "a clear");
  if (index < 0) return -Errno.EINVAL;
  memory.types.budget -= FRAME_COST;
  memory.clearFrame(mfn);
  memory.types.putPageAndType(index);
  return 0;
}

function copyPage(memory: DomainMemory): number {
  const from = MmuextOp.arg2.srcMfn.number(view, 0);
  if (!memory.getPage(from)) {
    memory.why.foreign("foreign-frame", from, "", "a copy");
    return -Errno.EINVAL;
  }
  const to = mfnArgument();
  const index = takeWritable(memory, to, "a copy");
  if (index >= 0) {
    memory.types.budget -= FRAME_COST;
    memory.copyFrame(to, from);
    memory.types.putPageAndType(index);
  }
  memory.putPage(from);
  return index < 0 ? -Errno.EINVAL : 0;
}

/** Only a domain with devices may flush the processor's caches. */
const flushCache: Operation = () => -Errno.EACCES;
const flushCacheGlobal: Operation = () => -Errno.EINVAL;
const noSuperpages: Operation = () => -Errno.EOPNOTSUPP;

const operations: readonly (readonly [number, string, Operation])[] = [
  [MMUEXT.pinL1Table, "PIN_L1_TABLE", pin(PageType.l1)],
  [MMUEXT.pinL2Table, "PIN_L2_TABLE", pin(PageType.l2)],
  [MMUEXT.pinL3Table, "PIN_L3_TABLE", pin(PageType.l3)],
  [MMUEXT.pinL4Table, "PIN_L4_TABLE", pin(PageType.l4)],
  [MMUEXT.unpinTable, "UNPIN_TABLE", (memory) => memory.tables.unpin(mfnArgument())],
  [MMUEXT.newBaseptr, "NEW_BASEPTR", (memory, { vcpu }) => memory.vcpuTables.setKernelRoot(vcpu.id, mfnArgument())],
  [
    MMUEXT.newUserBaseptr,
    "NEW_USER_BASEPTR",
    (memory, { vcpu }) => memory.vcpuTables.setUserRoot(vcpu.id, mfnArgument()),
  ],
  [MMUEXT.tlbFlushLocal, "TLB_FLUSH_LOCAL", always((memory, { vcpu }) => flushTlb(memory, vcpu.id))],
  [MMUEXT.invlpgLocal, "INVLPG_LOCAL", always((memory, { vcpu }) => flushPage(memory, vcpu.id, addressArgument()))],
  [
    MMUEXT.tlbFlushMulti,
    "TLB_FLUSH_MULTI",
    (memory, context) => flushMulti(memory, context, (id) => flushTlb(memory, id)),
  ],
  [
    MMUEXT.invlpgMulti,
    "INVLPG_MULTI",
    (memory, context) => {
      const va = addressArgument();
      return flushMulti(memory, context, (id) => flushPage(memory, id, va));
    },
  ],
  [MMUEXT.tlbFlushAll, "TLB_FLUSH_ALL", always((memory) => flushTlb(memory, "all"))],
  [MMUEXT.invlpgAll, "INVLPG_ALL", always((memory) => flushPage(memory, "all", addressArgument()))],
  [MMUEXT.flushCache, "FLUSH_CACHE", flushCache],
  [MMUEXT.setLdt, "SET_LDT", setLdt],
  [MMUEXT.clearPage, "CLEAR_PAGE", clearPage],
  [MMUEXT.copyPage, "COPY_PAGE", copyPage],
  [MMUEXT.flushCacheGlobal, "FLUSH_CACHE_GLOBAL", flushCacheGlobal],
  [MMUEXT.markSuper, "MARK_SUPER", noSuperpages],
  [MMUEXT.unmarkSuper, "UNMARK_SUPER", noSuperpages],
];

const table = new Map<number, Operation>(operations.map(([op, , run]) => [op, run]));

export const mmuextOp: HypercallRow = {
  name: "mmuext_op",
  subops: { arg: -1, mask: 0xffff_ffff, names: new Map(operations.map(([op, name]) => [op, name])) },
  operand: (args) => batchOperand(MmuextOp, args),
  run(context, args) {
    const { domain, vcpu } = context;
    const { memory, counters } = domain;
    return runBatch(
      memory,
      vcpu.id,
      args,
      MmuextOp.size,
      () => {
        const owner = pageOwner(context, args.u32(3) & 0xffff);
        return owner === OWN || owner < 0 ? owner : -Errno.EPERM;
      },
      (va) => {
        if (!memory.copyFromGuest(vcpu.id, va, scratch)) return -Errno.EFAULT;
        const command = MmuextOp.cmd.get(view, 0);
        counters.countSubop(HYPERVISOR.mmuextOp, command);
        return table.get(command)?.(memory, context) ?? -Errno.ENOSYS;
      },
    );
  },
};
