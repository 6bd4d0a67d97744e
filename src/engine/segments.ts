/**
 * Segment descriptors: loading selectors, far transfers, LAR, LSL, VERR and VERW, at CPL 3 in 64-bit mode (Intel SDM vol. 3, chapters 3 and 5).
 *
 * Descriptors come from the guest's GDT frames and LDT, and, above the guest's part of the GDT, from the flat ring-3 selectors that Xen offers.
 * A fault has the selector with its RPL bits cleared as error code. A descriptor that is loaded is marked accessed, in its table too.
 */
import { type CpuState, type SegmentRegister, SegmentRegister as Sreg } from "./cpu-state.ts";
import { ExitKind, Vector } from "./exits.ts";
import { type EngineLayout, PAGE_SIZE } from "./layout.ts";

/** First GDT entry that is Xen's: FIRST_RESERVED_GDT_ENTRY of xen/arch-x86/xen.h. */
const FIRST_RESERVED_ENTRY = 14 * 512;
/** Xen's flat selectors: 32-bit code, data and stack, 64-bit code; [low, high] of the descriptor. */
const reserved: ReadonlyMap<number, Descriptor> = new Map(
  (
    [
      [0xe023, 0x0000ffff, 0x00cffb00],
      [0xe02b, 0x0000ffff, 0x00cff300],
      [0xe033, 0x0000ffff, 0x00affb00],
    ] as const
  ).map(([selector, lo, hi]) => [selector >> 3, { lo, hi }]),
);

export interface Descriptor {
  readonly lo: number;
  readonly hi: number;
  /** Host offset of where it stands; none for the hypervisor's own. */
  readonly at?: number;
}
/** In place of a descriptor: it could not be read, and the page fault is recorded. */
export type Faulted = null;

const ACCESSED = 1 << 8;
const PRESENT = 1 << 15;
const IS_SEGMENT = 1 << 12;
const IS_CODE = 1 << 11;
const CONFORMING = 1 << 10;
const READ_OR_WRITE = 1 << 9;
const LONG = 1 << 21;
const GRANULAR = 1 << 23;

export const dplOf = (d: Descriptor): number => (d.hi >> 13) & 3;
const baseOf = (d: Descriptor): number => ((d.lo >>> 16) | ((d.hi & 0xff) << 16) | (d.hi & 0xff000000)) >>> 0;
export function limitOf(d: Descriptor): number {
  const raw = (d.lo & 0xffff) | (d.hi & 0xf0000);
  return (d.hi & GRANULAR) !== 0 ? ((raw << 12) | 0xfff) >>> 0 : raw;
}
/** Bits 8..15 and 20..23 of the high word, at 0..7 and 12..15. */
const attributesOf = (d: Descriptor): number => ((d.hi >> 8) & 0xff) | ((d.hi >> 8) & 0xf000);

export class SegmentLoader {
  readonly #memory: WebAssembly.Memory;
  readonly #layout: EngineLayout;
  readonly #ldtPage: (cpu: CpuState, page: number) => number;
  readonly #written: (at: number) => void;

  /**
   * @param ldtPage frame of a page of the LDT, -1 for none
   * @param written told the host offset of each descriptor that is changed
   */
  constructor(
    memory: WebAssembly.Memory,
    layout: EngineLayout,
    ldtPage: (cpu: CpuState, page: number) => number,
    written: (at: number) => void,
  ) {
    this.#memory = memory;
    this.#layout = layout;
    this.#ldtPage = ldtPage;
    this.#written = written;
  }

