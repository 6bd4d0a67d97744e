/**
 * The control plane's only way to running domains: an asynchronous port, answered by worker threads.
 *
 * Everything here is plain data that survives a structured clone. Refusals are values, not exceptions; a rejected promise
 * means that a worker is gone or that domzero has a bug.
 */

import type { TraceEntry, TraceFilter } from "../hypervisor/hypercall/trace-report.ts";
import type { SavedFile } from "./suspended-domain.ts";
import type { XenstoreAccess } from "./xenstore-access.ts";

/** How a domain shares its worker with others; as Xen's credit2 has it. */
export interface Shares {
  /** Each of its vCPUs gets time in proportion to it; 256 is usual. */
  readonly weight: number;
  /** The most that all its vCPUs together get, in percent of one CPU; 0 for no limit. */
  readonly cap: number;
}

export interface Scheduling extends Shares {
  /** The workers on one of which it is placed when it is made; null for any. */
  readonly affinity: readonly number[] | null;
}

/** What a domain is made of. `kernel` and `ramdisk` are paths of files that stay readable during the call. */
export interface DomainSpec {
  readonly uuid: string;
  readonly name: string;
  readonly kernel: string;
  readonly ramdisk?: string;
  readonly cmdline: string;
  readonly memoryMiB: number;
  /** Ceiling for ballooning; at least `memoryMiB`. */
  readonly maxMemoryMiB: number;
  readonly vcpus: number;
  /** Weight 256, no cap and any worker unless given. */
  readonly scheduling?: Scheduling;
}

/** Why a domain was not made. `code` is stable; `detail` is a sentence for people. */
export interface DomctlRefusal {
  readonly ok: false;
  readonly code:
    | "no-memory"
    | "no-worker"
    | "bad-kernel"
    | "unsupported-kernel"
    | "bad-ramdisk"
    | "does-not-fit"
    | "bad-image"
    | "cannot-save"
    | "storage-full"
    | "no-such-domain"
    | "wrong-state"
    | "internal";
  readonly detail: string;
}

export interface Ok<T> {
  readonly ok: true;
  readonly value: T;
}
export type DomctlResult<T> = Ok<T> | DomctlRefusal;

/** The answer of what gives nothing back. */
export const done: DomctlResult<void> = { ok: true, value: undefined };

export function refuse(code: DomctlRefusal["code"], detail: string): DomctlRefusal {
  return { ok: false, code, detail };
}

/** SCHEDOP_shutdown reasons (xen/sched.h), by name. */
export type ShutdownReason = "poweroff" | "reboot" | "suspend" | "crash" | "watchdog" | "soft-reset";

/** What a guest can be asked for. */
export type ShutdownRequest = "poweroff" | "reboot" | "suspend" | "halt";

export interface VcpuRuntime {
  readonly id: number;
  readonly state: "running" | "runnable" | "blocked" | "offline";
  readonly cpuTimeNs: number;
  readonly instructions: number;
}

/** A running (or paused, or shut down and not yet destroyed) domain as the hypervisor sees it. */
export interface DomainRuntime {
  readonly domid: number;
  readonly uuid: string;
  readonly worker: number;
  readonly state: "paused" | "running" | "blocked" | "shutdown" | "dying";
  readonly shutdownReason?: ShutdownReason;
  readonly cpuTimeNs: number;
  readonly memoryKiB: number;
  readonly maxMemoryKiB: number;
  readonly weight: number;
  readonly cap: number;
  readonly vcpus: readonly VcpuRuntime[];
  /** Host bytes by part, for capacity planning: registers, TLBs, decoded code, metadata. */
  readonly overheadBytes: Readonly<Record<string, number>>;
}

export interface HypercallCount {
  readonly number: number;
  readonly name: string;
  readonly count: number;
  /** Sub-operations that were called, where the hypercall has them. */
  readonly subops: readonly { readonly op: number; readonly name: string; readonly count: number }[];
}

/** Which traced calls to give. */
export type HypercallQuery = TraceFilter;

/** A page-table update that was refused, and why. */
export interface RefusalRecord {
  readonly seq: number;
  readonly time: number;
  readonly vcpu: number;
  readonly mfn: string;
  readonly typeHeld: string;
  readonly rule: string;
  readonly entry: string;
  readonly text: string;
}

export interface HypercallReport {
  readonly counters: readonly HypercallCount[];
  readonly tracing: boolean;
  readonly trace: readonly TraceEntry[];
  /** Sequence number to pass as `since` next time. */
  readonly next: number;
  readonly refusals: readonly RefusalRecord[];
}

export interface CrashReport {
  readonly reason: string;
  readonly vcpu: number;
  /** Register name to hexadecimal value. */
  readonly registers: Readonly<Record<string, string>>;
  /** The 64-bit words at the stack pointer, where they could be read. */
  readonly stack: readonly string[];
}

