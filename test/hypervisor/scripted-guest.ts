/**
 * A guest without an engine: each vCPU is a generator that makes hypercalls and spends time, in a domain whose memory is mapped
 * one to one. For tests of everything that hypercalls do, without any x86 code.
 *
 *     const port = yield hypercall(HYPERVISOR.eventChannelOp, EVTCHNOP.allocUnbound, arg);
 */
import { CpuState, Reg } from "../../src/engine/cpu-state.ts";
import type { EngineHost } from "../../src/engine/engine.ts";
import { ExitKind } from "../../src/engine/exits.ts";
import { type EngineLayout, State, VCPU_BYTES } from "../../src/engine/layout.ts";
import type { GuestEngine } from "../../src/hypervisor/domain.ts";

/** What a scripted vCPU does next. Its `yield` gives the hypercall's result (0 after the others). */
export type Step =
  | { readonly kind: "hypercall"; readonly number: number; readonly args: readonly number[] }
  | { readonly kind: "work"; readonly instructions: number };

export type Script = Generator<Step, void, number>;

export const hypercall = (number: number, ...args: number[]): Step => ({ kind: "hypercall", number, args });
export const work = (instructions: number): Step => ({ kind: "work", instructions });
/** Where the script "executes", and where its event callback is. */
export const CODE_VA = 0x1000;
export const CALLBACK_VA = 0x2000;
/** Top of each vCPU's stack: a page each, from here down. */
export const STACK_TOP = 0x10_000;

const ARGUMENTS = [Reg.rdi, Reg.rsi, Reg.rdx, Reg.r10, Reg.r8, Reg.r9] as const;

interface Running {
  readonly script: Script;
  /** The script waits for a hypercall's result. */
  waiting: boolean;
  started: boolean;
  done: boolean;
  /** Instructions of work that are left. */
  left: number;
}

/** Called on an event upcall, in place of the guest's handler; it has returned from it when this returns. */
export type OnUpcall = (vcpu: number) => void;

export class ScriptedEngine implements GuestEngine {
  readonly vcpus: readonly CpuState[];
  readonly #running: (Running | undefined)[];
  readonly #memory: WebAssembly.Memory;
  readonly #layout: EngineLayout;
  onUpcall: OnUpcall = () => {};
  /** VA ranges that are not mapped, by page number. */
  readonly holes = new Set<number>();
  readonly host: EngineHost;

  constructor(memory: WebAssembly.Memory, layout: EngineLayout, host: EngineHost) {
    this.#memory = memory;
    this.#layout = layout;
    this.host = host;
    this.vcpus = Array.from({ length: layout.maxVcpus }, (_, i) => new CpuState(memory, 4096 + i * VCPU_BYTES, i));
    for (const cpu of this.vcpus) cpu.reset();
    this.#running = new Array(layout.maxVcpus).fill(undefined);
  }

  /** Gives a vCPU its script. The vCPU has to be made runnable by the test. */
  script(vcpu: number, script: Script): void {
    this.#running[vcpu] = { script, waiting: false, started: false, done: false, left: 0 };
  }

  isDone(vcpu: number): boolean {
    return this.#running[vcpu]?.done ?? true;
  }

  run(vcpu: number, budget: number): ExitKind {
    const cpu = this.vcpus[vcpu]!;
    const running = this.#running[vcpu];
    if (cpu.va(Reg.rip) === CALLBACK_VA) {
      this.onUpcall(vcpu);
      this.#returnFromUpcall(cpu);
    }
    if (running === undefined || running.done) {
      this.#count(cpu, budget);
      return ExitKind.budget;
    }
    if (running.left === 0) {
      const value = running.waiting ? cpu.number(Reg.rax) : 0;
      running.waiting = false;
      // A hypercall that is made again (a continuation) is the script's last step once more.
      if (running.started && cpu.va(Reg.rip) === CODE_VA) return this.#syscall(cpu, running);
      const next = running.started ? running.script.next(value) : running.script.next();
      running.started = true;
      if (next.done) {
        running.done = true;
        this.#count(cpu, budget);
        return ExitKind.budget;
      }
      return this.#step(cpu, running, next.value, budget);
    }
    return this.#work(cpu, running, budget);
  }

  #step(cpu: CpuState, running: Running, step: Step, budget: number): ExitKind {
    switch (step.kind) {
      case "hypercall":
        cpu.setNumber(Reg.rax, step.number);
        step.args.forEach((value, i) => {
          cpu.setNumber(ARGUMENTS[i]!, value);
        });
        return this.#syscall(cpu, running);
      case "work":
        running.left = step.instructions;
        return this.#work(cpu, running, budget);
    }
  }

  #syscall(cpu: CpuState, running: Running): ExitKind {
    cpu.setNumber(Reg.rip, CODE_VA + 2);
    running.waiting = true;
    this.#count(cpu, 1);
    return ExitKind.hypercall;
  }

  #work(cpu: CpuState, running: Running, budget: number): ExitKind {
    const done = Math.min(budget, running.left);
    running.left -= done;
    this.#count(cpu, done);
    return ExitKind.budget;
  }

  #count(cpu: CpuState, instructions: number): void {
    const reg = State.instructions / 8;
    cpu.setNumber(reg, cpu.number(reg) + instructions);
  }

  /** What a guest's handler does at its end, without `iret`: it takes the frame that the bounce has pushed. */
  #returnFromUpcall(cpu: CpuState): void {
    const view = new DataView(this.#memory.buffer, this.#layout.ramOffset);
    const sp = cpu.va(Reg.rsp);
    const word = (i: number) => view.getInt32(sp + i * 8, true) + 0;
    cpu.setNumber(Reg.rip, word(2));
    cpu.setNumber(Reg.rsp, word(5));
    this.afterUpcall(cpu.index);
  }

  /** Set by the world: unmasks the vCPU's upcalls, as the guest's handler would. */
  afterUpcall: (vcpu: number) => void = () => {};

  translate(_vcpu: number, va: number): number {
    const pages = this.#layout.frames;
    if (!(va >= 0 && va < pages * 4096) || this.holes.has(Math.floor(va / 4096))) return -1;
    return this.#layout.ramOffset + va;
  }

  step(): ExitKind {
    return ExitKind.budget;
  }
  flushTlb(): void {}
  flushPage(): void {}
  dropWriteTranslations(): void {}
  dropAllTranslations(): void {}
  invalidateCode(): void {}
  setUncached(): void {}
  stats() {
    return { instructions: 0, tlbMisses: 0, codeBytes: 0, decodedPages: 0 };
  }
}

/** Pages of a scripted domain: small. */
export const SCRIPTED_PAGES = 64;
