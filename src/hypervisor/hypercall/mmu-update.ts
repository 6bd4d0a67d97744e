/** HYPERVISOR_mmu_update: updates of page-table entries by machine address, and of the machine-to-physical table. */
import { Errno } from "../../abi/errno.ts";
import { DOMID, HYPERVISOR, MMU, MmuUpdate } from "../../abi/xen.ts";
import { ALIAS_BASE } from "../../engine/alias-frames.ts";
import type { DomainMemory } from "../mm/domain-memory.ts";
import { PageType } from "../mm/frame-table.ts";
import { entryText, L1_DISALLOWED, mfnOfEntry, PRESENT } from "../mm/page-entry.ts";
import { NO_MFN } from "../mm/page-types.ts";
import { batchOperand, runBatch } from "./mmu-batch.ts";
import { IO, pageOwner } from "./page-owner.ts";
import type { HypercallRow } from "./table.ts";

const PAGE_MASK = 0xfff;
/** The command is in the bits below an entry's alignment; the guest's header names two of the three. */
const COMMAND_MASK = 7;
/** The high half of the largest machine address a frame here can have. */
const ADDRESS_HI = 1;

const scratch = new Uint8Array(MmuUpdate.size);
const scratchWords = new Int32Array(scratch.buffer);

/** Applies one request, given as halves. `owner` is OWN, IO, or the -errno of a domain that is not the caller's. */
export function applyMmuUpdate(
  memory: DomainMemory,
  owner: number,
  ptrLo: number,
  ptrHi: number,
  lo: number,
  hi: number,
): number {
  const command = ptrLo & COMMAND_MASK;
  if (command > MMU.ptUpdateNoTranslate) return -Errno.ENOSYS;
  if (owner < 0) return owner;
  const index = ptrHi >>> 0 <= ADDRESS_HI ? memory.frames.indexOf(ptrLo, ptrHi) : -1;
  if (index < 0 || !memory.frames.owned(index)) {
    const mfn = (ptrHi >>> 0) * 0x10_0000 + (ptrLo >>> 12);
    memory.why.foreign("foreign-frame", mfn, entryText(lo, hi), "an mmu_update");
    return -Errno.EINVAL;
  }
  if (command === MMU.machphysUpdate) {
    if (owner === IO) return -Errno.EINVAL;
    memory.m2p.setRaw(index, lo, hi);
    return 0;
  }
  const slot = (ptrLo & PAGE_MASK) >>> 3;
  const held = memory.frames.typeCount(index) > 0 ? memory.frames.type(index) : PageType.none;
  if (owner === IO && held > PageType.l1 && held <= PageType.l4) return -Errno.EINVAL;
  if (owner === IO && held === PageType.l1 && (lo & PRESENT) !== 0 && (lo & L1_DISALLOWED) === 0) {
    if (!memory.tables.keepsMapping(index, slot, lo, hi)) return mapIo(memory, index, lo, hi);
  }
  return memory.tables.update(index, slot, lo, hi, command === MMU.ptUpdatePreserveAd);
}

/** A mapping of I/O memory, which no domain here has any of. */
function mapIo(memory: DomainMemory, table: number, lo: number, hi: number): number {
  memory.why.frame(
    "io-frame",
    table,
    entryText(lo, hi),
    "an entry was to map I/O memory, which the domain has no access to",
  );
  const mfn = mfnOfEntry(lo, hi);
  if (mfn === NO_MFN) return -Errno.EINVAL;
  const kind = memory.frames.foreignKind(mfn);
  return kind === "io" || kind === "no-such-frame" ? -Errno.EPERM : -Errno.EBUSY;
}

export const mmuUpdate: HypercallRow = {
  name: "mmu_update",
  subops: {
    arg: -1,
    mask: COMMAND_MASK,
    names: new Map([
      [MMU.normalPtUpdate, "NORMAL_PT_UPDATE"],
      [MMU.machphysUpdate, "MACHPHYS_UPDATE"],
      [MMU.ptUpdatePreserveAd, "PT_UPDATE_PRESERVE_AD"],
      [MMU.ptUpdateNoTranslate, "PT_UPDATE_NO_TRANSLATE"],
    ]),
  },
  operand: (args) => batchOperand(MmuUpdate, args),
  run(context, args) {
    const { domain, vcpu } = context;
    const { memory, counters } = domain;
    const { words } = memory;
    const foreign = args.u32(3);
    const tablesOf = foreign >>> 16;
    let owner = 0;
    // Requests are contiguous: one translation is good to the end of its page.
    let page = -1;
    let pageOffset = 0;
    const tablesThere =
      tablesOf === 0 ||
      tablesOf - 1 === domain.id ||
      (tablesOf - 1 < DOMID.firstReserved && context.shard.exists(tablesOf - 1));
    return runBatch(
      memory,
      vcpu.id,
      args,
      MmuUpdate.size,
      () => {
        if (!tablesThere) return -Errno.ESRCH;
        owner = pageOwner(context, foreign & 0xffff);
        if (owner === -Errno.ESRCH) return owner;
        if (tablesOf !== 0 && tablesOf - 1 !== domain.id) owner = -Errno.EPERM;
        return 0;
      },
      (va) => {
        const inPage = va & PAGE_MASK;
        let source = words;
        let word = 0;
        if (va - inPage !== page) {
          pageOffset = memory.offsetForRead(vcpu.id, va - inPage);
          if (pageOffset < 0) return -Errno.EFAULT;
          page = va - inPage;
        }
        if ((inPage & 3) === 0 && inPage <= PAGE_MASK + 1 - MmuUpdate.size && pageOffset < ALIAS_BASE) {
          word = (pageOffset + inPage) >>> 2;
        } else {
          if (!memory.copyFromGuest(vcpu.id, va, scratch)) return -Errno.EFAULT;
          source = scratchWords;
        }
        const ptrLo = source[word]!;
        counters.countSubop(HYPERVISOR.mmuUpdate, ptrLo & COMMAND_MASK);
        return applyMmuUpdate(memory, owner, ptrLo, source[word + 1]!, source[word + 2]!, source[word + 3]!);
      },
      tablesThere,
    );
  },
};
