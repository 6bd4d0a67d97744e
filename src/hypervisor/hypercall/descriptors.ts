/** HYPERVISOR_set_gdt and HYPERVISOR_update_descriptor: segment descriptors, in frames that the guest cannot write meanwhile. */

import { FIRST_RESERVED_GDT_ENTRY } from "../../abi/arch-x86-64.ts";
import { Errno } from "../../abi/errno.ts";
import { checkDescriptor } from "../mm/descriptor-check.ts";
import { PageType } from "../mm/frame-table.ts";
import { entryText } from "../mm/page-entry.ts";
import { VcpuTables } from "../mm/vcpu-tables.ts";
import type { HypercallRow } from "./table.ts";

/** (frames: array of u64 mfns, entries). 0, -EINVAL (too many entries, or frames that cannot be descriptor pages), -EFAULT. */
export const setGdt: HypercallRow = {
  name: "set_gdt",
  run({ domain, vcpu }, args) {
    const { memory } = domain;
    const entries = args.u32(1);
    memory.refusals.vcpu = vcpu.id;
    if (entries > FIRST_RESERVED_GDT_ENTRY) return memory.vcpuTables.setGdt(vcpu.id, [], entries);
    const mfns: number[] = [];
    for (let i = 0; i < VcpuTables.gdtFrames(entries); i++) {
      const mfn = memory.readU64(vcpu.id, args.va(0) + i * 8);
      if (mfn < 0) return -Errno.EFAULT;
      mfns.push(mfn);
    }
    const rc = memory.vcpuTables.setGdt(vcpu.id, mfns, entries);
    memory.types.settle();
    return rc;
  },
};

const descriptor = new Int32Array(2);

/** (machine address, descriptor). 0, or -EINVAL: not the domain's frame, unaligned, or a descriptor that may not be. */
export const updateDescriptor: HypercallRow = {
  name: "update_descriptor",
  run({ domain, vcpu }, args) {
    const { memory } = domain;
    memory.refusals.vcpu = vcpu.id;
    const address = args.number(0);
    const mfn = Math.floor(address / 4096);
    const index = memory.frames.indexOfMfn(mfn);
    if (index < 0 || !memory.frames.owned(index)) {
      memory.why.foreign("foreign-frame", mfn, entryText(args.lo(1), args.hi(1)), "update_descriptor");
      return -Errno.EINVAL;
    }
    descriptor[0] = args.lo(1);
    descriptor[1] = args.hi(1);
    if ((args.lo(0) & 7) !== 0 || !checkDescriptor(descriptor, 0)) {
      const text = "a descriptor that is not aligned, or that the processor must not see";
      memory.why.frame("descriptor", index, entryText(args.lo(1), args.hi(1)), text);
      return -Errno.EINVAL;
    }
    const held = memory.frames.typeCount(index) > 0 && memory.frames.type(index) === PageType.segDesc;
    const type = held ? PageType.segDesc : PageType.writable;
    const rc = memory.types.getPageAndType(index, type);
    if (rc !== 0) return -Errno.EINVAL;
    memory.types.storeEntry(index, (args.lo(0) & 0xfff) >>> 3, descriptor[0]!, descriptor[1]!);
    memory.types.putPageAndType(index);
    return 0;
  },
};
