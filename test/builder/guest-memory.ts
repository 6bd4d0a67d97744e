/** A domain's memory for tests, with guard bytes around its frames, and a page-table walk that shares nothing with the builder. */
import { type BuildRequest, type BuildResult, build } from "../../src/builder/build.ts";
import type { BuildError } from "../../src/builder/build-error.ts";

const RAM_OFFSET = 0x10000;
export const BASE_MFN = 0x10000;
export const SHARED_INFO_MFN = 0x7_0000;
const GUARD = 0x5a;
const GUARD_BYTES = 0x4000;

export class TestDomain {
  readonly pages: number;
  readonly buffer: ArrayBuffer;
  readonly view: DataView;
  constructor(pages: number) {
    this.pages = pages;
    this.buffer = new ArrayBuffer(RAM_OFFSET + pages * 4096 + GUARD_BYTES);
    this.view = new DataView(this.buffer);
    new Uint8Array(this.buffer, 0, RAM_OFFSET).fill(GUARD);
    new Uint8Array(this.buffer, RAM_OFFSET + pages * 4096).fill(GUARD);
  }

  build(kernel: Uint8Array, more: Partial<BuildRequest> = {}): BuildResult | BuildError {
    return build({
      memory: { buffer: this.buffer },
      map: { ramOffset: RAM_OFFSET, baseMfn: BASE_MFN },
      pages: this.pages,
      kernel,
      cmdline: "",
      sharedInfoMfn: SHARED_INFO_MFN,
      storePort: 1,
      consolePort: 2,
      ...more,
    });
  }

  /** The build, which must succeed. */
  built(kernel: Uint8Array, more: Partial<BuildRequest> = {}): BuildResult {
    const result = this.build(kernel, more);
    if (!result.ok) throw new Error(`${result.code}: ${result.detail}`);
    return result;
  }

  guardsIntact(): boolean {
    const intact = (bytes: Uint8Array) => bytes.every((byte) => byte === GUARD);
    return (
      intact(new Uint8Array(this.buffer, 0, RAM_OFFSET)) &&
      intact(new Uint8Array(this.buffer, RAM_OFFSET + this.pages * 4096))
    );
  }

  at(pfn: number): number {
    return RAM_OFFSET + pfn * 4096;
  }

  bytes(pfn: number, size: number): Uint8Array {
    return new Uint8Array(this.buffer, this.at(pfn), size);
  }

  word(pfn: number, index: number): bigint {
    return this.view.getBigUint64(this.at(pfn) + index * 8, true);
  }

  /** Every mapped page, and every table on the way. Throws on an entry that points outside of the domain. */
  walk(l4Pfn: number): { mapped: Map<bigint, { pfn: number; flags: number }>; tables: Set<number> } {
    const mapped = new Map<bigint, { pfn: number; flags: number }>();
    const tables = new Set<number>();
    const visit = (pfn: number, level: number, base: bigint) => {
      tables.add(pfn);
      for (let i = 0; i < 512; i++) {
        const entry = this.word(pfn, i);
        if ((entry & 1n) === 0n) continue;
        const target = Number((entry >> 12n) & 0xff_ffff_ffffn) - BASE_MFN;
        if (target < 0 || target >= this.pages) throw new Error(`level ${level} entry ${i} points at ${target}`);
        const va = base + (BigInt(i) << BigInt(12 + 9 * (level - 1)));
        if (level > 1) visit(target, level - 1, va);
        else
          mapped.set(BigInt.asIntN(64, va >= 1n << 47n ? va - (1n << 48n) : va), {
            pfn: target,
            flags: Number(entry & 0xfffn),
          });
      }
    };
    visit(l4Pfn, 4, 0n);
    return { mapped, tables };
  }
}
