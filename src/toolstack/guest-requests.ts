/**
 * What a host asks of a running guest besides stopping: its memory, its vCPUs, a sysrq key.
 *
 * All of it is a node of xenstore that the guest watches. An answer says only that the guest was asked; what it did shows in its runtime.
 */

import type { DomainRuntime, Domctl } from "../machine/domctl.ts";
import type { XenstoreWrite } from "../machine/xenstore-access.ts";
import { homeOf } from "../xenstore/path.ts";
import { fromDomctl } from "./domctl-refusal.ts";
import type { DomainRecord } from "./model.ts";
import { done, type Refusal, type Result, refuse } from "./refusal.ts";

interface GuestRequestsOptions {
  readonly domctl: Domctl;
  find(reference: string): Result<DomainRecord>;
}

const KIB_PER_MIB = 1024;

interface Guest {
  readonly record: DomainRecord;
  readonly domid: number;
  readonly runtime: DomainRuntime;
}

export class GuestRequests {
  readonly #options: GuestRequestsOptions;

  constructor(options: GuestRequestsOptions) {
    this.#options = options;
  }

  /** Asks for a size, by memory/target. The ceiling is the maxMemoryMiB with which the guest was started. */
  async setMemoryTarget(reference: string, memoryMiB: number): Promise<Result<DomainRecord>> {
    const guest = await this.#guest(reference);
    if (!guest.ok) return guest;
    const { record, domid, runtime } = guest.value;
    const most = Math.floor(runtime.maxMemoryKiB / KIB_PER_MIB);
    const refusal = above(record, "memoryMiB", memoryMiB, most, "MiB at most");
    if (refusal) return refusal;
    const value = Buffer.from(String(memoryMiB * KIB_PER_MIB));
    // libxl keeps what was asked for with the domain's uuid too, in MiB.
    const note = { path: `/vm/${record.uuid}/memory`, value: Buffer.from(String(memoryMiB)) };
    return this.#write(guest.value, { path: `${homeOf(domid)}/memory/target`, value }, note);
  }

  /** Asks for the first `online` vCPUs to be online and the others not, by cpu/N/availability. */
  async setOnlineVcpus(reference: string, online: number): Promise<Result<DomainRecord>> {
    const guest = await this.#guest(reference);
    if (!guest.ok) return guest;
    const { record, domid, runtime } = guest.value;
    const refusal = above(record, "online", online, runtime.vcpus.length, "vCPUs");
    if (refusal) return refusal;
    const writes = runtime.vcpus.map(({ id }) => ({
      path: `${homeOf(domid)}/cpu/${id}/availability`,
      value: Buffer.from(id < online ? "online" : "offline"),
    }));
    return this.#write(guest.value, ...writes);
  }

  /** Presses a sysrq key, by control/sysrq; the guest takes it from there. */
  async sysrq(reference: string, key: string): Promise<Result<DomainRecord>> {
    const guest = await this.#guest(reference);
    if (!guest.ok) return guest;
    const { domid } = guest.value;
    // The guest empties the node when it has read it, whatever became of the node's permissions.
    const permissions = [`n${domid}`];
    return this.#write(guest.value, { path: `${homeOf(domid)}/control/sysrq`, value: Buffer.from(key), permissions });
  }

  async #guest(reference: string): Promise<Result<Guest>> {
    const record = this.#options.find(reference);
    if (!record.ok) return record;
    const { domid, name, state } = record.value;
    if (domid === null || (state !== "running" && state !== "paused"))
      return refuse("wrong-state", `Domain ${name} is ${state}; only a guest that runs or is paused can be asked.`);
    const runtime = await this.#options.domctl.info(domid);
    return runtime.ok ? done({ record: record.value, domid, runtime: runtime.value }) : fromDomctl(runtime);
  }

  async #write({ record, domid }: Guest, ...writes: readonly XenstoreWrite[]): Promise<Result<DomainRecord>> {
    const written = await this.#options.domctl.xenstore.write(writes, homeOf(domid));
    if (written.ok) return done(record);
    if (written.code !== "home-gone") return refuse("internal", written.detail);
    return refuse("wrong-state", `Domain ${record.name} ended before it could be asked.`);
  }
}

function above(record: DomainRecord, field: string, value: number, most: number, what: string): Refusal | undefined {
  if (value <= most) return undefined;
  return refuse("out-of-range", `Domain ${record.name} was started with ${most} ${what}; ${value} are too many.`, {
    field,
    limit: most,
  });
}
