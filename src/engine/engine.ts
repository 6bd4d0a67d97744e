/**
 * The engine of one domain: its vCPUs, their translations and its decoded code.
 *
 * One thread runs all of a domain's vCPUs, in turns; nothing here is shared between threads but the guest's frames.
 *
 * Invariants:
 * - a TLB tag stands only for a translation whose frame is inside the domain's memory;
 * - a write tag never stands for a frame with decoded code, so every store to such a frame comes to the slow path, which drops the code it hits;
 * - an alias frame is reached by calls alone (alias-frames.ts); its code, and that of frames which others may write, is never kept but decoded
 *   again for each instruction;
 * - run() may be called after anything: every call begins with a look-up of rip.
 */
import { ALIAS_BASE, AliasFrames } from "./alias-frames.ts";
import { instructionHits, Watching } from "./breakpoints.ts";
import { CodeCache, UNCACHED } from "./code-cache.ts";
import { CpuState, Reg } from "./cpu-state.ts";
import { ExitKind, Vector } from "./exits.ts";
import { GuestMemory, type Translate } from "./guest-words.ts";
import { buildInterpreter } from "./interpreter.ts";
import { ALIAS_HOST, type EngineLayout, Header, PAGE_SIZE, regionsOf, State, VCPU_BYTES } from "./layout.ts";
import { CodePage } from "./record.ts";
import { SegmentLoader } from "./segments.ts";
import { runService, type ServiceContext } from "./services.ts";
import { SseUnit } from "./soft/sse.ts";
import { X87Unit } from "./soft/x87.ts";
import { ALIAS } from "./tlb-entry.ts";

/** What the engine asks of its owner while guest code runs. */
export interface EngineHost {
  /** The time-stamp counter as this vCPU sees it, an integer below 2^53. */
  readTsc(vcpu: number): number;
  /** One line for the domain's log. */
  log(message: string): void;
  /** The frame (mfn) of a page of a vCPU's LDT, or -1: reading a descriptor there is then #PF. Default: none. */
  ldtPage?(vcpu: number, page: number): number;
  /** What the layout's alias frames stand for. Default: nothing. */
  readonly aliases?: AliasFrames;
}

export interface EngineStats {
  /** Instructions executed, exact. A repeated string instruction counts once an iteration. */
  instructions: number;
  tlbMisses: number;
  /** Bytes of the code arena in use, by the whole domain. */
  codeBytes: number;
  /** Pages with decoded code, in the whole domain. */
  decodedPages: number;
}

/** Exit of the generated code that only TypeScript sees: go on, but look at the flags first. */
const RESUME = 0;
/** The loop counts in 32nds of an instruction. */
const MAX_BUDGET = 1 << 25;

const accessNumber = { read: 0, write: 1, execute: 2 } as const;

/** AC of rflags. */
const ALIGNMENT_CHECK = 0x4_0000;
/** BS of DR6. */
const SINGLE_STEP = 0x4000;
/** What an instruction costs of the budget while breakpoints are looked for. */
const WATCHED_COST = 256;

/** #DB for what these bits of DR6 say. */
function debugException(cpu: CpuState, bits: number): ExitKind {
  const [lo, hi] = cpu.debugRegister(6);
  cpu.setDebugRegister(6, lo | bits, hi);
  cpu.recordExit(ExitKind.exception, Vector.debug, 0);
  return ExitKind.exception;
}

/** Exports of the generated module. */
export interface EngineExports {
  run(vcpu: number, budget: number, firstRecord: number): number;
  translate(vcpu: number, va: number, access: number): number;
  flush(vcpu: number): void;
  flushPage(vcpu: number, va: number): void;
  dropFrame(hostPage: number, all: number): void;
  invalidate(codePage: number, offset: number, bytes: number): void;
}

/** Generates and compiles the engine: once a process, then posted to the workers. */
export function compileEngine(): WebAssembly.Module {
  return new WebAssembly.Module(buildInterpreter());
}

