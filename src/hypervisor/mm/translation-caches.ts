/** What memory management needs of the CPU engine. `Engine` is one; tests have simpler ones. */

/** A vCPU's registers that name page tables and descriptor tables. Frames are mfns; a root of 0 is none. */
export interface CpuTables {
  cr3Kernel: number;
  cr3User: number;
  /** `entries` descriptors in these frames, 512 a frame. */
  setGdt(mfns: readonly number[], entries: number): void;
  setLdt(baseVa: number, entries: number): void;
}

export interface TranslationCaches {
  readonly vcpus: readonly CpuTables[];
  /** Forgets all translations of a vCPU, user and kernel. */
  flushTlb(vcpu: number | "all"): void;
  /** Forgets what a vCPU knows of one page. `va` is a signed canonical address. */
  flushPage(vcpu: number | "all", va: number): void;
  /** The frame stops being writable: no vCPU may write through a cached translation any more. */
  dropWriteTranslations(mfn: number): void;
  /** The frame leaves the domain. */
  dropAllTranslations(mfn: number): void;
  /** The frame's bytes were changed by someone other than the guest's own stores. */
  invalidateCode(mfn: number): void;
  /** Others may write the frame without this engine seeing it, or no longer: its code is not kept meanwhile. */
  setUncached(mfn: number, uncached: boolean): void;
  /** Host byte offset (ALIAS_BASE + alias address for an alias frame) of what the vCPU sees at `va` in its current mode; -1 when the access would fault. Nothing is delivered. */
  translate(vcpu: number, va: number, access: "read" | "write" | "execute"): number;
}
