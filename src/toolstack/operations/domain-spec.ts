/** What the machine is told of a domain that it makes. */

import type { DomainSpec, Domctl } from "../../machine/domctl.ts";
import { refusalOf } from "../domctl-refusal.ts";
import type { DomainRecord } from "../model.ts";
import type { Store } from "../ports.ts";
import type { Refusal } from "../refusal.ts";

/** `kernel` and `ramdisk` are paths. */
export function domainSpec(record: DomainRecord, kernel: string, ramdisk: string | undefined): DomainSpec {
  const { uuid, name, cmdline, memoryMiB, maxMemoryMiB, vcpus, cpuWeight, cpuCap, cpuAffinity } = record;
  return {
    uuid,
    name,
    kernel,
    cmdline,
    memoryMiB,
    maxMemoryMiB,
    vcpus,
    scheduling: { weight: cpuWeight, cap: cpuCap, affinity: cpuAffinity },
    ...(ramdisk !== undefined && { ramdisk }),
  };
}

/**
 * Gives an instance the shares that its definition has now, where they are not those that it was made with. Whoever changes a definition sees
 * the instance, or is seen here.
 */
export async function scheduleAnew(
  domctl: Domctl,
  store: Store,
  domid: number,
  made: DomainRecord,
): Promise<Refusal | undefined> {
  const record = store.domain(made.uuid);
  if (!record || (record.cpuWeight === made.cpuWeight && record.cpuCap === made.cpuCap)) return undefined;
  return refusalOf(await domctl.schedule(domid, { weight: record.cpuWeight, cap: record.cpuCap }));
}
