/**
 * A suspended domain as plain data: all that a new domain of the same memory map needs, besides the content of its frames.
 *
 * Machine frame numbers stay what they are, so page tables are not rewritten. Nothing in here is trusted by `restoreDomain`: whose
 * frame is whose is all that it takes over; types and counts come from validation. Event channels, grants, timers and registered areas are
 * not in here: a guest that comes back sets them up again (xen/sched.h, SCHEDOP_shutdown).
 */

/** A callback of a vCPU: its address (0: none), and whether events are masked on entry. */
export interface SavedCallback {
  readonly address: number;
  readonly maskEvents: boolean;
}

export interface SavedVcpu {
  /** vcpu_guest_context (`VcpuGuestContext`, arch-x86/xen.h); VGCF_online says whether the vCPU is up. */
  readonly context: Uint8Array;
  /** vcpu_info as the guest left it. */
  readonly info: Uint8Array;
  /** Without it the vCPU is as in a new domain, and the rest means nothing. */
  readonly initialised: boolean;
  readonly eventMask: boolean;
  readonly syscall32: SavedCallback;
  readonly sysenter: SavedCallback;
  readonly nmiCallback: number;
  readonly nmiPending: boolean;
  readonly nmiMasked: boolean;
  readonly cr2: number;
  readonly cr4: number;
  /** CR0.TS. */
  readonly taskSwitched: boolean;
  /** I/O permission bitmap: its address, null for none. */
  readonly ioBitmap: number | null;
  readonly ioBitmapPorts: number;
}

export interface SavedDomain {
  /** Frames of the reservation at build time, and its ceiling: what the memory map is made of, with the number of vCPUs. */
  readonly pages: number;
  readonly mapMaxPages: number;
  /** The ceiling of the reservation now. */
  readonly maxPages: number;
  /** Ranges of XENMEM_memory_map. */
  readonly e820: readonly { readonly start: number; readonly size: number; readonly type: number }[];
  /** `VMASST_TYPE` numbers that are on. */
  readonly assists: readonly number[];
  /** System time of the guest, ns. */
  readonly systemTime: number;
  /** Frame of start_info, as the guest named it when it suspended. */
  readonly startInfoMfn: number;
  /** arch_shared_info: where the guest keeps its P2M. */
  readonly sharedArch: Uint8Array;
  readonly vcpus: readonly SavedVcpu[];
  /** For each RAM frame of the map: `FRAME_OWNED`, and the level of its pin from bit `FRAME_PIN_SHIFT`. */
  readonly frames: Uint8Array;
  /** For each RAM frame its entry of the machine-to-physical table, as two halves. */
  readonly m2p: Uint32Array;
}

export const FRAME_OWNED = 1;
/** Level (1 to 4) of the page table that is pinned; 0 for no pin. */
export const FRAME_PIN_SHIFT = 1;
