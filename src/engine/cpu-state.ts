/**
 * A vCPU's registers as TypeScript sees them: accessors on the vCPU's block in the domain's linear memory (layout.ts).
 *
 * Everything is complete whenever the engine does not run this vCPU: the lazy flags are put together on reading, so a caller sees only
 * architectural values. Writing is allowed at the same times.
 *
 * 64-bit values cross as 32-bit halves. A virtual address is a signed double: canonical ones are exact integers in [-2^47, 2^47); a non-canonical one is NaN.
 */
import { type ExitKind, Vector } from "./exits.ts";
import { fromRflags, rflagsOf } from "./flag-image.ts";
import { Fx, SEGMENT_BYTES, Segment, State, VCPU_BYTES } from "./layout.ts";

/** Registers by their number in the vCPU block (64-bit words). */
export const Reg = {
  rax: 0,
  rcx: 1,
  rdx: 2,
  rbx: 3,
  rsp: 4,
  rbp: 5,
  rsi: 6,
  rdi: 7,
  r8: 8,
  r9: 9,
  r10: 10,
  r11: 11,
  r12: 12,
  r13: 13,
  r14: 14,
  r15: 15,
  fsBase: State.fsBase / 8,
  gsBase: State.gsBase / 8,
  rip: State.rip / 8,
  cr2: State.cr2 / 8,
  exitInsnRip: State.exitInsnRip / 8,
} as const;

/** Segment registers in the processor's encoding. */
export const SegmentRegister = { es: 0, cs: 1, ss: 2, ds: 3, fs: 4, gs: 5 } as const;
export type SegmentRegister = (typeof SegmentRegister)[keyof typeof SegmentRegister];

const TWO32 = 4294967296;

/** What SLDT shows while there is an LDT: Xen's own entry, the eleventh of those above the guest's. */
const LDT_SELECTOR = 0xe050;

export class CpuState {
  readonly index: number;
  /** Byte offset of this vCPU's block in linear memory. */
  readonly address: number;
  /** The guest's GDT: frames of 512 descriptors each, and how many descriptors it has. */
  gdtMfns: readonly number[] = [];
  gdtEntries = 0;
  /** The guest's LDT: linear address and how many descriptors it has. */
  ldtBase = 0;
  ldtEntries = 0;
  readonly #i32: Int32Array;
  readonly #u32: Uint32Array;
  readonly #u16: Uint16Array;
  readonly #big: BigInt64Array;
  readonly #u8: Uint8Array;

  constructor(memory: WebAssembly.Memory, address: number, index: number) {
    this.index = index;
    this.address = address;
    this.#i32 = new Int32Array(memory.buffer, address, VCPU_BYTES / 4);
    this.#u32 = new Uint32Array(memory.buffer, address, VCPU_BYTES / 4);
    this.#u16 = new Uint16Array(memory.buffer, address, VCPU_BYTES / 2);
    this.#big = new BigInt64Array(memory.buffer, address, VCPU_BYTES / 8);
    this.#u8 = new Uint8Array(memory.buffer, address, VCPU_BYTES);
  }