export class Engine {
  readonly vcpus: readonly CpuState[];
  readonly #exports: EngineExports;
  readonly #code: CodeCache;
  readonly #layout: EngineLayout;
  readonly #i32: Int32Array;

  /** @param memory the domain's shared memory; its engine part need not be zero */
  constructor(module: WebAssembly.Module, memory: WebAssembly.Memory, layout: EngineLayout, host: EngineHost) {
    const regions = regionsOf(layout.maxVcpus, layout.codeArenaBytes);
    this.#layout = layout;
    this.#i32 = new Int32Array(memory.buffer, 0, regions.arenaEnd / 4);
    const header = this.#i32;
    header[Header.baseMfn / 4] = layout.baseMfn;
    header[Header.frames / 4] = layout.frames;
    header[Header.ramOffset / 4] = layout.ramOffset;
    header[Header.frameTable / 4] = regions.frameTable;
    header[Header.vcpusStart / 4] = regions.vcpus;
    header[Header.vcpusEnd / 4] = regions.vcpus + layout.maxVcpus * VCPU_BYTES;
    header[Header.aliasFirst / 4] = (layout.aliasMfn ?? 0) - layout.baseMfn;
    header[Header.aliasFrames / 4] = layout.aliasFrames ?? 0;
    header.fill(0, Header.nullLine / 4, Header.nullLine / 4 + 64);
    header.fill(0, Header.nullPage / 4, Header.nullPage / 4 + CodePage.bytes / 4);
    header.fill(Header.nullLine, Header.nullPage / 4, Header.nullPage / 4 + 64);
    header.copyWithin(Header.uncachedPage / 4, Header.nullPage / 4, (Header.nullPage + CodePage.bytes) / 4);
    header.fill(0, regions.frameTable / 4, regions.frameTable / 4 + layout.frames);
    const vcpus: CpuState[] = [];
    for (let i = 0; i < layout.maxVcpus; i++) vcpus.push(new CpuState(memory, regions.vcpus + i * VCPU_BYTES, i));
    this.vcpus = vcpus;
    const indexOf = (address: number): number => (address - regions.vcpus) / VCPU_BYTES;
    const reach: Translate = (cpu, va, write) => {
      const at = this.#exports.translate(cpu.address, va, write ? accessNumber.write : accessNumber.read) >>> 0;
      return at === 0 ? -1 : at === ALIAS_HOST ? this.#aliasAt(cpu) : at;
    };
    const aliases = host.aliases ?? new AliasFrames();
    const written = (at: number) =>
      this.invalidateCode(layout.baseMfn + Math.floor((at - layout.ramOffset) / PAGE_SIZE));
    const services: ServiceContext = {
      segments: new SegmentLoader(memory, layout, (cpu, page) => host.ldtPage?.(cpu.index, page) ?? -1, written),
      memory: new GuestMemory(memory, reach, written, aliases),
      aliases,
      view: new DataView(memory.buffer),
      sse: new SseUnit(memory, regions.frameTable),
      x87: new X87Unit(memory, regions.frameTable),
      log: (message) => host.log(message),
    };
    const instance = new WebAssembly.Instance(module, {
      env: {
        memory,
        decode: (s: number): number => this.#code.decodeForLookup(vcpus[indexOf(s)]!),
        readTsc: (s: number): number => host.readTsc(indexOf(s)),
        service: (s: number, what: number, argument: number): number =>
          runService(vcpus[indexOf(s)]!, what, argument, services),
      },
    });
    this.#exports = instance.exports as unknown as EngineExports;
    this.#code = new CodeCache(memory, layout, regions, this.#exports, aliases);
    for (const cpu of vcpus) {
      cpu.reset();
      this.#exports.flush(cpu.address);
    }
  }