export type DomctlEvent =
  | {
      readonly kind: "shutdown";
      readonly domid: number;
      readonly uuid: string;
      readonly reason: ShutdownReason;
      readonly crash?: CrashReport;
    }
  /** The console log of a domain has grown to the absolute offset `end`. Coalesced. */
  | { readonly kind: "console"; readonly domid: number; readonly uuid: string; readonly end: number }
  /** A worker died; these domains died with it. */
  | {
      readonly kind: "worker-lost";
      readonly worker: number;
      readonly uuids: readonly string[];
      readonly detail: string;
    }
  | {
      readonly kind: "log";
      readonly domid: number | null;
      readonly level: "debug" | "info" | "warn" | "error";
      readonly text: string;
    };

export interface WorkerLoad {
  /** ns since the worker started, and those that it slept. */
  readonly upNs: number;
  readonly idleNs: number;
}

/** One guest worker with the figures of its domains. */
export interface WorkerStatistics extends WorkerLoad {
  readonly worker: number;
  /** Rows of the hypervisor's `statistics.ts`. */
  readonly table: Float64Array;
}

export interface HostInfo {
  /** Workers that run guests: the host's physical CPUs in Xen's words. */
  readonly workers: number;
  readonly memoryTotalMiB: number;
  /** What new domains may still take. */
  readonly memoryFreeMiB: number;
  readonly domains: number;
  /** Bytes of memories that wait, zeroed or to be zeroed, for the next domain of their size. */
  readonly poolBytes: number;
}

export interface Domctl {
  /** Xenstore, with Domain 0's rights. */
  readonly xenstore: XenstoreAccess;
  /** Makes a whole domain, paused: memory, event channels, kernel image, page tables, xenstore nodes, console. */
  create(spec: DomainSpec): Promise<DomctlResult<{ domid: number }>>;
  pause(domid: number): Promise<DomctlResult<void>>;
  unpause(domid: number): Promise<DomctlResult<void>>;
  /** From now on. The worker stays what it is. */
  schedule(domid: number, shares: Shares): Promise<DomctlResult<void>>;
  /** Tears the domain down at once and gives everything back. Idempotent for a domid that is gone. */
  destroy(domid: number): Promise<DomctlResult<void>>;
  /** Asks the guest through xenstore's control/shutdown. The answer is only that it was asked. */
  requestShutdown(domid: number, how: ShutdownRequest): Promise<DomctlResult<void>>;
  /** Takes a request back that the guest has not taken yet; whether there was one. */
  withdrawShutdown(domid: number): Promise<DomctlResult<{ withdrawn: boolean }>>;
  /**
   * Writes a domain that has shut down with reason `suspend` to a file, which is whole and on the disk when this resolves.
   * The domain stays as it is: destroy it, or `resume` it.
   */
  suspend(domid: number, path: string): Promise<DomctlResult<SavedFile>>;
  /** A domain that has shut down with reason `suspend` goes on in place. */
  resume(domid: number): Promise<DomctlResult<void>>;
  /**
   * Makes a domain, paused, of the file of a suspended one with the same uuid. Memory and vCPUs are those of the file, name and image
   * names are the spec's.
   */
  restore(spec: DomainSpec, path: string): Promise<DomctlResult<{ domid: number }>>;
  info(domid: number): Promise<DomctlResult<DomainRuntime>>;
  hypercalls(domid: number, query: HypercallQuery): Promise<DomctlResult<HypercallReport>>;
  /** Traces every hypercall, or those named in `only`. Begins anew, forgetting what was traced before. */
  setTrace(domid: number, on: boolean, only?: readonly string[]): Promise<DomctlResult<void>>;
  /** All figures at once: one message for each worker. A worker that is lost meanwhile is left out. */
  statistics(): Promise<readonly WorkerStatistics[]>;
  /** The row of one domain. */
  domainStatistics(domid: number): Promise<DomctlResult<Float64Array>>;
  /** Names of the threads that have not answered within `ms`. */
  silent(ms: number): Promise<readonly string[]>;
  /** The domain ends as if its guest had crashed, for `reason`. */
  crash(domid: number, reason: string): Promise<DomctlResult<void>>;
  /** A guest worker dies, and its domains with it; another one stands in its place. False when there is no such worker. */
  loseWorker(worker: number, reason: string): boolean;
  /** Types bytes into the console. Resolves when they are queued; at most 64 KiB may be waiting. `accepted` may be less than given. */
  consoleInput(domid: number, bytes: Uint8Array): Promise<DomctlResult<{ accepted: number }>>;
  host(): Promise<HostInfo>;
  /** One listener gets every event, in order for each domain. */
  onEvent(listener: (event: DomctlEvent) => void): void;
  /** Destroys every domain and ends the workers. */
  close(): Promise<void>;
}
