/** Runs vectors on the engine: one vCPU whose page tables show the same address space as the processor's. */

import { type CpuState, Reg, SegmentRegister } from "../../../src/engine/cpu-state.ts";
import { compileEngine, Engine } from "../../../src/engine/engine.ts";
import { ExitKind } from "../../../src/engine/exits.ts";
import { engineBytes } from "../../../src/engine/layout.ts";
import { FX_BYTES } from "./fx-image.ts";
import {
  CODE_VA,
  FRAMES,
  FS_BASE,
  GS_BASE,
  initialFrames,
  mappings,
  PAGE,
  SELECTOR_CS,
  SELECTOR_SS,
} from "./layout.ts";
import { Flag, MAX_STEPS, type Outcome, type Patch, type Vector } from "./vector.ts";

const BASE_MFN = 0x10000;
const TABLE_FRAMES = 24;
const GDT_FRAME = FRAMES;
const ARENA_BYTES = 4 << 20;

/** Linux's GDT (arch/x86/include/asm/segment.h), as far as ring 3 can see it: kernel 1-3, user CS32, DS, CS; no TSS or LDT. */
const GDT: readonly bigint[] = [
  0n,
  0x00cf9b000000ffffn,
  0x00af9b000000ffffn,
  0x00cf93000000ffffn,
  0x00cffb000000ffffn,
  0x00cff3000000ffffn,
  0x00affb000000ffffn,
];

const Entry = { present: 1n, writable: 2n, user: 4n, noExecute: 1n << 63n } as const;
const pristine = initialFrames();

export class EngineStepper {
  /** What the engine said since the last vector. */
  readonly log: string[] = [];
  readonly #engine: Engine;
  readonly #cpu: CpuState;
  readonly #frames: Uint8Array;
  readonly #view: DataView;
  readonly #before = pristine.slice();

  constructor() {
    const ramOffset = engineBytes(1, ARENA_BYTES);
    const pages = (ramOffset + (FRAMES + TABLE_FRAMES) * PAGE) / 65536 + 1;
    const memory = new WebAssembly.Memory({ initial: Math.ceil(pages), maximum: Math.ceil(pages), shared: true });
    const layout = {
      baseMfn: BASE_MFN,
      frames: FRAMES + TABLE_FRAMES,
      ramOffset,
      maxVcpus: 1,
      codeArenaBytes: ARENA_BYTES,
    };
    const host = { readTsc: () => 0, log: (message: string) => void this.log.push(message) };
    this.#engine = new Engine(compileEngine(), memory, layout, host);
    this.#cpu = this.#engine.vcpus[0];
    this.#frames = new Uint8Array(memory.buffer, ramOffset, FRAMES * PAGE);
    this.#frames.set(pristine);
    this.#view = new DataView(memory.buffer, ramOffset);
    for (const [i, descriptor] of GDT.entries()) this.#view.setBigUint64(GDT_FRAME * PAGE + i * 8, descriptor, true);
    const root = this.#buildTables();
    this.#cpu.reset();
    this.#cpu.kernelMode = 1;
    this.#cpu.cr3Kernel = BASE_MFN + root;
    this.#cpu.cr3User = BASE_MFN + root;
    this.#cpu.setGdt([BASE_MFN + GDT_FRAME], GDT.length);
    this.#engine.flushTlb("all");
  }