  /**
   * Runs a vCPU for about `budget` instructions, at least one. The state after it depends on the state before and the budget alone.
   * @returns why it came back; details in the vCPU's exit fields
   */
  run(vcpu: number, budget: number): ExitKind {
    const cpu = this.vcpus[vcpu]!;
    let left = Math.min(budget, MAX_BUDGET);
    if (cpu.stepPending) {
      cpu.stepPending = false;
      if (this.#trapFlag(cpu)) return debugException(cpu, SINGLE_STEP);
    }
    for (;;) {
      if (this.#watches(cpu)) return this.#runWatched(cpu, left);
      if (this.#trapFlag(cpu)) return this.#trapStep(cpu);
      const kind = this.#exports.run(cpu.address, left, 0);
      if (kind !== RESUME && kind !== UNCACHED) return kind as ExitKind;
      left = this.#i32[(cpu.address + State.budgetLeft) >> 2]!;
      if (kind === UNCACHED) {
        const stepped = this.#step(cpu);
        if (stepped !== ExitKind.budget) return stepped;
        left--;
      }
      if (left <= 0) return ExitKind.budget;
    }
  }

  /** Executes exactly one instruction (one iteration of a repeated string instruction). `budget` says that it completed. TF is not looked at. */
  step(vcpu: number): ExitKind {
    return this.#step(this.vcpus[vcpu]!);
  }
  #step(cpu: CpuState): ExitKind {
    this.#watches(cpu);
    const record = this.#code.decodeStep(cpu);
    if (record === 0) return cpu.exitKind;
    const kind = this.#exports.run(cpu.address, 1, record);
    return kind === RESUME ? ExitKind.budget : (kind as ExitKind);
  }
  #trapFlag(cpu: CpuState): boolean {
    return (this.#i32[(cpu.address + State.flagsOther) >> 2]! & 0x100) !== 0;
  }
  /** One instruction with TF set: #DB behind it. */
  #trapStep(cpu: CpuState): ExitKind {
    cpu.debugShadow = false;
    const kind = this.#step(cpu);
    cpu.stepPending = kind === ExitKind.hypercall;
    return kind === ExitKind.budget && !cpu.debugShadow ? debugException(cpu, SINGLE_STEP) : kind;
  }

  /**
   * Whether DR7 enables a breakpoint. Notes what is to be looked for in accesses to memory, by DR7 and rflags.AC: translations of before the
   * last change of that do not stand.
   */
  #watches(cpu: CpuState): boolean {
    const breakpoints = cpu.breakpointsEnabled;
    const aligned = (this.#i32[(cpu.address + State.flagsOther) >> 2]! & ALIGNMENT_CHECK) !== 0;
    const watching = (breakpoints ? Watching.breakpoints : 0) | (aligned ? Watching.alignment : 0);
    const at = (cpu.address + State.watching) >> 2;
    if (watching !== this.#i32[at]) {
      this.#i32[at] = watching;
      this.#exports.flush(cpu.address);
    }
    if (!breakpoints) cpu.resumeFlag = false;
    return breakpoints;
  }

  /** An instruction at a time: #DB before one that has a breakpoint, behind one whose operands have one. */
  #runWatched(cpu: CpuState, budget: number): ExitKind {
    let shadow = false;
    cpu.breakpointHits = 0;
    for (let left = Math.ceil(budget / WATCHED_COST); left > 0; left--) {
      const rip = cpu.va(Reg.rip);
      const resumed = cpu.resumeFlag;
      const before = resumed || shadow ? 0 : instructionHits(cpu, rip);
      if (before !== 0) return debugException(cpu, before);
      cpu.resumeFlag = false;
      const stepped = this.#trapFlag(cpu) ? SINGLE_STEP : 0;
      cpu.debugShadow = false;
      const kind = this.#step(cpu);
      cpu.stepPending = stepped !== 0 && kind === ExitKind.hypercall;
      if (kind !== ExitKind.budget) return kind;
      // A repeated string instruction is still the same one.
      if (resumed && cpu.va(Reg.rip) === rip) cpu.resumeFlag = true;
      shadow = cpu.debugShadow;
      // What a load of SS has met is told behind the next instruction.
      if (shadow) continue;
      const behind = cpu.breakpointHits | stepped;
      if (behind !== 0) return debugException(cpu, behind);
    }
    return ExitKind.budget;
  }