  /** Low half of a 64-bit register, signed. */
  lo(reg: number): number {
    return this.#i32[reg * 2] as number;
  }
  /** High half of a 64-bit register, signed. */
  hi(reg: number): number {
    return this.#i32[reg * 2 + 1] as number;
  }
  set(reg: number, lo: number, hi: number): void {
    this.#i32[reg * 2] = lo;
    this.#i32[reg * 2 + 1] = hi;
  }
  /** Sets a register from a double: any integer of magnitude up to 2^53, negative ones as two's complement. */
  setNumber(reg: number, n: number): void {
    this.#i32[reg * 2] = n;
    this.#i32[reg * 2 + 1] = Math.floor(n / TWO32);
  }
  /** The register as a signed double; exact up to 2^53 in magnitude. */
  number(reg: number): number {
    return this.hi(reg) * TWO32 + (this.#u32[reg * 2] as number);
  }
  /** The register as a virtual address: an exact signed double, or NaN when it is not canonical. */
  va(reg: number): number {
    const hi = this.hi(reg);
    return (hi << 16) >> 16 === hi ? hi * TWO32 + (this.#u32[reg * 2] as number) : Number.NaN;
  }
  /** The register as an unsigned bigint; for tests and rare paths. */
  big(reg: number): bigint {
    return BigInt.asUintN(64, this.#big[reg] as bigint);
  }
  setBig(reg: number, value: bigint): void {
    this.#big[reg] = BigInt.asIntN(64, value);
  }

  /** rflags, complete. Writing: bit 1 and IF are always 1, RF VM VIF VIP always 0. */
  get rflags(): number {
    return rflagsOf(
      this.#i32[State.flagRes / 4] as number,
      this.#i32[State.flagRes / 4 + 1] as number,
      this.#i32[State.flagAux / 4] as number,
      this.#i32[State.flagAux / 4 + 1] as number,
      this.#i32[State.flagsOther / 4] as number,
    );
  }
  set rflags(value: number) {
    fromRflags(value, this.#i32);
  }

  /** 1: the guest kernel runs (cr3Kernel, its TLB and GS base), 0: its user mode. Writing swaps the active GS base as SWAPGS does. */
  get kernelMode(): 0 | 1 {
    return this.#i32[State.kernelMode / 4] === 0 ? 0 : 1;
  }
  set kernelMode(mode: 0 | 1) {
    if (mode === this.kernelMode) return;
    const lo = this.#i32[State.gsBase / 4] as number;
    const hi = this.#i32[State.gsBase / 4 + 1] as number;
    this.#i32[State.gsBase / 4] = this.#i32[State.gsBaseOther / 4] as number;
    this.#i32[State.gsBase / 4 + 1] = this.#i32[State.gsBaseOther / 4 + 1] as number;
    this.#i32[State.gsBaseOther / 4] = lo;
    this.#i32[State.gsBaseOther / 4 + 1] = hi;
    this.#i32[State.kernelMode / 4] = mode;
    this.#i32[State.tlb / 4] = this.address + (mode === 1 ? State.kernelTlb : State.userTlb);
  }

  /** Root page-table frame of kernel mode. The caller flushes the TLB. */
  get cr3Kernel(): number {
    return this.#i32[State.cr3Kernel / 4] as number;
  }
  set cr3Kernel(mfn: number) {
    this.#i32[State.cr3Kernel / 4] = mfn;
  }
  /** Root page-table frame of user mode. The caller flushes the TLB. */
  get cr3User(): number {
    return this.#i32[State.cr3User / 4] as number;
  }
  set cr3User(mfn: number) {
    this.#i32[State.cr3User / 4] = mfn;
  }

  /** FS base, as register number `Reg.fsBase` has it. */
  setFsBase(lo: number, hi: number): void {
    this.set(Reg.fsBase, lo, hi);
  }
  /** The kernel's GS base, active or not; [lo, hi]. */
  get gsBaseKernel(): readonly [number, number] {
    return this.#pair(this.kernelMode === 1 ? State.gsBase : State.gsBaseOther);
  }
  set gsBaseKernel([lo, hi]: readonly [number, number]) {
    this.#setPair(this.kernelMode === 1 ? State.gsBase : State.gsBaseOther, lo, hi);
  }
  /** User mode's GS base, active or not; [lo, hi]. */
  get gsBaseUser(): readonly [number, number] {
    return this.#pair(this.kernelMode === 0 ? State.gsBase : State.gsBaseOther);
  }
  set gsBaseUser([lo, hi]: readonly [number, number]) {
    this.#setPair(this.kernelMode === 0 ? State.gsBase : State.gsBaseOther, lo, hi);
  }

  selector(segment: SegmentRegister): number {
    return this.#i32[(State.segments + segment * SEGMENT_BYTES + Segment.selector) / 4] as number;
  }
  /** Sets the visible selector alone; hidden parts stay as they are. */
  setSelector(segment: SegmentRegister, selector: number): void {
    this.#i32[(State.segments + segment * SEGMENT_BYTES + Segment.selector) / 4] = selector & 0xffff;
  }
  /** Hidden limit in bytes, unsigned. */
  segmentLimit(segment: SegmentRegister): number {
    return this.#u32[(State.segments + segment * SEGMENT_BYTES + Segment.limit) / 4] as number;
  }
  /** Hidden attributes: descriptor bits 40..47 and 52..55 as bits 0..7 and 12..15. */
  segmentAttributes(segment: SegmentRegister): number {
    return this.#i32[(State.segments + segment * SEGMENT_BYTES + Segment.attributes) / 4] as number;
  }
  /** Hidden base, [lo, hi]; FS and GS give their 64-bit base. */
  segmentBase(segment: SegmentRegister): readonly [number, number] {
    return this.#pair(this.#baseOffset(segment));
  }
  /** Sets a whole segment register, no checks. */
  setSegment(
    segment: SegmentRegister,
    selector: number,
    attributes: number,
    limit: number,
    baseLo: number,
    baseHi: number,
  ): void {
    const at = (State.segments + segment * SEGMENT_BYTES) / 4;
    this.#i32[at + Segment.selector / 4] = selector & 0xffff;
    this.#i32[at + Segment.attributes / 4] = attributes;
    this.#i32[at + Segment.limit / 4] = limit;
    this.#setPair(this.#baseOffset(segment), baseLo, baseHi);
  }
  #baseOffset(segment: SegmentRegister): number {
    if (segment === SegmentRegister.fs) return State.fsBase;
    if (segment === SegmentRegister.gs) return State.gsBase;
    return State.segments + segment * SEGMENT_BYTES + Segment.base;
  }

  /**
   * The guest's GDT. `mfns` hold 512 descriptors each, and all of them count: `entries` is what the guest said, and only kept. Frames
   * outside memory read as not present.
   */
  setGdt(mfns: readonly number[], entries: number): void {
    this.gdtMfns = [...mfns];
    this.gdtEntries = entries;
  }
  /** The guest's LDT at a linear address, with `entries` descriptors (0: none). */
  setLdt(baseVa: number, entries: number): void {
    this.ldtBase = baseVa;
    this.ldtEntries = entries;
    this.#u16[State.ldtr / 2] = entries === 0 ? 0 : LDT_SELECTOR;
  }

  /** Faulting address of the last #PF or bad frame, as it stands in CR2. Canonical always. */
  get cr2(): number {
    return this.number(Reg.cr2);
  }
  set cr2(va: number) {
    this.setNumber(Reg.cr2, va);
  }
  /** CR0.TS: an x87, MMX or SSE instruction raises #NM. */
  get tsFlag(): boolean {
    return this.#i32[State.tsFlag / 4] !== 0;
  }
  set tsFlag(on: boolean) {
    this.#i32[State.tsFlag / 4] = on ? 1 : 0;
  }
  /** rflags.RF: the next instruction meets no breakpoint of its own. It ends with that instruction, and is in no image but a return's. */
  resumeFlag = false;
  /** MOV has just loaded SS: no #DB comes before the next instruction has been executed. */
  debugShadow = false;
  /** `syscall` was stepped over with TF set: #DB comes before the next instruction, as behind SYSRET, if TF is set then. */
  stepPending = false;
  /** B0 to B3 of DR6 for the operands of the instruction under way. */
  breakpointHits = 0;
  /** Whether DR7 enables any of the four, by L or G. */
  get breakpointsEnabled(): boolean {
    return (this.#i32[(State.debug + debugSlot(7) * 8) / 4]! & 0xff) !== 0;
  }
  /** DR0-DR3, DR6, DR7 by their number, [lo, hi]. */
  debugRegister(n: number): readonly [number, number] {
    return this.#pair(State.debug + debugSlot(n) * 8);
  }
  setDebugRegister(n: number, lo: number, hi: number): void {
    this.#setPair(State.debug + debugSlot(n) * 8, lo, hi);
  }

  /** Writes the exit fields; for the engine and for a hypervisor that hands an exception on. */
  recordExit(kind: ExitKind, vector: number, errorCode: number): void {
    this.#i32[State.exitKind / 4] = kind;
    this.#i32[State.exitVector / 4] = vector;
    this.#i32[State.exitErrorCode / 4] = errorCode;
    this.#i32[State.exitLength / 4] = 0;
  }
  get exitKind(): ExitKind {
    return this.#i32[State.exitKind / 4] as ExitKind;
  }
  /** Exception vector, or the operand of `int n`. */
  get exitVector(): number {
    return this.#i32[State.exitVector / 4] as number;
  }
  get exitErrorCode(): number {
    return this.#i32[State.exitErrorCode / 4] as number;
  }
  /** Length in bytes of the instruction that made a `cpuid` exit. */
  get exitLength(): number {
    return this.#i32[State.exitLength / 4] as number;
  }
  /** Address of the `int n` that made a `softInt` exit. */
  get exitInsnRip(): number {
    return this.va(Reg.exitInsnRip);
  }
  /** Does the exception of this exit push an error code? */
  get exitHasErrorCode(): boolean {
    const v = this.exitVector;
    return v === 8 || (v >= Vector.invalidTss && v <= Vector.pageFault) || v === Vector.alignmentCheck;
  }
  /** The fault that `Engine.translate` met, instead of delivering it: vector (0 for a bad frame), error code, address (NaN where not canonical). */
  faultVector = 0;
  faultErrorCode = 0;
  faultAddress = 0;

  get mxcsr(): number {
    return this.#u32[(State.fx + Fx.mxcsr) / 4] as number;
  }
  set mxcsr(value: number) {
    this.#u32[(State.fx + Fx.mxcsr) / 4] = value;
  }
  /** Copies the 512-byte FXSAVE image (64-bit form) out. */
  getFxImage(into: Uint8Array): void {
    into.set(this.#u8.subarray(State.fx, State.fx + 512));
    const top = ((this.#u16[(State.fx + Fx.fsw) / 2] as number) >> 11) & 7;
    for (let i = 0; i < 8; i++) {
      const from = State.fx + Fx.st + ((i + top) & 7) * 16;
      into.set(this.#u8.subarray(from, from + 16), Fx.st + i * 16);
    }
  }
  /** Takes a 512-byte FXSAVE image (64-bit form) over, as FXRSTOR does; the reserved MXCSR bits are cut. */
  setFxImage(from: Uint8Array): void {
    this.#u8.set(from.subarray(0, 416), State.fx);
    const top = ((this.#u16[(State.fx + Fx.fsw) / 2] as number) >> 11) & 7;
    for (let i = 0; i < 8; i++) {
      const to = State.fx + Fx.st + ((i + top) & 7) * 16;
      this.#u8.set(from.subarray(Fx.st + i * 16, Fx.st + i * 16 + 10), to);
      this.#u8.fill(0, to + 10, to + 16);
    }
    this.#u32[(State.fx + Fx.mxcsr) / 4] = (this.#u32[(State.fx + Fx.mxcsr) / 4] as number) & 0xffff;
    this.#u32[(State.fx + Fx.mxcsrMask) / 4] = 0xffff;
  }

  /** Everything as at the start of a vCPU: registers 0, rflags 0x202, FXSAVE image as after FNINIT with MXCSR 0x1f80, kernel mode. */
  reset(): void {
    this.#u8.fill(0, 0, State.kernelTlb);
    this.#i32[State.vcpuIndex / 4] = this.index;
    this.#i32[State.kernelMode / 4] = 1;
    this.#i32[State.tlb / 4] = this.address + State.kernelTlb;
    this.rflags = 0x202;
    this.#u16[(State.fx + Fx.fcw) / 2] = 0x37f;
    this.#u32[(State.fx + Fx.mxcsr) / 4] = 0x1f80;
    this.#u32[(State.fx + Fx.mxcsrMask) / 4] = 0xffff;
    this.setDebugRegister(6, 0xffff0ff0 | 0, 0);
    this.setDebugRegister(7, 0x400, 0);
  }

  #pair(offset: number): readonly [number, number] {
    return [this.#i32[offset / 4] as number, this.#i32[offset / 4 + 1] as number];
  }
  #setPair(offset: number, lo: number, hi: number): void {
    this.#i32[offset / 4] = lo;
    this.#i32[offset / 4 + 1] = hi;
  }
}

function debugSlot(n: number): number {
  return n < 4 ? n : n - 2;
}