  /** Frame number (from 0) of the root table. */
  #buildTables(): number {
    let next = GDT_FRAME + 1;
    const root = next++;
    for (const mapping of mappings) {
      let table = root;
      for (const shift of [39n, 30n, 21n]) {
        const at = table * PAGE + Number((BigInt(mapping.va) >> shift) & 511n) * 8;
        const entry = this.#view.getBigUint64(at, true);
        if (entry === 0n) {
          this.#view.setBigUint64(
            at,
            (BigInt(BASE_MFN + next) << 12n) | Entry.present | Entry.writable | Entry.user,
            true,
          );
          table = next++;
        } else table = Number(entry >> 12n) - BASE_MFN;
      }
      const leaf =
        (BigInt(BASE_MFN + mapping.frame) << 12n) |
        Entry.present |
        Entry.user |
        (mapping.writable ? Entry.writable : 0n) |
        (mapping.executable ? 0n : Entry.noExecute);
      this.#view.setBigUint64(table * PAGE + (Math.floor(mapping.va / PAGE) % 512) * 8, leaf, true);
    }
    return root;
  }

  /** Executes the vector with TF set, alone, as the processor did. */
  step(vector: Vector): Outcome {
    const cpu = this.#cpu;
    this.#prepare(vector, Flag.tf);
    let fault: Outcome["fault"] = null;
    for (let steps = 0; steps <= MAX_STEPS; steps++) {
      const kind = this.#engine.run(0, 16);
      if (kind === ExitKind.exception && cpu.exitVector === 1) {
        if (vector.repeat && cpu.va(Reg.rip) === vector.codeVa) continue;
        break;
      }
      fault = this.#faultOf(kind);
      break;
    }
    return this.#collect(vector, fault);
  }

  /**
   * Executes the vector from the code cache, as the head of a block: wherever it goes on, an INT3 or an absent page ends it.
   * TF is clear, so flags in memory and outcomes differ by it.
   */
  runBlock(vector: Vector): Outcome {
    const cpu = this.#cpu;
    this.#prepare(vector, 0);
    let kind: ExitKind = ExitKind.budget;
    for (let turns = 0; turns <= MAX_STEPS && kind === ExitKind.budget; turns++) kind = this.#engine.run(0, 8);
    let fault: Outcome["fault"] = null;
    const isInt3 = vector.row.startsWith("int");
    if (kind === ExitKind.softInt && cpu.exitVector === 3 && !isInt3) cpu.setBig(Reg.rip, cpu.big(Reg.rip) - 1n);
    else {
      const fetchElsewhere = kind === ExitKind.exception && cpu.exitVector === 14 && (cpu.exitErrorCode & 0x10) !== 0;
      if (!fetchElsewhere || cpu.va(Reg.rip) === vector.codeVa) fault = this.#faultOf(kind);
    }
    return this.#collect(vector, fault);
  }

  #prepare(vector: Vector, trapFlag: number): void {
    this.log.length = 0;
    const cpu = this.#cpu;
    this.#frames.set(vector.code, vector.codeVa - CODE_VA);
    this.#engine.invalidateCode(BASE_MFN);
    this.#engine.invalidateCode(BASE_MFN + 1);
    for (const { offset, bytes } of vector.patches) {
      this.#frames.set(bytes, offset);
      this.#before.set(bytes, offset);
    }
    for (let i = 0; i < 16; i++) cpu.setBig(i, vector.gpr[i]);
    cpu.setNumber(Reg.rip, vector.codeVa);
    cpu.rflags = vector.rflags | trapFlag;
    if (vector.fx) cpu.setFxImage(vector.fx);
    const { es, cs, ss, ds, fs, gs } = SegmentRegister;
    cpu.setSegment(cs, SELECTOR_CS, 0xa0fb, 0xffffffff, 0, 0);
    cpu.setSegment(ss, SELECTOR_SS, 0xc0f3, 0xffffffff, 0, 0);
    for (const segment of [es, ds]) cpu.setSegment(segment, 0, 0, 0, 0, 0);
    cpu.setSegment(fs, 0, 0, 0, FS_BASE, 0);
    cpu.setSegment(gs, 0, 0, 0, GS_BASE | 0, Math.floor(GS_BASE / 4294967296));
  }

  #faultOf(kind: ExitKind): Outcome["fault"] {
    const cpu = this.#cpu;
    if (kind === ExitKind.exception) {
      const vector = cpu.exitVector;
      return { vector, errorCode: cpu.exitErrorCode, cr2: vector === 14 ? cpu.big(Reg.cr2) : 0n };
    }
    if (kind === ExitKind.softInt) {
      // Linux opens vectors 3 and 4 to ring 3, and no others.
      if (cpu.exitVector === 3 || cpu.exitVector === 4) return { vector: cpu.exitVector, errorCode: 0, cr2: 0n };
      cpu.setNumber(Reg.rip, cpu.exitInsnRip);
      return { vector: 13, errorCode: cpu.exitVector * 8 + 2, cr2: 0n };
    }
    return { vector: 1000 + kind, errorCode: 0, cr2: 0n };
  }

  #collect(vector: Vector, fault: Outcome["fault"]): Outcome {
    const cpu = this.#cpu;
    const gpr = BigUint64Array.from({ length: 16 }, (_, i) => cpu.big(i));
    const changes: Patch[] = [];
    this.#frames.set(
      pristine.subarray(vector.codeVa - CODE_VA, vector.codeVa - CODE_VA + vector.code.length),
      vector.codeVa - CODE_VA,
    );
    for (const { frame } of new Map(
      mappings.filter((mapping) => mapping.writable).map((mapping) => [mapping.frame, mapping]),
    ).values()) {
      const now = this.#frames.subarray(frame * PAGE, frame * PAGE + PAGE);
      const was = this.#before.subarray(frame * PAGE, frame * PAGE + PAGE);
      if (Buffer.compare(now, was) === 0) continue;
      for (let i = 0; i < PAGE; i++) {
        if (now[i] === was[i]) continue;
        let end = i + 1;
        while (end < PAGE && now[end] !== was[end]) end++;
        changes.push({ offset: frame * PAGE + i, bytes: now.slice(i, end) });
        i = end;
      }
      now.set(pristine.subarray(frame * PAGE, frame * PAGE + PAGE));
    }
    for (const { offset, bytes } of vector.patches) {
      const was = pristine.subarray(offset, offset + bytes.length);
      this.#frames.set(was, offset);
      this.#before.set(was, offset);
    }
    let fx: Uint8Array | undefined;
    if (vector.fx) {
      fx = new Uint8Array(FX_BYTES);
      cpu.getFxImage(fx);
    }
    const { es, ds, fs, gs } = SegmentRegister;
    const segments = vector.segments
      ? {
          ds: cpu.selector(ds),
          es: cpu.selector(es),
          fs: cpu.selector(fs),
          gs: cpu.selector(gs),
          fsBase: cpu.big(Reg.fsBase),
          gsBase: cpu.big(Reg.gsBase),
        }
      : undefined;
    return { fault, gpr, rip: cpu.big(Reg.rip), rflags: cpu.rflags, changes, fx, segments };
  }
}
