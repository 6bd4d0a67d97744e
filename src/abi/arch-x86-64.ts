/**
 * The x86-64 side of the ABI (arch-x86/xen.h, arch-x86/xen-x86_64.h): registers, traps, the start-of-day context of a vCPU,
 * and the segment selectors and address ranges that belong to Xen.
 */
import { array, bytes, struct, u8, u16, u32, u64 } from "./struct.ts";

/** Xen's own flat selectors, above the guest's GDT (FLAT_RING3_*). */
export const FLAT = { cs32: 0xe023, cs64: 0xe033, ds32: 0xe02b, ds64: 0, ss32: 0xe02b, ss64: 0xe02b } as const;

/** GDT pages, and entries, below this are the guest's. */
export const FIRST_RESERVED_GDT_PAGE = 14;
export const FIRST_RESERVED_GDT_ENTRY = 7168;

/** Virtual ranges of the hypervisor, as signed canonical addresses: start included, end not. */
export const HYPERVISOR_VIRT_START = -0x8000_0000_0000;
export const HYPERVISOR_VIRT_END = -0x7800_0000_0000;
export const MACH2PHYS_VIRT_START = -0x8000_0000_0000;
export const MACH2PHYS_VIRT_END = -0x7fc0_0000_0000;

/** set_segment_base's first argument. */
export const SEGBASE = { fs: 0, gsUser: 1, gsKernel: 2, gsUserSel: 3 } as const;

/** Flags of vcpu_guest_context and of iret_context. */
export const VGCF = {
  i387Valid: 1 << 0,
  inKernel: 1 << 2,
  failsafeDisablesEvents: 1 << 3,
  syscallDisablesEvents: 1 << 4,
  online: 1 << 5,
  inSyscall: 1 << 8,
} as const;

/** struct iret_context: the stack frame the iret hypercall pops. */
export const IretContext = struct({
  rax: u64,
  r11: u64,
  rcx: u64,
  flags: u64,
  rip: u64,
  cs: u64,
  rflags: u64,
  rsp: u64,
  ss: u64,
});

/** struct trap_info. A table of them ends with an entry whose address is 0. */
export const TrapInfo = struct({ vector: u8, flags: u8, cs: u16, address: u64 });
/** trap_info's flags: privilege level in bits 1:0, bit 2 set to mask events on delivery. */
export const TI = { dplMask: 3, maskEvents: 4 } as const;

/** struct cpu_user_regs. */
export const CpuUserRegs = struct({
  r15: u64,
  r14: u64,
  r13: u64,
  r12: u64,
  rbp: u64,
  rbx: u64,
  r11: u64,
  r10: u64,
  r9: u64,
  r8: u64,
  rax: u64,
  rcx: u64,
  rdx: u64,
  rsi: u64,
  rdi: u64,
  errorCode: u32,
  entryVector: u32,
  rip: u64,
  cs: u16,
  pad0: u16,
  savedUpcallMask: u8,
  pad1: array(u8, 3),
  rflags: u64,
  rsp: u64,
  ss: u16,
  pad2: array(u16, 3),
  es: u16,
  pad3: array(u16, 3),
  ds: u16,
  pad4: array(u16, 3),
  fs: u16,
  pad5: array(u16, 3),
  gs: u16,
  pad6: array(u16, 3),
});

/** struct vcpu_guest_context: the state VCPUOP_initialise gives a vCPU. */
export const VcpuGuestContext = struct({
  fpuCtxt: bytes(512),
  flags: u64,
  userRegs: CpuUserRegs,
  trapCtxt: array(TrapInfo, 256),
  ldtBase: u64,
  ldtEnts: u64,
  gdtFrames: array(u64, 16),
  gdtEnts: u64,
  kernelSs: u64,
  kernelSp: u64,
  ctrlreg: array(u64, 8),
  debugreg: array(u64, 8),
  eventCallbackEip: u64,
  failsafeCallbackEip: u64,
  syscallCallbackEip: u64,
  vmAssist: u64,
  fsBase: u64,
  gsBaseKernel: u64,
  gsBaseUser: u64,
});

/** struct arch_shared_info: where the guest keeps its P2M, for the toolstack. */
export const ArchSharedInfo = struct({
  maxPfn: u64,
  pfnToMfnFrameListList: u64,
  nmiReason: u64,
  p2mCr3: u64,
  p2mVaddr: u64,
  p2mGeneration: u64,
});

/** struct arch_vcpu_info. */
export const ArchVcpuInfo = struct({ cr2: u64, pad: u64 });

/** Bytes before a `cpuid` that ask Xen to emulate it (XEN_EMULATE_PREFIX): ud2a, then "xen". */
export const XEN_EMULATE_PREFIX: readonly number[] = [0x0f, 0x0b, 0x78, 0x65, 0x6e];

/** Xen's CPUID leaves (arch-x86/cpuid.h). */
export const XEN_CPUID = {
  firstLeaf: 0x4000_0000,
  maxNumLeaves: 5,
  /** "XenVMMXenVMM" in ebx, ecx, edx. */
  signatureEbx: 0x566e_6558,
  signatureEcx: 0x6558_4d4d,
  signatureEdx: 0x4d4d_566e,
  feat1MmuPtUpdatePreserveAd: 1,
} as const;

/** struct xen_cpuid_leaf. */
export const XenCpuidLeaf = struct({ leaf: u32, subleaf: u32, a: u32, b: u32, c: u32, d: u32 });

/** Page-table entry bits (AMD APM volume 2, 5.3; bits 9 to 11 are the guest's). */
export const PTE = {
  present: 1 << 0,
  rw: 1 << 1,
  user: 1 << 2,
  pwt: 1 << 3,
  pcd: 1 << 4,
  accessed: 1 << 5,
  dirty: 1 << 6,
  /** Page size in L2 and L3; PAT in L1. */
  pse: 1 << 7,
  pat: 1 << 7,
  global: 1 << 8,
  avail: 7 << 9,
  /** Bit 63, as the sign bit of the high half. */
  nxHi: 0x8000_0000,
} as const;
