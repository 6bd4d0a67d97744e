/**
 * The core of Xen's public ABI (xen/xen.h) for 64-bit PV guests: hypercall numbers, reserved domids, page-table operations, and
 * the two pages every guest knows, start_info and shared_info.
 */
import { ArchSharedInfo, ArchVcpuInfo } from "./arch-x86-64.ts";
import { array, bytes, i8, struct, u8, u32, u64, union } from "./struct.ts";

/** Bytes in a frame. */
export const PAGE_SIZE = 4096;
export const PAGE_SHIFT = 12;

/** __HYPERVISOR_*: the number in rax. Arguments are in rdi, rsi, rdx, r10, r8, r9; the result comes back in rax. */
export const HYPERVISOR = {
  setTrapTable: 0,
  mmuUpdate: 1,
  setGdt: 2,
  stackSwitch: 3,
  setCallbacks: 4,
  fpuTaskswitch: 5,
  schedOpCompat: 6,
  platformOp: 7,
  setDebugreg: 8,
  getDebugreg: 9,
  updateDescriptor: 10,
  memoryOp: 12,
  multicall: 13,
  updateVaMapping: 14,
  setTimerOp: 15,
  eventChannelOpCompat: 16,
  xenVersion: 17,
  consoleIo: 18,
  physdevOpCompat: 19,
  grantTableOp: 20,
  vmAssist: 21,
  updateVaMappingOtherdomain: 22,
  iret: 23,
  vcpuOp: 24,
  setSegmentBase: 25,
  mmuextOp: 26,
  xsmOp: 27,
  nmiOp: 28,
  schedOp: 29,
  callbackOp: 30,
  xenoprofOp: 31,
  eventChannelOp: 32,
  physdevOp: 33,
  hvmOp: 34,
  sysctl: 35,
  domctl: 36,
  kexecOp: 37,
  tmemOp: 38,
  argoOp: 39,
  xenpmuOp: 40,
  dmOp: 41,
  hypfsOp: 42,
  /** Architecture-specific; on x86 arch0 is the machine check call. */
  arch0: 48,
  arch1: 49,
  arch2: 50,
  arch3: 51,
  arch4: 52,
  arch5: 53,
  arch6: 54,
  arch7: 55,
} as const;

/** Hypercall numbers are below this: Xen's table, and the hypercall page, have as many slots. */
export const NR_HYPERCALLS = 64;

/** Virtual interrupts that can be bound to a port. Some are per vCPU, the rest global: see `PER_VCPU_VIRQS`. */
export const VIRQ = {
  timer: 0,
  debug: 1,
  console: 2,
  domExc: 3,
  tbuf: 4,
  debugger: 6,
  xenoprof: 7,
  conRing: 8,
  pcpuState: 9,
  memEvent: 10,
  argo: 11,
  enomem: 12,
  xenpmu: 13,
  arch0: 16,
  arch1: 17,
  arch2: 18,
  arch3: 19,
  arch4: 20,
  arch5: 21,
  arch6: 22,
  arch7: 23,
} as const;

/** NR_VIRQS. */
export const NR_VIRQS = 24;

/** VIRQs of which every vCPU has its own ("V." in xen/xen.h). */
export const PER_VCPU_VIRQS: ReadonlySet<number> = new Set([VIRQ.timer, VIRQ.debug, VIRQ.xenoprof, VIRQ.xenpmu]);

/** Domids with a meaning of their own (DOMID_*). */
export const DOMID = {
  firstReserved: 0x7ff0,
  self: 0x7ff0,
  io: 0x7ff1,
  xen: 0x7ff2,
  cow: 0x7ff3,
  invalid: 0x7ff4,
  idle: 0x7fff,
} as const;

/** struct mmu_update: `ptr` is a machine address with the command in bits 1:0 (`MMU`), `val` the new entry. */
export const MmuUpdate = struct({ ptr: u64, val: u64 });

/** Commands in bits 1:0 of mmu_update's ptr. */
export const MMU = { normalPtUpdate: 0, machphysUpdate: 1, ptUpdatePreserveAd: 2, ptUpdateNoTranslate: 3 } as const;

/** In a count argument of mmu_update and mmuext_op: this is a continuation of a preempted call. */
export const MMU_UPDATE_PREEMPTED = 0x8000_0000;

