/**
 * What each vCPU's processor points at: its kernel and user root page tables, the frames of its GDT, and its LDT. Each root and frame holds
 * a reference and a use as an L4 or as a descriptor page for as long as it is loaded.
 */
import { FIRST_RESERVED_GDT_ENTRY } from "../../abi/arch-x86-64.ts";
import { Errno } from "../../abi/errno.ts";
import type { Explanations } from "./explanations.ts";
import { PageType } from "./frame-table.ts";
import { FIRST_XEN_SLOT } from "./hypervisor-slots.ts";
import { LdtPages } from "./ldt-pages.ts";
import type { PageTables } from "./page-tables.ts";
import type { PageTypes } from "./page-types.ts";
import type { TranslationCaches } from "./translation-caches.ts";

const DESCRIPTORS_PER_FRAME = 512;

export class VcpuTables {
  readonly #types: PageTypes;
  readonly #why: Explanations;
  readonly #caches: TranslationCaches;
  /** Indices of frames, -1 for none. */
  readonly kernelRoot: Int32Array;
  readonly userRoot: Int32Array;
  readonly gdt: number[][];
  /** Base and entries of each LDT. */
  readonly ldtBase: Float64Array;
  readonly ldtEntries: Int32Array;
  readonly ldtPages: LdtPages;

  constructor(types: PageTypes, tables: PageTables, caches: TranslationCaches, vcpus: number) {
    this.#types = types;
    this.#why = types.why;
    this.#caches = caches;
    this.kernelRoot = new Int32Array(vcpus).fill(-1);
    this.userRoot = new Int32Array(vcpus).fill(-1);
    this.gdt = Array.from({ length: vcpus }, () => []);
    this.ldtBase = new Float64Array(vcpus);
    this.ldtEntries = new Int32Array(vcpus);
    this.ldtPages = new LdtPages(types, tables, vcpus);
  }

  /** MMUEXT_NEW_BASEPTR. 0, -EINVAL or RESTART. The old root is put: settle afterwards. */
  setKernelRoot(vcpu: number, mfn: number): number {
    const types = this.#types;
    const old = this.kernelRoot[vcpu]!;
    const index = types.frames.indexOfMfn(mfn);
    if (index < 0 || index !== old) {
      const rc = this.#takeRoot(index, mfn, "a new kernel page-table root");
      if (rc !== 0) return rc;
      types.slots.enterKernel(types.wordOf(index, FIRST_XEN_SLOT));
      this.kernelRoot[vcpu] = index;
      this.#caches.vcpus[vcpu]!.cr3Kernel = mfn;
      if (old >= 0) types.putPageAndType(old);
    }
    this.ldtPages.drop(vcpu);
    this.#caches.flushTlb(vcpu);
    return 0;
  }

  /** MMUEXT_NEW_USER_BASEPTR: mfn 0 for none. 0, -EINVAL or RESTART. The old root is put: settle afterwards. */
  setUserRoot(vcpu: number, mfn: number): number {
    const types = this.#types;
    const old = this.userRoot[vcpu]!;
    const index = types.frames.indexOfMfn(mfn);
    if (mfn !== 0 && (index < 0 || index !== old)) {
      const rc = this.#takeRoot(index, mfn, "a new user page-table root");
      if (rc !== 0) return rc;
      types.slots.enterUser(types.wordOf(index, FIRST_XEN_SLOT));
    }
    if (index === old) return 0;
    this.userRoot[vcpu] = index;
    this.#caches.vcpus[vcpu]!.cr3User = mfn;
    this.#caches.flushTlb(vcpu);
    if (old >= 0) types.putPageAndType(old);
    return 0;
  }

  #takeRoot(index: number, mfn: number, asked: string): number {
    if (this.#types.frames.owned(index)) return this.#types.getPageAndType(index, PageType.l4);
    this.#why.foreign("foreign-frame", mfn, "", asked);
    return -Errno.EINVAL;
  }

  /** Frames that hold `entries` descriptors. */
  static gdtFrames(entries: number): number {
    return Math.ceil(entries / DESCRIPTORS_PER_FRAME);
  }

  /**
   * HYPERVISOR_set_gdt: the frames (mfns) of a GDT with `entries` descriptors, `gdtFrames(entries)` of them. 0, or -EINVAL: too
   * many entries, or a frame that is not the domain's or cannot be a descriptor page; then the old GDT stays.
   */
  setGdt(vcpu: number, mfns: readonly number[], entries: number): number {
    const types = this.#types;
    if (entries > FIRST_RESERVED_GDT_ENTRY) {
      const text = `a GDT of ${entries} entries reaches into the hypervisor's, from ${FIRST_RESERVED_GDT_ENTRY}`;
      this.#why.argument("bad-argument", entries, text);
      return -Errno.EINVAL;
    }
    const taken: number[] = [];
    for (const mfn of mfns) {
      const index = types.frames.indexOfMfn(mfn);
      if (index < 0) this.#why.foreign("foreign-frame", mfn, "", "a GDT");
      if (index < 0 || types.getPageAndType(index, PageType.segDesc) !== 0) {
        for (const frame of taken) types.putPageAndType(frame);
        return -Errno.EINVAL;
      }
      taken.push(index);
    }
    this.#dropGdt(vcpu);
    this.gdt[vcpu] = taken;
    this.#caches.vcpus[vcpu]!.setGdt([...mfns], entries);
    return 0;
  }

  /** MMUEXT_SET_LDT, already checked. Settle afterwards. */
  setLdt(vcpu: number, base: number, entries: number): void {
    if (base === this.ldtBase[vcpu] && entries === this.ldtEntries[vcpu]) return;
    this.ldtPages.drop(vcpu);
    this.ldtBase[vcpu] = base;
    this.ldtEntries[vcpu] = entries;
    this.#caches.vcpus[vcpu]!.setLdt(base, entries);
  }

  /** The frame (mfn) of a page of a vCPU's LDT, for the processor to read; -1: there is none. */
  ldtFrame(vcpu: number, page: number): number {
    const root = this.kernelRoot[vcpu]!;
    if (root < 0) return -1;
    return this.ldtPages.frame(vcpu, root + this.#types.frames.baseMfn, this.ldtBase[vcpu]!, page);
  }

  #dropGdt(vcpu: number): void {
    for (const frame of this.gdt[vcpu]!) this.#types.putPageAndType(frame);
    this.gdt[vcpu] = [];
  }

  /** Lets go of everything a vCPU holds (a dying domain). Settle afterwards. */
  release(vcpu: number): void {
    this.#dropGdt(vcpu);
    this.ldtPages.drop(vcpu);
    for (const roots of [this.kernelRoot, this.userRoot]) {
      if (roots[vcpu]! >= 0) this.#types.putPageAndType(roots[vcpu]!);
      roots[vcpu] = -1;
    }
    const cpu = this.#caches.vcpus[vcpu]!;
    cpu.setGdt([], 0);
    cpu.setLdt(0, 0);
    cpu.cr3Kernel = 0;
    cpu.cr3User = 0;
    this.#caches.flushTlb(vcpu);
  }
}
