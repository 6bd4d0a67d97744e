/**
 * What CPUID shows a PV guest: an x86-64-v1 processor (what the engine executes) of an AMD make, with an invariant TSC of 1 GHz, without what
 * a PV kernel could not use (PSE, PGE, MTRR, APIC), and Xen's own leaves from 0x40000000 on (arch-x86/cpuid.h).
 *
 * The same answer whether a guest executes a plain `cpuid` or asks for emulation with Xen's prefix.
 */
import { XEN_CPUID } from "../../abi/arch-x86-64.ts";
import { Reg } from "../../engine/cpu-state.ts";
import { TSC_KHZ } from "../time/areas.ts";
import type { Vcpu } from "../vcpu.ts";
import { XEN_MAJOR, XEN_MINOR } from "../version.ts";

/** eax, ebx, ecx, edx. */
type Leaf = readonly [number, number, number, number];

const NOTHING: Leaf = [0, 0, 0, 0];

/** Family 15, model 0x6b, stepping 1: a K8, the first x86-64 generation. */
const SIGNATURE = 0x0006_0fb1;
const CLFLUSH_LINE = 8 << 8;
const LOGICAL_PROCESSORS_SHIFT = 16;

// Feature bits: AMD APM volume 3, appendix E.
const FPU = 1 << 0;
const DE = 1 << 2;
const TSC = 1 << 4;
const MSR = 1 << 5;
const PAE = 1 << 6;
const CX8 = 1 << 8;
const CMOV = 1 << 15;
const PAT = 1 << 16;
const CLFSH = 1 << 19;
const MMX = 1 << 23;
const FXSR = 1 << 24;
const SSE = 1 << 25;
const SSE2 = 1 << 26;
const CX16 = 1 << 13;
const HYPERVISOR = 1 << 31;
const HTT = 1 << 28;
const SYSCALL = 1 << 11;
const NX = 1 << 20;
const LONG_MODE = 1 << 29;
const LAHF_LM = 1 << 0;
const CMP_LEGACY = 1 << 1;
const INVARIANT_TSC = 1 << 8;

const FEATURES_EDX = FPU | DE | TSC | MSR | PAE | CX8 | CMOV | PAT | CLFSH | MMX | FXSR | SSE | SSE2;
/** Leaf 0x80000001 repeats these bits of leaf 1 on AMD processors. */
const REPEATED = FPU | DE | TSC | MSR | PAE | CX8 | CMOV | PAT | MMX | FXSR;

const PHYSICAL_BITS = 40;
const VIRTUAL_BITS = 48;
/** Xen's time leaf: the host's TSC is stable, and guests read it natively. */
const HOST_TSC_IS_SAFE = 1 << 1;

const text = (at: string): number =>
  at.charCodeAt(0) | (at.charCodeAt(1) << 8) | (at.charCodeAt(2) << 16) | (at.charCodeAt(3) << 24);

const BRAND = "domzero virtual x86-64 CPU".padEnd(48, "\0");
const brandLeaf = (part: number): Leaf => {
  const at = (word: number) => text(BRAND.slice(part * 16 + word * 4, part * 16 + word * 4 + 4));
  return [at(0), at(1), at(2), at(3)];
};

const VENDOR = [text("Auth"), text("cAMD"), text("enti")] as const;

/** Leaves that are the same for every vCPU and subleaf. */
const leaves: ReadonlyMap<number, Leaf> = new Map([
  [0, [7, ...VENDOR]],
  [0x8000_0000, [0x8000_0008 | 0, ...VENDOR]],
  [0x8000_0001, [SIGNATURE, 0, LAHF_LM | CMP_LEGACY, REPEATED | SYSCALL | NX | LONG_MODE]],
  [0x8000_0002, brandLeaf(0)],
  [0x8000_0003, brandLeaf(1)],
  [0x8000_0004, brandLeaf(2)],
  // L1 TLBs and caches (64 KiB each), L2 TLB and cache (512 KiB).
  [0x8000_0005, [0x01ff_01ff, 0x01ff_01ff, 0x4002_0140, 0x4002_0140]],
  [0x8000_0006, [0, 0x4200_4200, 0x0200_8140, 0]],
  [0x8000_0007, [0, 0, 0, INVARIANT_TSC]],
  [
    XEN_CPUID.firstLeaf,
    [
      XEN_CPUID.firstLeaf + XEN_CPUID.maxNumLeaves,
      XEN_CPUID.signatureEbx,
      XEN_CPUID.signatureEcx,
      XEN_CPUID.signatureEdx,
    ],
  ],
  [XEN_CPUID.firstLeaf + 1, [(XEN_MAJOR << 16) | XEN_MINOR, 0, 0, 0]],
  // One hypercall page, written through the MSR of the same number as the first leaf.
  [XEN_CPUID.firstLeaf + 2, [1, XEN_CPUID.firstLeaf, XEN_CPUID.feat1MmuPtUpdatePreserveAd, 0]],
]);

/**
 * CPUID as every vCPU of a domain sees it: cores of one package, all of which Xen gives APIC id 0. `machineBits` is the width of the
 * machine addresses.
 */
export function cpuid(vcpus: number, machineBits: number, leaf: number, subleaf: number): Leaf {
  const fixed = leaves.get(leaf);
  if (fixed !== undefined) return fixed;
  switch (leaf) {
    case 1:
      return [SIGNATURE, CLFLUSH_LINE | (vcpus << LOGICAL_PROCESSORS_SHIFT), CX16 | HYPERVISOR, FEATURES_EDX | HTT];
    case 0x8000_0008:
      return [(VIRTUAL_BITS << 8) | PHYSICAL_BITS, 0, vcpus - 1, 0];
    case XEN_CPUID.firstLeaf + 3:
      if (subleaf === 0) return [HOST_TSC_IS_SAFE, 0, TSC_KHZ, 0];
      // Scale of the TSC to ns: offset 0, multiplier and shift as in vcpu_time_info.
      if (subleaf === 1) return [0, 0, 0x8000_0000 | 0, 1];
      return subleaf === 2 ? [TSC_KHZ, 0, 0, 0] : NOTHING;
    case XEN_CPUID.firstLeaf + 5:
      return subleaf === 0 ? [0, machineBits, 0, 0] : NOTHING;
    default:
      return NOTHING;
  }
}

/** Executes a `cpuid`; rip stays where it is. */
export function emulateCpuid(vcpu: Vcpu): void {
  const { cpu } = vcpu;
  const { map } = vcpu.domain.memory;
  const machineBits = Math.ceil(Math.log2((map.aliasMfn + map.aliasFrames) * 4096));
  const [a, b, c, d] = cpuid(vcpu.domain.vcpuCount, machineBits, cpu.lo(Reg.rax) >>> 0, cpu.lo(Reg.rcx) >>> 0);
  cpu.set(Reg.rax, a, 0);
  cpu.set(Reg.rbx, b, 0);
  cpu.set(Reg.rcx, c, 0);
  cpu.set(Reg.rdx, d, 0);
}