export const MMUEXT = {
  pinL1Table: 0,
  pinL2Table: 1,
  pinL3Table: 2,
  pinL4Table: 3,
  unpinTable: 4,
  newBaseptr: 5,
  tlbFlushLocal: 6,
  invlpgLocal: 7,
  tlbFlushMulti: 8,
  invlpgMulti: 9,
  tlbFlushAll: 10,
  invlpgAll: 11,
  flushCache: 12,
  setLdt: 13,
  newUserBaseptr: 15,
  clearPage: 16,
  copyPage: 17,
  flushCacheGlobal: 18,
  markSuper: 19,
  unmarkSuper: 20,
} as const;

/** struct mmuext_op. */
export const MmuextOp = struct({
  cmd: u32,
  arg1: union({ mfn: u64, linearAddr: u64 }),
  arg2: union({ nrEnts: u32, vcpumask: u64, srcMfn: u64 }),
});

/** Flags of update_va_mapping: what to flush (bits 1:0), and where (or the address of a vCPU bitmap, from bit 2 up). */
export const UVMF = { none: 0, tlbFlush: 1, invlpg: 2, flushtypeMask: 3, multi: 0, local: 0, all: 4 } as const;

export const CONSOLEIO = { write: 0, read: 1 } as const;

export const VMASST_CMD = { enable: 0, disable: 1 } as const;
export const VMASST_TYPE = {
  fourGbSegments: 0,
  fourGbSegmentsNotify: 1,
  writablePagetables: 2,
  paeExtendedCr3: 3,
  architecturalIopl: 4,
  runstateUpdateFlag: 5,
  m2pStrict: 32,
} as const;

/** struct multicall_entry. */
export const MulticallEntry = struct({ op: u64, result: u64, args: array(u64, 6) });

/** struct vcpu_time_info: the PV clock of one vCPU. Odd version: being written. */
export const VcpuTimeInfo = struct({
  version: u32,
  pad0: u32,
  tscTimestamp: u64,
  systemTime: u64,
  tscToSystemMul: u32,
  tscShift: i8,
  flags: u8,
  pad1: array(u8, 2),
});

/** Bits of vcpu_time_info's flags (XEN_PVCLOCK_*). */
export const PVCLOCK = { tscStable: 1, guestStopped: 2 } as const;

/** struct vcpu_info. */
export const VcpuInfo = struct({
  evtchnUpcallPending: u8,
  evtchnUpcallMask: u8,
  evtchnPendingSel: u64,
  arch: ArchVcpuInfo,
  time: VcpuTimeInfo,
});

/** vCPUs that have a vcpu_info inside shared_info (XEN_LEGACY_MAX_VCPUS); the others must register one. */
export const LEGACY_MAX_VCPUS = 32;

/** struct shared_info: the page each domain shares with the hypervisor. */
export const SharedInfo = struct({
  vcpuInfo: array(VcpuInfo, LEGACY_MAX_VCPUS),
  evtchnPending: array(u64, 64),
  evtchnMask: array(u64, 64),
  wcVersion: u32,
  wcSec: u32,
  wcNsec: u32,
  wcSecHi: u32,
  arch: ArchSharedInfo,
});

/** MAX_GUEST_CMDLINE: bytes of the command line, its NUL included. */
export const MAX_GUEST_CMDLINE = 1024;

/** struct start_info: what rsi points to at the guest's first instruction. */
export const StartInfo = struct({
  magic: bytes(32),
  nrPages: u64,
  sharedInfo: u64,
  flags: u32,
  storeMfn: u64,
  storeEvtchn: u32,
  console: union({
    domU: struct({ mfn: u64, evtchn: u32 }),
    dom0: struct({ infoOff: u32, infoSize: u32 }),
  }),
  ptBase: u64,
  nrPtFrames: u64,
  mfnList: u64,
  modStart: u64,
  modLen: u64,
  cmdLine: bytes(MAX_GUEST_CMDLINE),
  firstP2mPfn: u64,
  nrP2mFrames: u64,
});

/** start_info's magic for this ABI. */
export const START_INFO_MAGIC = "xen-3.0-x86_64";

/** SIF_*: flags of start_info. */
export const SIF = {
  privileged: 1 << 0,
  initdomain: 1 << 1,
  multibootMod: 1 << 2,
  modStartPfn: 1 << 3,
  virtP2m4tools: 1 << 4,
  pmMask: 0xff << 8,
} as const;
