/** Why `Engine.run` came back. Details are in the vCPU's exit fields. */
export const ExitKind = {
  /** The budget is used up. */
  budget: 1,
  /** `syscall`: rip is behind it, rcx and r11 are set as the processor does. Look at kernelMode for who called. */
  hypercall: 2,
  /** A fault (rip at the instruction) or #DB trap (rip behind it): exitVector, exitErrorCode (0 where there is none), cr2 for #PF. */
  exception: 3,
  /** `int n` and `int3`: exitVector; rip behind it, exitInsnRip at it. */
  softInt: 4,
  /** `cpuid`: rip at it, exitLength its length. */
  cpuid: 5,
  /** A page-table walk met a frame outside the domain's memory: cr2 is the virtual address, rip at the instruction. */
  badFrame: 6,
} as const;
export type ExitKind = (typeof ExitKind)[keyof typeof ExitKind];

/** Exception vectors (Intel SDM vol. 3, table 6-1). */
export const Vector = {
  divideError: 0,
  debug: 1,
  breakpoint: 3,
  overflow: 4,
  invalidOpcode: 6,
  deviceNotAvailable: 7,
  invalidTss: 10,
  segmentNotPresent: 11,
  stackFault: 12,
  generalProtection: 13,
  pageFault: 14,
  x87: 16,
  alignmentCheck: 17,
  simd: 19,
} as const;
export type Vector = (typeof Vector)[keyof typeof Vector];