  /** Forgets all translations of a vCPU, kernel and user. */
  flushTlb(vcpu: number | "all"): void {
    if (vcpu === "all") for (const cpu of this.vcpus) this.#exports.flush(cpu.address);
    else this.#exports.flush(this.vcpus[vcpu]!.address);
  }
  /** Forgets one page's translation, kernel and user. */
  flushPage(vcpu: number | "all", va: number): void {
    if (vcpu === "all") for (const cpu of this.vcpus) this.#exports.flushPage(cpu.address, va);
    else this.#exports.flushPage(this.vcpus[vcpu]!.address, va);
  }
  /** The frame stops being writable: every cached write translation of it goes, of all vCPUs, both TLBs. */
  dropWriteTranslations(mfn: number): void {
    this.#exports.dropFrame(this.#hostPage(mfn), 0);
  }
  /** The frame leaves the domain or changes its meaning: every cached translation of it goes, and its decoded code. */
  dropAllTranslations(mfn: number): void {
    this.#exports.dropFrame(this.#hostPage(mfn), 1);
    this.invalidateCode(mfn);
  }
  /** Others may write the frame from now on without this engine seeing it, or no longer: none of its code is kept meanwhile. */
  setUncached(mfn: number, uncached: boolean): void {
    this.dropAllTranslations(mfn);
    this.#code.setUncached(mfn - this.#layout.baseMfn, uncached);
  }
  /** The frame's bytes were changed from outside: its decoded code goes. */
  invalidateCode(mfn: number): void {
    const frame = mfn - this.#layout.baseMfn;
    if (frame < 0 || frame >= this.#layout.frames) return;
    const codePage = this.#i32[(this.#i32[Header.frameTable / 4]! >> 2) + frame]!;
    if (codePage !== 0) this.#exports.invalidate(codePage, 0, PAGE_SIZE);
  }
  #aliasAt(cpu: CpuState): number {
    return ALIAS_BASE + (this.#i32[(cpu.address + State.aliasAddress) >> 2]! >>> 0);
  }
  /** What the TLB has of a frame: its host address, or its alias address, marked. */
  #hostPage(mfn: number): number {
    const { aliasMfn, aliasFrames = 0 } = this.#layout;
    if (aliasMfn !== undefined && mfn >= aliasMfn && mfn < aliasMfn + aliasFrames)
      return (mfn - aliasMfn) * PAGE_SIZE + Number(ALIAS);
    return this.#layout.ramOffset + (mfn - this.#layout.baseMfn) * PAGE_SIZE;
  }

  /**
   * Translates as the guest itself would in its current mode, with accessed and dirty bits.
   * @returns byte offset in linear memory; ALIAS_BASE + alias address for an alias frame; or -1 with faultVector, faultErrorCode and faultAddress of the vCPU set; nothing is delivered
   */
  translate(vcpu: number, va: number, access: "read" | "write" | "execute"): number {
    const cpu = this.vcpus[vcpu]!;
    const { exitKind, exitVector, exitErrorCode } = cpu;
    const [cr2Lo, cr2Hi] = [cpu.lo(Reg.cr2), cpu.hi(Reg.cr2)];
    const at = this.#exports.translate(cpu.address, va, accessNumber[access]) >>> 0;
    if (at === ALIAS_HOST) return this.#aliasAt(cpu);
    if (at !== 0) return at;
    cpu.faultVector = cpu.exitKind === ExitKind.badFrame ? 0 : cpu.exitVector;
    cpu.faultErrorCode = cpu.exitErrorCode;
    cpu.faultAddress = va;
    cpu.recordExit(exitKind, exitVector, exitErrorCode);
    cpu.set(Reg.cr2, cr2Lo, cr2Hi);
    return -1;
  }

  stats(vcpu: number): EngineStats {
    const at = (this.vcpus[vcpu]!.address + State.instructions) >> 2;
    const wide = (i: number): number => (this.#i32[i]! >>> 0) + this.#i32[i + 1]! * 4294967296;
    return {
      instructions: wide(at),
      tlbMisses: wide(at + 2),
      codeBytes: this.#code.bytesUsed,
      decodedPages: this.#code.pages,
    };
  }
}
