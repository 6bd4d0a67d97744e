/** A domain for tests and benches: flat memory, page tables that map it, one or more vCPUs, code at 4 MiB. */

import { type CpuState, Reg } from "../../src/engine/cpu-state.ts";
import { compileEngine, Engine, type EngineHost } from "../../src/engine/engine.ts";
import { engineBytes } from "../../src/engine/layout.ts";

export const BASE_MFN = 0x10000;
export const CODE_VA = 0x400000;
const PAGE = 4096;
/** Frames at the top of the guest's memory that hold its page tables. */
const TABLE_FRAMES = 64;

export const Pte = { present: 1, writable: 2, user: 4, accessed: 0x20, dirty: 0x40, large: 0x80 } as const;
const ALL = Pte.present | Pte.writable | Pte.user;

let compiled: WebAssembly.Module | undefined;

export class TinyGuest {
  readonly memory: WebAssembly.Memory;
  readonly engine: Engine;
  readonly cpu: CpuState;
  readonly ramOffset: number;
  readonly frames: number;
  readonly view: DataView;
  readonly log: string[] = [];
  /** Relative frame of the root table. */
  readonly root: number;
  #nextTable: number;

  /** @param pages frames mapped linearly from virtual address 0, writable */
  constructor(pages = 4096, options: { vcpus?: number; codeArenaBytes?: number; tsc?: () => number } = {}) {
    const vcpus = options.vcpus ?? 1;
    this.ramOffset = engineBytes(vcpus, options.codeArenaBytes);
    this.frames = pages + TABLE_FRAMES;
    const wasmPages = Math.ceil((this.ramOffset + this.frames * PAGE) / 65536);
    this.memory = new WebAssembly.Memory({ initial: wasmPages, maximum: wasmPages, shared: true });
    this.view = new DataView(this.memory.buffer, this.ramOffset);
    const host: EngineHost = { readTsc: options.tsc ?? (() => 0), log: (m) => void this.log.push(m) };
    compiled ??= compileEngine();
    this.engine = new Engine(
      compiled,
      this.memory,
      {
        baseMfn: BASE_MFN,
        frames: this.frames,
        ramOffset: this.ramOffset,
        maxVcpus: vcpus,
        ...(options.codeArenaBytes === undefined ? {} : { codeArenaBytes: options.codeArenaBytes }),
      },
      host,
    );
    this.#nextTable = pages;
    this.root = this.#nextTable++;
    for (let frame = 0; frame < pages; frame++) this.map(frame * PAGE, frame);
    for (const cpu of this.engine.vcpus) {
      cpu.cr3Kernel = BASE_MFN + this.root;
      cpu.cr3User = BASE_MFN + this.root;
      cpu.setNumber(Reg.rip, CODE_VA);
      cpu.setNumber(Reg.rsp, CODE_VA - 16);
    }
    this.cpu = this.engine.vcpus[0]!;
  }

  /** Maps a page; `flags` are the leaf's. The caller flushes. */
  map(va: number, frame: number, flags: number | bigint = ALL): void {
    let table = this.root;
    const address = BigInt.asUintN(48, BigInt(va));
    for (const shift of [39n, 30n, 21n]) {
      const at = table * PAGE + Number((address >> shift) & 511n) * 8;
      const entry = this.view.getBigUint64(at, true);
      if (entry !== 0n) table = Number(entry >> 12n) - BASE_MFN;
      else {
        this.view.setBigUint64(at, (BigInt(BASE_MFN + this.#nextTable) << 12n) | BigInt(ALL), true);
        table = this.#nextTable++;
      }
    }
    this.view.setBigUint64(
      table * PAGE + Number((address >> 12n) & 511n) * 8,
      (BigInt(BASE_MFN + frame) << 12n) | BigInt(flags),
      true,
    );
  }
  /** Leaf entry of a page. */
  pte(va: number): bigint {
    let table = this.root;
    const address = BigInt.asUintN(48, BigInt(va));
    for (const shift of [39n, 30n, 21n])
      table =
        Number(
          (this.view.getBigUint64(table * PAGE + Number((address >> shift) & 511n) * 8, true) >> 12n) & 0xffffffffffn,
        ) - BASE_MFN;
    return this.view.getBigUint64(table * PAGE + Number((address >> 12n) & 511n) * 8, true);
  }
  /** Writes bytes at a linear address, as the hypervisor would: decoded code there goes. */
  write(va: number, bytes: Uint8Array | readonly number[]): void {
    new Uint8Array(this.memory.buffer, this.ramOffset + va, bytes.length).set(bytes);
    for (let page = Math.floor(va / PAGE); page <= (va + bytes.length - 1) / PAGE; page++)
      this.engine.invalidateCode(BASE_MFN + page);
  }
}
