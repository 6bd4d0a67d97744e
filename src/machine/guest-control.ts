/**
 * What the control plane may ask of a guest worker: domctl operations on the shard, as plain data in and out.
 *
 * Every method is synchronous, since a guest worker never returns to its event loop; what takes time (tearing a domain down
 * while another shard still maps its frames) is reported by an event later.
 */
import { Errno } from "../abi/errno.ts";
import type { DomainMapping } from "../hypervisor/domain-control.ts";
import type { MemoryMap } from "../hypervisor/mm/memory-map.ts";
import type { Shard } from "../hypervisor/shard.ts";
import type { SavedDomain } from "../hypervisor/suspend/saved-domain.ts";
import {
  type DomainRuntime,
  type DomctlRefusal,
  type DomctlResult,
  done,
  type HypercallQuery,
  type HypercallReport,
  refuse,
  type Shares,
  type ShutdownReason,
} from "./domctl.ts";

export interface CreateRequest {
  readonly domid: number;
  readonly uuid: string;
  readonly memory: WebAssembly.Memory;
  readonly map: MemoryMap;
  readonly shares: Shares;
}

export interface CreatedDomain {
  readonly sharedInfoMfn: number;
  readonly storePort: number;
  readonly consolePort: number;
}

/** Where the builder put the start-of-day state and the rings. */
export interface FinishRequest {
  readonly baseMfn: number;
  readonly l4Pfn: number;
  readonly entry: number;
  readonly startInfoVa: number;
  readonly stackVa: number;
  readonly storePfn: number;
  readonly storePort: number;
  readonly consolePfn: number;
  readonly consolePort: number;
}

/** Byte offsets of the ring pages in the domain's memory; the pages stay referenced until the domain is destroyed. */
export interface MappedRings {
  readonly storeOffset: number;
  readonly consoleOffset: number;
}

/** The domain's ends of the channels to its services, as `createDomain` gave them. */
export interface RestoreRequest {
  readonly storePort: number;
  readonly consolePort: number;
}

export interface RestoredRings extends MappedRings {
  readonly storeMfn: number;
  readonly consoleMfn: number;
  /** Frames of the reservation. */
  readonly pages: number;
}

export interface GuestControl {
  createDomain(request: CreateRequest): DomctlResult<CreatedDomain>;
  finishDomain(domid: number, request: FinishRequest): DomctlResult<MappedRings>;
  /** What a suspended domain needs to come back, besides its memory; "busy" when that is to be asked again soon. */
  saveDomain(domid: number): DomctlResult<SavedDomain | "busy">;
  /** Gives a new domain, whose memory is in place, a saved state. */
  restoreDomain(domid: number, saved: SavedDomain, request: RestoreRequest): DomctlResult<RestoredRings>;
  /** A suspended domain goes on in place. */
  resume(domid: number): DomctlResult<void>;
  pause(domid: number): DomctlResult<void>;
  unpause(domid: number): DomctlResult<void>;
  schedule(domid: number, shares: Shares): DomctlResult<void>;
  /** Ends in the event `destroyed`, unless there is no such domain. */
  destroy(domid: number): Destruction;
  info(domid: number): DomctlResult<Omit<DomainRuntime, "uuid" | "worker">>;
  /** Rows of the hypervisor's `statistics.ts`: of every domain here, or of one. */
  statistics(domid?: number): Float64Array<ArrayBuffer>;
  crash(domid: number, reason: string): DomctlResult<void>;
  hypercalls(domid: number, query: HypercallQuery): DomctlResult<HypercallReport>;
  setTrace(domid: number, on: boolean, only?: readonly string[]): DomctlResult<void>;
  /** A domain lives on another shard, or is gone from there. */
  located(domid: number, shard: number): void;
  gone(domid: number): void;
  /** The same, and its worker died: what it held of others is put. */
  lost(domid: number): void;
  /** Nothing is left of a domain of another shard: its domid may be another's from now on. */
  forgotten(domid: number): void;
}

/** What becomes of a domain: it is gone, or its memory is kept by guests that have frames of it mapped, or it was not there. */
export type Destruction = "gone" | "held" | "unknown";

const SHUTDOWN_REASONS: readonly ShutdownReason[] = [
  "poweroff",
  "reboot",
  "suspend",
  "crash",
  "watchdog",
  "soft-reset",
];

/** A reason that no guest may give counts as a crash. */
export function shutdownReason(number: number): ShutdownReason {
  return SHUTDOWN_REASONS[number] ?? "crash";
}

function answer(domid: number, rc: number): DomctlResult<void> {
  if (rc >= 0) return done;
  return rc === -Errno.ESRCH
    ? refuse("no-such-domain", `there is no domain ${domid}`)
    : refuse("internal", `the hypervisor answered ${rc} for domain ${domid}`);
}

/** `GuestControl` on a shard of this thread. */
export class ShardControl implements GuestControl {
  readonly #shard: Shard;
  /** The ring pages that Domain 0 has mapped of each domain. */
  readonly #rings = new Map<number, DomainMapping[]>();

  constructor(shard: Shard) {
    this.#shard = shard;
  }