  /** The descriptor of a selector; undefined where the table has none. */
  descriptor(cpu: CpuState, selector: number): Descriptor | undefined | Faulted {
    const entry = selector >> 3;
    const page = entry >> 9;
    if ((selector & 4) === 0) {
      if (entry >= FIRST_RESERVED_ENTRY) return reserved.get(entry);
      return this.#read(cpu.gdtMfns[page], entry);
    }
    if (entry >= cpu.ldtEntries) return undefined;
    const found = this.#read(this.#ldtPage(cpu, page), entry);
    if (found !== undefined) return found;
    // The processor meets the table's page missing, while it reads it as the system.
    cpu.cr2 = cpu.ldtBase + entry * 8;
    raise(cpu, Vector.pageFault, 0);
    return null;
  }
  #read(mfn: number | undefined, entry: number): Descriptor | undefined {
    const frame = (mfn ?? -1) - this.#layout.baseMfn;
    if (frame < 0 || frame >= this.#layout.frames) return undefined;
    const at = this.#layout.ramOffset + frame * PAGE_SIZE + (entry & 511) * 8;
    const view = new DataView(this.#memory.buffer, at, 8);
    return { lo: view.getInt32(0, true), hi: view.getInt32(4, true), at };
  }
  /** Marks a descriptor accessed; as it is then. */
  #access(d: Descriptor): Descriptor {
    if (d.at === undefined || (d.hi & ACCESSED) !== 0) return d;
    const hi = d.hi | ACCESSED;
    new DataView(this.#memory.buffer).setInt32(d.at + 4, hi, true);
    this.#written(d.at);
    return { ...d, hi };
  }

  /** Loads ES, SS, DS, FS or GS. True, or false with the fault recorded. */
  load(cpu: CpuState, segment: SegmentRegister, selector: number): boolean {
    if ((selector & ~3) === 0) {
      // A null selector: not for SS at CPL 3.
      if (segment === Sreg.ss) return raise(cpu, Vector.generalProtection, 0);
      cpu.setSegment(segment, selector, 0, 0, 0, 0);
      return true;
    }
    const error = selector & 0xfffc;
    const d = this.descriptor(cpu, selector);
    if (d === null) return false;
    if (d === undefined || (d.hi & IS_SEGMENT) === 0) return raise(cpu, Vector.generalProtection, error);
    const code = (d.hi & IS_CODE) !== 0;
    if (segment === Sreg.ss) {
      if ((selector & 3) !== 3 || dplOf(d) !== 3 || code || (d.hi & READ_OR_WRITE) === 0)
        return raise(cpu, Vector.generalProtection, error);
      if ((d.hi & PRESENT) === 0) return raise(cpu, Vector.stackFault, error);
    } else {
      if (code && (d.hi & READ_OR_WRITE) === 0) return raise(cpu, Vector.generalProtection, error);
      if (!(code && (d.hi & CONFORMING) !== 0) && dplOf(d) < 3) return raise(cpu, Vector.generalProtection, error);
      if ((d.hi & PRESENT) === 0) return raise(cpu, Vector.segmentNotPresent, error);
    }
    cpu.setSegment(segment, selector, attributesOf(this.#access(d)), limitOf(d), baseOf(d) | 0, 0);
    return true;
  }

  /**
   * Checks a selector for CS of a far transfer within CPL 3. Gives the descriptor, or undefined with the fault recorded. 32-bit code is refused: the
   * engine runs 64-bit code only.
   * @param returning RETF and IRET want RPL 3; jumps and calls take any
   */
  checkCode(
    cpu: CpuState,
    selector: number,
    returning: boolean,
    log: (message: string) => void,
  ): Descriptor | undefined {
    const error = selector & 0xfffc;
    const refuse = (vector: number): undefined => {
      raise(cpu, vector, (selector & ~3) === 0 ? 0 : error);
      return undefined;
    };
    if ((selector & ~3) === 0) return refuse(Vector.generalProtection);
    const d = this.descriptor(cpu, selector);
    if (d === null) return undefined;
    if (d === undefined || (d.hi & IS_SEGMENT) === 0 || (d.hi & IS_CODE) === 0) return refuse(Vector.generalProtection);
    const conforming = (d.hi & CONFORMING) !== 0;
    if ((!conforming && dplOf(d) !== 3) || (returning && (selector & 3) !== 3)) return refuse(Vector.generalProtection);
    if ((d.hi & PRESENT) === 0) return refuse(Vector.segmentNotPresent);
    if ((d.hi & LONG) === 0) {
      log(`vcpu ${cpu.index}: 32-bit code segment ${selector.toString(16)} is not supported: #GP`);
      return refuse(Vector.generalProtection);
    }
    return d;
  }
  setCode(cpu: CpuState, selector: number, d: Descriptor): void {
    cpu.setSegment(Sreg.cs, (selector & 0xfffc) | 3, attributesOf(this.#access(d)), limitOf(d), 0, 0);
  }

  /** LAR: the access rights as it gives them, or undefined. */
  lar(cpu: CpuState, selector: number): number | undefined | Faulted {
    const d = this.#query(cpu, selector);
    if (d === undefined || d === null) return d;
    const system = (d.hi & IS_SEGMENT) === 0;
    // In 64-bit mode: LDT, TSS (available, busy) and call gate.
    if (system && ![2, 9, 11, 12].includes((d.hi >> 8) & 15)) return undefined;
    return d.hi & 0x00ffff00;
  }
  /** LSL: the limit in bytes, or undefined. */
  lsl(cpu: CpuState, selector: number): number | undefined | Faulted {
    const d = this.#query(cpu, selector);
    if (d === undefined || d === null) return d;
    if ((d.hi & IS_SEGMENT) === 0 && ![2, 9, 11].includes((d.hi >> 8) & 15)) return undefined;
    return limitOf(d);
  }
  /** VERR, VERW: whether ring 3 may read, or write, the segment. */
  verify(cpu: CpuState, selector: number, write: boolean): boolean | Faulted {
    const d = this.#query(cpu, selector);
    if (d === null) return null;
    if (d === undefined || (d.hi & IS_SEGMENT) === 0) return false;
    const code = (d.hi & IS_CODE) !== 0;
    const bit = (d.hi & READ_OR_WRITE) !== 0;
    return write ? !code && bit : !code || bit;
  }
  /** The descriptor when the selector is not null and CPL 3 may see it. */
  #query(cpu: CpuState, selector: number): Descriptor | undefined | Faulted {
    if ((selector & 0xfffc) === 0) return undefined;
    const d = this.descriptor(cpu, selector);
    if (d === undefined || d === null) return d;
    const conforming = (d.hi & (IS_SEGMENT | IS_CODE | CONFORMING)) === (IS_SEGMENT | IS_CODE | CONFORMING);
    return conforming || dplOf(d) === 3 ? d : undefined;
  }
}

/** Records an exception in the vCPU's exit fields. Returns false. */
export function raise(cpu: CpuState, vector: number, errorCode: number): false {
  cpu.recordExit(ExitKind.exception, vector, errorCode);
  return false;
}
