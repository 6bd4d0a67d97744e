/**
 * Putting a domain together across the threads: its shard makes it, the builder worker fills its memory from a kernel or from a
 * suspended domain's file, and the services worker connects its rings. A refusal leaves the giving back to the caller.
 */
import { basename } from "node:path";
import type { MemoryMap } from "../hypervisor/mm/memory-map.ts";
import { type DomainSpec, type DomctlResult, refuse, type Shares } from "./domctl.ts";
import type { CreatedDomain } from "./guest-control.ts";
import type { Introduction } from "./ports.ts";
import type { GuestWorker, Threads } from "./threads.ts";

const KIB_PER_PAGE = 4;

export interface RunningDomain {
  readonly domid: number;
  readonly uuid: string;
  readonly worker: GuestWorker;
  readonly memory: WebAssembly.Memory;
  readonly map: MemoryMap;
  readonly vcpus: number;
  /** As it was made; it may have changed since. */
  readonly shares: Shares;
  /** Called when the shard has let go of the memory. */
  onDestroyed?: () => void;
}

type RingsAndImage = Pick<Introduction, "store" | "storeMfn" | "console" | "consoleMfn" | "image" | "typed">;

/** Lays a kernel out in a fresh domain's memory, and gives vCPU 0 its start-of-day state. */
export async function buildDomain(
  threads: Threads,
  domain: RunningDomain,
  spec: DomainSpec,
): Promise<DomctlResult<{ domid: number }>> {
  const { domid, map, memory, worker } = domain;
  const created = await createOnShard(threads, domain);
  if (!created.ok) return created;
  const { sharedInfoMfn, storePort, consolePort } = created.value;
  const image = await threads.builder.call("build", {
    domid,
    memory,
    ramOffset: map.ramOffset,
    baseMfn: map.baseMfn,
    pages: map.pages,
    vcpus: spec.vcpus,
    kernelPath: spec.kernel,
    ...(spec.ramdisk === undefined ? {} : { ramdiskPath: spec.ramdisk }),
    cmdline: spec.cmdline,
    sharedInfoMfn,
    storePort,
    consolePort,
  });
  if (!image.ok) return image;
  const { storePfn, consolePfn } = image.value;
  const storeMfn = map.baseMfn + storePfn;
  const consoleMfn = map.baseMfn + consolePfn;
  const finished = await worker.rpc.call("finishDomain", domid, {
    ...image.value,
    baseMfn: map.baseMfn,
    storePort,
    consolePort,
  });
  if (!finished.ok) return finished;
  await introduce(threads, domain, spec, map.pages, {
    store: { byteOffset: finished.value.storeOffset, port: storePort },
    storeMfn,
    console: { byteOffset: finished.value.consoleOffset, port: consolePort },
    consoleMfn,
    image: {
      kernel: basename(spec.kernel),
      ...(spec.ramdisk === undefined ? {} : { ramdisk: basename(spec.ramdisk) }),
      cmdline: spec.cmdline,
    },
  });
  return { ok: true, value: { domid } };
}

/** Fills a fresh domain from the file of a suspended one. */
export async function loadDomain(
  threads: Threads,
  domain: RunningDomain,
  spec: DomainSpec,
  path: string,
): Promise<DomctlResult<{ domid: number }>> {
  const { domid, map, memory, worker } = domain;
  const created = await createOnShard(threads, domain);
  if (!created.ok) return created;
  const { storePort, consolePort } = created.value;
  const { ramOffset, ownFrames } = map;
  const loaded = await threads.builder.call("loadSuspended", { path, memory, ramOffset, ownFrames });
  if (!loaded.ok) return loaded;
  if (loaded.value.uuid !== spec.uuid) return refuse("bad-image", "The file has changed while it was read.");
  const restored = await worker.rpc.call("restoreDomain", domid, loaded.value, { storePort, consolePort });
  if (!restored.ok) return restored;
  const { storeOffset, storeMfn, consoleOffset, consoleMfn, pages } = restored.value;
  await introduce(threads, domain, spec, pages, {
    store: { byteOffset: storeOffset, port: storePort },
    storeMfn,
    console: { byteOffset: consoleOffset, port: consolePort },
    consoleMfn,
    typed: loaded.value.typed,
  });
  return { ok: true, value: { domid } };
}

async function createOnShard(
  threads: Threads,
  { domid, uuid, memory, map, shares, worker }: RunningDomain,
): Promise<DomctlResult<CreatedDomain>> {
  const created = await worker.rpc.call("createDomain", { domid, uuid, memory, map, shares });
  if (created.ok) threads.tellOthers(worker, (other) => other.rpc.tell("located", domid, worker.index));
  return created;
}

/** Connects a domain of `pages` frames to Domain 0's services. */
async function introduce(
  threads: Threads,
  domain: RunningDomain,
  spec: DomainSpec,
  pages: number,
  rest: RingsAndImage,
): Promise<void> {
  const { domid, uuid, worker, memory, map } = domain;
  await threads.services.call("introduce", {
    domid,
    uuid,
    name: spec.name,
    worker: worker.index,
    memory,
    memoryKiB: pages * KIB_PER_PAGE,
    maxMemoryKiB: map.maxPages * KIB_PER_PAGE,
    vcpus: map.vcpus,
    ...rest,
  });
}