  createDomain({ domid, uuid, memory, map, shares }: CreateRequest): DomctlResult<CreatedDomain> {
    const created = this.#shard.createDomain({
      domid,
      uuid: Buffer.from(uuid.replaceAll("-", ""), "hex"),
      memory,
      map,
      ...shares,
    });
    if (typeof created === "number") return refuse("internal", `the hypervisor made no domain ${domid}: ${created}`);
    const storePort = this.#shard.allocUnbound(domid, 0);
    const consolePort = this.#shard.allocUnbound(domid, 0);
    return { ok: true, value: { sharedInfoMfn: created.sharedInfoMfn, storePort, consolePort } };
  }

  finishDomain(domid: number, request: FinishRequest): DomctlResult<MappedRings> {
    const { baseMfn, storePfn, storePort, consolePfn, consolePort } = request;
    const rc = this.#shard.setBootContext(domid, request);
    if (rc !== 0) {
      const why = this.#shard.refusals(domid).at(-1)?.text ?? `error ${rc}`;
      return refuse("bad-kernel", `the page tables that the kernel would start with are not valid: ${why}`);
    }
    const mapped = this.#mapRings(domid, [baseMfn + storePfn, baseMfn + consolePfn], [storePort, consolePort]);
    return mapped ?? refuse("internal", "a ring page cannot be mapped");
  }

  saveDomain(domid: number): DomctlResult<SavedDomain | "busy"> {
    const saved = this.#shard.saveDomain(domid);
    if (typeof saved !== "number") return { ok: true, value: saved };
    if (saved === -Errno.EAGAIN) return { ok: true, value: "busy" };
    if (saved === -Errno.EINVAL) return refuse("wrong-state", `domain ${domid} is not suspended`);
    if (saved === -Errno.EBUSY) {
      return refuse(
        "cannot-save",
        "the guest suspended with a page mapped that it shares with the hypervisor or that another domain granted",
      );
    }
    return answer(domid, saved) as DomctlRefusal;
  }

  restoreDomain(
    domid: number,
    saved: SavedDomain,
    { storePort, consolePort }: RestoreRequest,
  ): DomctlResult<RestoredRings> {
    const restored = this.#shard.restoreDomain(domid, saved, { storePort, consolePort });
    if (typeof restored === "string") return refuse("bad-image", `The state is not one of a domain: ${restored}.`);
    const { storeMfn, consoleMfn, pages } = restored;
    const mapped = this.#mapRings(domid, [storeMfn, consoleMfn], [storePort, consolePort]);
    if (!mapped)
      return refuse("bad-image", "The state is not one of a domain: a ring is in a page that cannot be written.");
    return { ok: true, value: { ...mapped.value, storeMfn, consoleMfn, pages } };
  }

  resume(domid: number): DomctlResult<void> {
    const rc = this.#shard.resumeSuspended(domid);
    return rc === -Errno.EINVAL ? refuse("wrong-state", `domain ${domid} is not suspended`) : answer(domid, rc);
  }

  /** Maps the rings, xenstore's and the console's, and binds their ports. Undefined when a frame cannot be mapped. */
  #mapRings(
    domid: number,
    frames: readonly [number, number],
    ports: readonly number[],
  ): { ok: true; value: MappedRings } | undefined {
    const mappings: DomainMapping[] = [];
    this.#rings.set(domid, mappings);
    for (const mfn of frames) {
      const mapping = this.#shard.mapForDom0(domid, mfn, true);
      if (typeof mapping === "number") return undefined;
      mappings.push(mapping);
    }
    for (const port of ports) this.#shard.bindDom0(domid, port);
    const [store, console] = mappings;
    return { ok: true, value: { storeOffset: store!.byteOffset, consoleOffset: console!.byteOffset } };
  }

  pause(domid: number): DomctlResult<void> {
    return answer(domid, this.#shard.pause(domid));
  }

  unpause(domid: number): DomctlResult<void> {
    return answer(domid, this.#shard.unpause(domid));
  }

  schedule(domid: number, { weight, cap }: Shares): DomctlResult<void> {
    return answer(domid, this.#shard.schedule(domid, weight, cap));
  }

  destroy(domid: number): Destruction {
    const rings = this.#rings.get(domid) ?? [];
    this.#rings.delete(domid);
    const there = this.#shard.destroy(domid) === 0;
    for (const mapping of rings) this.#shard.unmapForDom0(mapping);
    if (!there) return "unknown";
    return this.#shard.domainInfo(domid) === undefined ? "gone" : "held";
  }

  info(domid: number): DomctlResult<Omit<DomainRuntime, "uuid" | "worker">> {
    const info = this.#shard.domainInfo(domid);
    if (!info) return answer(domid, -Errno.ESRCH) as DomctlRefusal;
    const { shutdownReason: reason, crash: _crash, ...rest } = info;
    return {
      ok: true,
      value: { ...rest, ...(reason === undefined ? {} : { shutdownReason: shutdownReason(reason) }) },
    };
  }

  hypercalls(domid: number, query: HypercallQuery): DomctlResult<HypercallReport> {
    const report = this.#shard.trace(domid, query);
    if (!report) return answer(domid, -Errno.ESRCH) as DomctlRefusal;
    return {
      ok: true,
      value: { ...report, counters: this.#shard.hypercallCounters(domid), refusals: this.#shard.refusals(domid) },
    };
  }

  statistics(domid?: number): Float64Array<ArrayBuffer> {
    return this.#shard.statistics(domid);
  }

  crash(domid: number, reason: string): DomctlResult<void> {
    return answer(domid, this.#shard.crash(domid, reason));
  }

  setTrace(domid: number, on: boolean, only?: readonly string[]): DomctlResult<void> {
    return answer(domid, this.#shard.setTrace(domid, on, only));
  }

  located(domid: number, shard: number): void {
    this.#shard.receive({ kind: "located", domid, shard });
  }

  gone(domid: number): void {
    this.#shard.receive({ kind: "gone", domid });
  }

  forgotten(domid: number): void {
    this.#shard.receive({ kind: "destroyed", domid });
  }

  lost(domid: number): void {
    this.#shard.receive({ kind: "lost", domid });
  }
}
