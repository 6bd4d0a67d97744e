/** Segment registers as the hypervisor loads them itself: Xen's flat ring-3 segments, and null. */
import { FLAT } from "../../abi/arch-x86-64.ts";
import { type CpuState, SegmentRegister } from "../../engine/cpu-state.ts";

/** Attribute bits as `CpuState.setSegment` wants them: present, DPL 3, accessed; code readable and 64-bit, data writable. */
const CODE64 = 0xa0fb;
const DATA = 0xc0f3;
const LIMIT = 0xffff_ffff | 0;

/** CS and SS of a kernel entry (FLAT_KERNEL_CS, FLAT_KERNEL_SS). */
export function loadFlatKernelSegments(cpu: CpuState): void {
  cpu.setSegment(SegmentRegister.cs, FLAT.cs64, CODE64, LIMIT, 0, 0);
  cpu.setSegment(SegmentRegister.ss, FLAT.ss64, DATA, LIMIT, 0, 0);
}

/** A null selector. FS and GS keep their bases where the processor does (`keepBase`). */
export function loadNull(cpu: CpuState, segment: SegmentRegister, selector = 0): void {
  const [lo, hi] = cpu.segmentBase(segment);
  cpu.setSegment(segment, selector & 3, 0, 0, lo, hi);
}
