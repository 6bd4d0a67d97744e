/**
 * A process of a native run, alive on the engine: the same pages at the same addresses, in user mode.
 *
 * Pages without recorded contents appear on first touch, filled with zeros, wherever a region of the recording has them.
 */

import { type CpuState, Reg, SegmentRegister } from "../../../src/engine/cpu-state.ts";
import { compileEngine, Engine } from "../../../src/engine/engine.ts";
import { ExitKind, Vector } from "../../../src/engine/exits.ts";
import { engineBytes } from "../../../src/engine/layout.ts";
import { cpuidAnswer, type NativeState, type Region } from "./recording.ts";

const PAGE = 4096;
const BASE_MFN = 0x10000;
const FRAMES = 32768;
const ARENA_BYTES = 16 << 20;
/** How far a stack may grow below its top (Linux's default limit). */
const STACK_BYTES = 8 << 20;
const TSC_STEP = 1000;
const BUDGET = 1_000_000;
/** Linux's selectors and, as far as ring 3 sees it, its GDT (arch/x86/include/asm/segment.h). */
const SELECTOR_CS = 0x33;
const SELECTOR_SS = 0x2b;
const GDT = [
  0n,
  0x00cf9b000000ffffn,
  0x00af9b000000ffffn,
  0x00cf93000000ffffn,
  0x00cffb000000ffffn,
  0x00cff3000000ffffn,
  0x00affb000000ffffn,
];
const Pte = { present: 1n, writable: 2n, user: 4n, noExecute: 1n << 63n } as const;

let compiled: WebAssembly.Module | undefined;

/** Why the program stopped: null at a system call, else in words. */
type Stop = string | null;

export class UserProcess {
  readonly cpu: CpuState;
  readonly engine: Engine;
  readonly #ram: Uint8Array;
  readonly #view: DataView;
  readonly #log: string[] = [];
  readonly #root: number;
  /** Page number to frame. */
  readonly #pages = new Map<number, number>();
  readonly #free: number[] = [];
  #regions: readonly Region[] = [];
  #tsc = 0;

  constructor() {
    const ramOffset = engineBytes(1, ARENA_BYTES);
    const pages = Math.ceil((ramOffset + FRAMES * PAGE) / 65536);
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    compiled ??= compileEngine();
    const layout = { baseMfn: BASE_MFN, frames: FRAMES, ramOffset, maxVcpus: 1, codeArenaBytes: ARENA_BYTES };
    this.engine = new Engine(compiled, memory, layout, {
      readTsc: () => {
        this.#tsc += TSC_STEP;
        return this.#tsc;
      },
      log: (message) => void this.#log.push(message),
    });
    this.#ram = new Uint8Array(memory.buffer, ramOffset, FRAMES * PAGE);
    this.#view = new DataView(memory.buffer, ramOffset, FRAMES * PAGE);
    for (let frame = FRAMES - 1; frame >= 0; frame--) this.#free.push(frame);
    this.#root = this.#allocate();
    const gdt = this.#allocate();
    for (const [i, descriptor] of GDT.entries()) this.#view.setBigUint64(gdt * PAGE + i * 8, descriptor, true);
    const cpu = this.engine.vcpus[0]!;
    this.cpu = cpu;
    cpu.kernelMode = 0;
    cpu.cr3Kernel = BASE_MFN + this.#root;
    cpu.cr3User = BASE_MFN + this.#root;
    cpu.setGdt([BASE_MFN + gdt], GDT.length);
    cpu.setSegment(SegmentRegister.cs, SELECTOR_CS, 0xa0fb, 0xffff_ffff, 0, 0);
    cpu.setSegment(SegmentRegister.ss, SELECTOR_SS, 0xc0f3, 0xffff_ffff, 0, 0);
    this.engine.flushTlb("all");
  }

  /** Takes over registers, bases and the FXSAVE image. */
  load(state: NativeState): void {
    this.loadIntegers(state);
    this.cpu.setFxImage(state.fx);
  }
  /** Takes over what a system call may change. */
  loadIntegers(state: NativeState): void {
    for (let i = 0; i < 16; i++) this.cpu.setBig(i, state.gpr[i]!);
    this.cpu.setBig(Reg.rip, state.rip);
    this.cpu.rflags = state.rflags;
    this.cpu.setBig(Reg.fsBase, state.fsBase);
    this.cpu.setBig(Reg.gsBase, state.gsBase);
  }

