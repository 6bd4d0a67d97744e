/** Words of guest memory for the rare instructions that TypeScript carries out. */
import { ALIAS_BASE, type AliasFrames } from "./alias-frames.ts";
import { watchOperand } from "./breakpoints.ts";
import type { CpuState } from "./cpu-state.ts";
import { ExitKind, Vector } from "./exits.ts";
import { PAGE_SIZE, State } from "./layout.ts";
import { Flag } from "./ops/row.ts";
import { Rec } from "./record.ts";

/** A 64-bit word as [low, high]. */
export type Word = readonly [number, number];
/** Host offset of a guest address, ALIAS_BASE + its alias address, or -1 with the fault recorded. */
export type Translate = (cpu: CpuState, va: number, write: boolean) => number;

/** False, with #AC recorded, where rflags.AC asks for aligned words and these are not. An address that is not canonical is left to its own fault. */
function isAligned(cpu: CpuState, va: number, size: number): boolean {
  if ((cpu.rflags & Flag.AC) === 0 || Number.isNaN(va) || va % size === 0) return true;
  cpu.recordExit(ExitKind.exception, Vector.alignmentCheck, 0);
  return false;
}

export class GuestMemory {
  readonly #memory: WebAssembly.Memory;
  readonly #translate: Translate;
  readonly #aliases: AliasFrames;
  /** Called with the host offset of each part written. */
  readonly #written: (host: number) => void;

  constructor(memory: WebAssembly.Memory, translate: Translate, written: (host: number) => void, aliases: AliasFrames) {
    this.#aliases = aliases;
    this.#memory = memory;
    this.#translate = translate;
    this.#written = written;
  }

  /** rip of a record of the page that executes. */
  recordRip(cpu: CpuState, record: number): number {
    return cpu.number(State.vpage / 8) + new DataView(this.#memory.buffer).getUint16(record + Rec.offset, true);
  }
  /** A byte as data, or -1. A fault is recorded. */
  peek(cpu: CpuState, va: number): number {
    const at = this.#translate(cpu, va, false);
    if (at < 0) return -1;
    const byte = new Uint8Array(1);
    this.#load(at, byte, 0, 1);
    return byte[0]!;
  }
  #load(at: number, into: Uint8Array, offset: number, length: number): void {
    if (at < ALIAS_BASE) into.set(new Uint8Array(this.#memory.buffer, at, length), offset);
    else this.#aliases.read(at - ALIAS_BASE, new DataView(into.buffer), offset, length);
  }

  /** `count` stack words of `size` bytes from va up, zero-extended; undefined with the fault recorded (#SS where va is not canonical). */
  readWords(cpu: CpuState, va: number, size: number, count: number): Word[] | undefined {
    if (!isAligned(cpu, va, size)) return undefined;
    const bytes = new Uint8Array(count * 8);
    watchOperand(cpu, va, count * size, false);
    for (let i = 0; i < count * size; ) {
      const at = this.#stack(cpu, va + i, false);
      if (at < 0) return undefined;
      const n = Math.min(count * size - i, PAGE_SIZE - (at & (PAGE_SIZE - 1)));
      this.#load(at, bytes, i, n);
      i += n;
    }
    const view = new DataView(bytes.buffer);
    return Array.from({ length: count }, (_, i): Word => {
      if (size === 8) return [view.getInt32(i * 8, true), view.getInt32(i * 8 + 4, true)];
      return [size === 4 ? view.getInt32(i * 4, true) : view.getUint16(i * 2, true), 0];
    });
  }

  /** Writes stack words from va up; false with the fault recorded, and then nothing is written. */
  writeWords(cpu: CpuState, va: number, size: number, words: readonly Word[]): boolean {
    if (!isAligned(cpu, va, size)) return false;
    const hosts: number[] = [];
    watchOperand(cpu, va, words.length * size, true);
    for (let i = 0; i < words.length * size; i++) {
      // Byte by byte: rare, and it may cross pages anywhere.
      const at = this.#stack(cpu, va + i, true);
      if (at < 0) return false;
      hosts.push(at);
    }
    const bytes = new Uint8Array(words.length * size);
    const view = new DataView(bytes.buffer);
    words.forEach(([lo, hi], i) => {
      if (size === 2) view.setUint16(i * 2, lo & 0xffff, true);
      else view.setInt32(i * size, lo, true);
      if (size === 8) view.setInt32(i * 8 + 4, hi, true);
    });
    hosts.forEach((at, i) => {
      if (at >= ALIAS_BASE) {
        this.#aliases.write(at - ALIAS_BASE, view, i, 1);
        return;
      }
      new Uint8Array(this.#memory.buffer, at, 1)[0] = bytes[i]!;
      this.#written(at);
    });
    return true;
  }
  #stack(cpu: CpuState, va: number, write: boolean): number {
    const at = this.#translate(cpu, va, write);
    if (at < 0 && cpu.exitKind === ExitKind.exception && cpu.exitVector === Vector.generalProtection)
      cpu.recordExit(ExitKind.exception, Vector.stackFault, 0);
    return at;
  }
}
