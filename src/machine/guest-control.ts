/**
 * What the control plane may ask of a guest worker: domctl operations on the shard, as plain data in and out.
 *
 * Every method is synchronous, since a guest worker never returns to its event loop; what takes time (tearing a domain down
 * while another shard still maps its frames) is reported by an event later.
 */
import { Errno } from "../abi/errno.ts";
import type { MemoryMap } from "../hypervisor/mm/memory-map.ts";
import type { Shard } from "../hypervisor/shard.ts";
import type { DomainRuntime, DomctlRefusal, DomctlResult, HypercallReport } from "./domctl.ts";
import { collectGarbage } from "./garbage.ts";

export interface CreateRequest {
  readonly domid: number;
  readonly uuid: string;
  readonly memory: WebAssembly.Memory;
  readonly map: MemoryMap;
}

export interface CreatedDomain {
  readonly sharedInfoMfn: number;
  readonly storePort: number;
  readonly consolePort: number;
}

/** Where the builder put the start-of-day state and the rings. */
export interface FinishRequest {
  readonly l4Pfn: number;
  readonly entry: number;
  readonly startInfoVa: number;
  readonly stackVa: number;
  readonly storeMfn: number;
  readonly storePort: number;
  readonly consoleMfn: number;
  readonly consolePort: number;
}

/** Byte offsets of the ring pages in the domain's memory; the pages stay referenced until the domain is destroyed. */
export interface MappedRings {
  readonly storeOffset: number;
  readonly consoleOffset: number;
}

export interface GuestControl {
  createDomain(request: CreateRequest): DomctlResult<CreatedDomain>;
  finishDomain(domid: number, request: FinishRequest): DomctlResult<MappedRings>;
  pause(domid: number): DomctlResult<void>;
  unpause(domid: number): DomctlResult<void>;
  /** Ends in the event `destroyed`. */
  destroy(domid: number): void;
  info(domid: number): DomctlResult<Omit<DomainRuntime, "uuid" | "worker">>;
  hypercalls(domid: number, query: { since?: number; limit?: number }): DomctlResult<HypercallReport>;
  setTrace(domid: number, on: boolean): DomctlResult<void>;
  /** A domain lives on another shard, or is gone from there. */
  located(domid: number, shard: number): void;
  gone(domid: number): void;
}
