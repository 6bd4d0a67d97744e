/**
 * What the threads of a machine ask of each other: the services worker (xenstore and console back ends), the builder worker,
 * and the guest workers. All arguments are plain data; memories are shared, never copied.
 */
import type { MessagePort } from "node:worker_threads";
import type { MachineEpoch } from "./clock.ts";
import type { CrashReport, DomctlResult, ShutdownReason, ShutdownRequest, WorkerLoad } from "./domctl.ts";
import type { GuestControl } from "./guest-control.ts";
import type { LoadedDomain, LoadJob, SavedFile, SaveJob, SuspendedHead } from "./suspended-domain.ts";
import type { XenstoreEvents, XenstorePort } from "./xenstore-access.ts";

/** Everything the builder needs to fill a fresh domain's memory. */
export interface BuildJob {
  readonly domid: number;
  readonly memory: WebAssembly.Memory;
  /** Byte offset of machine frame `baseMfn`. */
  readonly ramOffset: number;
  readonly baseMfn: number;
  readonly pages: number;
  readonly vcpus: number;
  readonly kernelPath: string;
  readonly ramdiskPath?: string;
  readonly cmdline: string;
  readonly sharedInfoMfn: number;
  readonly storePort: number;
  readonly consolePort: number;
}

/** Where the builder put things: the start-of-day state of vCPU 0, and the two rings. */
export interface BuiltImage {
  readonly l4Pfn: number;
  readonly entry: number;
  readonly startInfoVa: number;
  readonly stackVa: number;
  readonly storePfn: number;
  readonly consolePfn: number;
  readonly guestOs: string;
}

/** Served by the builder worker. */
export interface BuilderPort {
  build(job: BuildJob): Promise<DomctlResult<BuiltImage>>;
  /** Writes a suspended domain's file; nobody writes its memory meanwhile. */
  saveSuspended(job: SaveJob): Promise<DomctlResult<SavedFile>>;
  /** Whose file it is, and what memory it needs. */
  readSuspended(path: string): Promise<DomctlResult<SuspendedHead>>;
  /** Fills a fresh domain's memory from a file. */
  loadSuspended(job: LoadJob): Promise<DomctlResult<LoadedDomain>>;
  /** Zeroes a memory whose domain is gone. */
  scrub(memory: WebAssembly.Memory): void;
  collectGarbage(): void;
}

/** A ring page of a domain, and the domain's event channel port for it. */
export interface ServiceRing {
  /** Byte offset of the page in the domain's memory. */
  readonly byteOffset: number;
  readonly port: number;
}

export interface Introduction {
  readonly domid: number;
  readonly uuid: string;
  readonly name: string;
  readonly worker: number;
  readonly memory: WebAssembly.Memory;
  readonly memoryKiB: number;
  readonly maxMemoryKiB: number;
  readonly vcpus: number;
  /** What it boots, by names that the guest may see: file names, no paths of the host. None for one that comes back from a file. */
  readonly image?: { readonly kernel: string; readonly ramdisk?: string; readonly cmdline: string };
  readonly store: ServiceRing;
  readonly storeMfn: number;
  readonly console: ServiceRing;
  readonly consoleMfn: number;
  /** Typed before it was suspended, and not read by the guest yet. */
  readonly typed?: Uint8Array;
}

/** Served by the services worker. */
export interface ServicesPort extends XenstorePort {
  ready(): void;
  introduce(domain: Introduction): void;
  /** The guest has shut down; its memory is still there. */
  stopped(domid: number): void;
  /** The domain's rings are left alone until `thaw` or `release`. Gives what was typed and is not in its ring. */
  freeze(domid: number): Uint8Array;
  thaw(domid: number): void;
  /** Answers when what the console logs have now is on the disk: those of a domain, or all. */
  syncLogs(domid?: number): Promise<void>;
  /** The domain's rings are no longer touched when this has answered. */
  release(domid: number): void;
  requestShutdown(domid: number, how: ShutdownRequest): boolean;
  /** False when there is no request, or the guest has taken it. */
  withdrawShutdown(domid: number): boolean;
  /** How many of the bytes were queued. */
  consoleInput(domid: number, bytes: Uint8Array): number;
  /** A guest worker (re)started: talk to it here. */
  connect(worker: number, port: MessagePort, kick: SharedArrayBuffer): void;
  collectGarbage(): void;
}

/** Told by the services worker to the control plane. */
export interface ServicesEvents extends XenstoreEvents {
  /** The console log of a domain reaches to the absolute offset `end`. */
  consoleGrew(domid: number, end: number): void;
  log(level: LogLevel, domid: number | null, text: string): void;
}

export type LogLevel = "debug" | "info" | "warn" | "error";

/** Told by a guest worker to the control plane. */
export interface GuestWorkerEvents {
  shutdown(domid: number, reason: ShutdownReason, crash: CrashReport | undefined): void;
  /** Nothing on the worker touches the domain's memory any more. */
  destroyed(domid: number): void;
  log(level: LogLevel, domid: number | null, text: string): void;
}

/** Served by a guest worker. */
export interface GuestWorkerPort extends GuestControl {
  ready(): void;
  load(): WorkerLoad;
  /** Throws: the worker dies of it. */
  fail(why: string): never;
  /** A line to another guest worker, which sleeps on `kick` and reads in `rounds`. */
  connect(peer: number, port: MessagePort, rounds: SharedArrayBuffer, kick: SharedArrayBuffer): void;
  connectServices(port: MessagePort, rounds: SharedArrayBuffer): void;
  collectGarbage(): void;
}

export interface GuestWorkerData {
  readonly worker: number;
  readonly epoch: MachineEpoch;
  readonly module: WebAssembly.Module;
  readonly kick: SharedArrayBuffer;
  /** The worker's own (`Rounds`). */
  readonly rounds: SharedArrayBuffer;
  readonly control: MessagePort;
}

export interface ServicesWorkerData {
  readonly epoch: MachineEpoch;
  readonly rounds: SharedArrayBuffer;
  readonly consoleDir: string;
}

/** Between the services worker and a guest worker, both ways: a notification of a port between Domain 0 and the domain. */
export interface PortNotification {
  readonly kind: "event";
  readonly domid: number;
  readonly port: number;
}
