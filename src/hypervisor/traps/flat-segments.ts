/** Xen's flat ring-3 segments, as CS and SS of kernel entries. */
import { FLAT } from "../../abi/arch-x86-64.ts";
import { type CpuState, SegmentRegister } from "../../engine/cpu-state.ts";

/** Attributes as `CpuState.setSegment` wants them: present, DPL 3, accessed; code readable and 64-bit, data writable. */
const CODE64 = 0xa0fb;
const DATA = 0xc0f3;
/** All ones: 4 GiB. */
const FLAT_LIMIT = -1;

/** CS and SS of a kernel entry (FLAT_KERNEL_CS, FLAT_KERNEL_SS). */
export function loadFlatKernelSegments(cpu: CpuState): void {
  cpu.setSegment(SegmentRegister.cs, FLAT.cs64, CODE64, FLAT_LIMIT, 0, 0);
  cpu.setSegment(SegmentRegister.ss, FLAT.ss64, DATA, FLAT_LIMIT, 0, 0);
}