  /** The mappings from now on. Pages that stay keep their contents. */
  setRegions(regions: readonly Region[]): void {
    this.#regions = regions;
    for (const [page, frame] of this.#pages) {
      const region = this.#regionOf(page * PAGE);
      if (region === undefined) this.#drop(page, frame);
      else this.#writeLeaf(page, this.#leaf(frame, region));
    }
    this.engine.flushTlb("all");
  }
  /** The range is zeros from now on. */
  clear(va: number, bytes: number): void {
    for (let page = va / PAGE; page < (va + bytes) / PAGE; page++) {
      const frame = this.#pages.get(page);
      if (frame !== undefined) this.#drop(page, frame);
    }
    this.engine.flushTlb("all");
  }
  write(va: number, content: Uint8Array): void {
    for (let at = 0; at < content.length; ) {
      const page = Math.floor((va + at) / PAGE);
      const inside = (va + at) % PAGE;
      const count = Math.min(content.length - at, PAGE - inside);
      const frame = this.#pages.get(page) ?? this.#touch(page);
      if (frame === undefined)
        throw new Error(`the kernel wrote to ${(va + at).toString(16)}, where nothing is mapped`);
      this.#ram.set(content.subarray(at, at + count), frame * PAGE + inside);
      this.engine.invalidateCode(BASE_MFN + frame);
      at += count;
    }
  }
  /** Bytes inside one page; zeros where none has appeared yet. */
  read(va: number, bytes: number): Uint8Array {
    const frame = this.#pages.get(Math.floor(va / PAGE));
    if (frame === undefined) return new Uint8Array(bytes);
    const at = frame * PAGE + (va % PAGE);
    return this.#ram.subarray(at, Math.min(at + bytes, (frame + 1) * PAGE));
  }

  /** Runs to the next system call: behind its instruction, before its effect. */
  runToCall(timeoutMs: number): Stop {
    const end = performance.now() + timeoutMs;
    while (performance.now() < end) {
      const kind = this.engine.run(0, BUDGET);
      if (kind === ExitKind.hypercall) return null;
      const stop = this.#handle(kind);
      if (stop !== null) return stop;
    }
    return `no system call within ${timeoutMs} ms`;
  }
  /** Executes one instruction, which is no system call; page faults on pages yet to appear are not seen. */
  step(): Stop {
    for (;;) {
      const kind = this.engine.step(0);
      if (kind === ExitKind.budget) return null;
      const stop = this.#handle(kind);
      if (stop !== null) return stop;
      if (kind === ExitKind.cpuid) return null;
    }
  }

  #handle(kind: ExitKind): Stop {
    const { cpu } = this;
    if (kind === ExitKind.budget) return null;
    if (kind === ExitKind.cpuid) {
      const answer = cpuidAnswer(cpu.lo(Reg.rax) >>> 0, cpu.lo(Reg.rcx) >>> 0);
      for (const [i, reg] of [Reg.rax, Reg.rbx, Reg.rcx, Reg.rdx].entries()) cpu.set(reg, answer[i]!, 0);
      cpu.setNumber(Reg.rip, cpu.va(Reg.rip) + cpu.exitLength);
      return null;
    }
    if (kind === ExitKind.exception && cpu.exitVector === Vector.pageFault) {
      const page = Math.floor(cpu.cr2 / PAGE);
      if (!this.#pages.has(page) && this.#touch(page) !== undefined) return null;
    }
    const name = Object.entries(ExitKind).find(([, value]) => value === kind)?.[0];
    const said = this.#log.length > 0 ? `; ${this.#log.join("; ")}` : "";
    return `the engine stopped: ${name}, vector ${cpu.exitVector}, error code ${cpu.exitErrorCode}, cr2 ${cpu.cr2.toString(16)}${said}`;
  }

  #regionOf(va: number): Region | undefined {
    return this.#regions.find(
      ({ start, end, stack, hidden }) => !hidden && va < end && va >= (stack ? end - STACK_BYTES : start),
    );
  }
  #leaf(frame: number, region: Region): bigint {
    return (
      (BigInt(BASE_MFN + frame) << 12n) |
      Pte.present |
      Pte.user |
      (region.writable ? Pte.writable : 0n) |
      (region.executable ? 0n : Pte.noExecute)
    );
  }
  /** A page appears, where a region has it. */
  #touch(page: number): number | undefined {
    const region = this.#regionOf(page * PAGE);
    if (region === undefined) return undefined;
    const frame = this.#allocate();
    this.#pages.set(page, frame);
    this.#writeLeaf(page, this.#leaf(frame, region));
    return frame;
  }
  #drop(page: number, frame: number): void {
    this.#writeLeaf(page, 0n);
    this.#pages.delete(page);
    this.engine.dropAllTranslations(BASE_MFN + frame);
    this.#free.push(frame);
  }
  #allocate(): number {
    const frame = this.#free.pop();
    if (frame === undefined) throw new Error("the program needs more memory than there is");
    this.#ram.fill(0, frame * PAGE, (frame + 1) * PAGE);
    return frame;
  }
  #writeLeaf(page: number, leaf: bigint): void {
    let table = this.#root;
    for (const divisor of [512 ** 3, 512 ** 2, 512]) {
      const at = table * PAGE + (Math.floor(page / divisor) % 512) * 8;
      const entry = this.#view.getBigUint64(at, true);
      if (entry === 0n) {
        table = this.#allocate();
        this.#view.setBigUint64(at, (BigInt(BASE_MFN + table) << 12n) | Pte.present | Pte.writable | Pte.user, true);
      } else table = Number(entry >> 12n) - BASE_MFN;
    }
    this.#view.setBigUint64(table * PAGE + (page % 512) * 8, leaf, true);
  }
}
