/**
 * The machine: worker threads as physical CPUs, one services worker for Domain 0's back ends, one builder worker, and the memory
 * of every domain. Implements the `Domctl` port on the control plane's thread.
 *
 * Invariant: a domain is in `#domains` from the moment it has memory until its memory is back in the pool; whatever fails in
 * between, `#discard` gives everything back, in the order back ends, shard, memory (nobody touches a memory that was given back).
 */
import { totalmem } from "node:os";
import { compileEngine, engineBytes } from "../hypervisor/engine-module.ts";
import { largestMaxPages, memoryMap } from "../hypervisor/mm/memory-map.ts";
import { DEFAULT_WEIGHT } from "../hypervisor/sched/scheduler.ts";
import { buildDomain, loadDomain, type RunningDomain } from "./domain-assembly.ts";
import { saveDomain } from "./domain-saving.ts";
import {
  type CrashReport,
  type DomainRuntime,
  type DomainSpec,
  type Domctl,
  type DomctlEvent,
  type DomctlRefusal,
  type DomctlResult,
  done,
  type HostInfo,
  type HypercallQuery,
  type HypercallReport,
  refuse,
  type Scheduling,
  type Shares,
  type ShutdownReason,
  type ShutdownRequest,
  type WorkerStatistics,
} from "./domctl.ts";
import { collectGarbage } from "./garbage.ts";
import { MemoryPool } from "./memory-pool.ts";
import type { LogLevel } from "./ports.ts";
import { RemoteXenstore } from "./remote-xenstore.ts";
import type { SavedFile, SuspendedHead } from "./suspended-domain.ts";
import { type GuestWorker, Threads } from "./threads.ts";

const PAGES_PER_MIB = 256;
const WORKER_HEAP_MIB = 512;
const DEFAULT_SCHEDULING: Scheduling = { weight: DEFAULT_WEIGHT, cap: 0, affinity: null };
/** The most vCPUs that a file may ask for. */
const MOST_VCPUS = 128;
/** Above it are Xen's special domain ids (DOMID_FIRST_RESERVED, xen/xen.h). */
const FIRST_RESERVED_DOMID = 0x7ff0;

export interface MachineOptions {
  /** Worker threads that run guests. */
  readonly workers: number;
  /** Where the console logs are kept. */
  readonly consoleDir: string;
  /** Entry modules of the services and the builder worker; they live with the code that they run. */
  readonly servicesWorker: URL;
  readonly builderWorker: URL;
  /** The services worker died, which no domain survives: the process should end. */
  readonly onFatal: (error: Error) => void;
  /** Memory that domains may take together; default three quarters of the host's. */
  readonly memoryMiB?: number;
  /** Scrubbed memories kept for the next domain of their size; default 512 MiB. */
  readonly poolBytes?: number;
  /** JavaScript heap of a guest worker and of the builder worker; default 512. One that outgrows it dies alone. */
  readonly workerHeapMiB?: number;
  /** The first domid to hand out: ids of earlier runs stay unused while something may still name them. */
  readonly firstDomid?: number;
}

export class Machine implements Domctl {
  readonly xenstore: RemoteXenstore;
  readonly #options: MachineOptions;
  readonly #threads: Threads;
  readonly #pool: MemoryPool;
  readonly #domains = new Map<number, RunningDomain>();
  /** Destroyed, but their shard may still touch their memory, or other guests have frames of it mapped. */
  readonly #leaving = new Map<number, RunningDomain>();
  readonly #listeners: ((event: DomctlEvent) => void)[] = [];
  #nextDomid: number;
  #closing = false;

  private constructor(options: MachineOptions) {
    this.#options = options;
    this.#nextDomid = Math.max(1, options.firstDomid ?? 1);
    const log = (level: LogLevel, domid: number | null, text: string) =>
      this.#emit({ kind: "log", domid, level, text });
    this.#threads = new Threads({
      workers: options.workers,
      module: compileEngine(),
      consoleDir: options.consoleDir,
      servicesWorker: options.servicesWorker,
      builderWorker: options.builderWorker,
      guestEvents: {
        log,
        shutdown: (domid, reason, crash) => void this.#guestShutdown(domid, reason, crash),
        destroyed: (domid) => this.#guestDestroyed(domid),
      },
      servicesEvents: {
        log,
        consoleGrew: (domid, end) => this.#consoleGrew(domid, end),
        xenstoreChanged: (watch, paths) => this.xenstore.changed(watch, paths),
      },
      workerHeapMiB: options.workerHeapMiB ?? WORKER_HEAP_MIB,
      onBuilderLost: (error) => log("error", null, `the builder worker is gone, and another goes on: ${error.message}`),
      onGuestWorkerLost: (dead, error) => this.#guestWorkerLost(dead, error),
      onFatal: options.onFatal,
    });
    this.xenstore = new RemoteXenstore(this.#threads.services);
    this.#pool = new MemoryPool({
      keepBytes: options.poolBytes ?? 512 * 1024 * 1024,
      scrub: (memory) => this.#threads.builder.call("scrub", memory),
      onDropped: () => {
        this.#threads.collectGarbage();
        setImmediate(collectGarbage);
      },
    });
  }

  /** Starts every thread. Resolves when the guest workers answer. */
  static async start(options: MachineOptions): Promise<Machine> {
    const machine = new Machine(options);
    await machine.#threads.ready();
    return machine;
  }

  onEvent(listener: (event: DomctlEvent) => void): void {
    this.#listeners.push(listener);
  }

  async create(spec: DomainSpec): Promise<DomctlResult<{ domid: number }>> {
    const pages = spec.memoryMiB * PAGES_PER_MIB;
    const maxPages = spec.maxMemoryMiB * PAGES_PER_MIB;
    return this.#make({ uuid: spec.uuid, pages, maxPages, vcpus: spec.vcpus }, spec.scheduling, (domain) =>
      buildDomain(this.#threads, domain, spec),
    );
  }

  async restore(spec: DomainSpec, path: string): Promise<DomctlResult<{ domid: number }>> {
    const head = await this.#threads.builder.call("readSuspended", path);
    if (!head.ok) return head;
    const { uuid, pages, maxPages, vcpus } = head.value;
    if (uuid !== spec.uuid) return refuse("bad-image", `The file is of another domain, ${uuid}.`);
    if (pages < 1 || maxPages < pages || vcpus < 1 || vcpus > MOST_VCPUS) {
      return refuse("bad-image", `The file names ${pages} of at most ${maxPages} pages and ${vcpus} vCPUs.`);
    }
    return this.#make(head.value, spec.scheduling, (domain) => loadDomain(this.#threads, domain, spec, path));
  }

  /** Takes memory and a domid, has them filled, and gives everything back when that is refused. */
  async #make(
    size: SuspendedHead,
    { weight, cap, affinity }: Scheduling = DEFAULT_SCHEDULING,
    fill: (domain: RunningDomain) => Promise<DomctlResult<{ domid: number }>>,
  ): Promise<DomctlResult<{ domid: number }>> {
    const { uuid, pages, maxPages, vcpus } = size;
    const bytesOfEngine = engineBytes(vcpus);
    if (maxPages > largestMaxPages(bytesOfEngine)) {
      const most = Math.floor(largestMaxPages(bytesOfEngine) / PAGES_PER_MIB);
      const asked = Math.ceil(maxPages / PAGES_PER_MIB);
      return refuse("no-memory", `${asked} MiB is more than one domain can have (${most} MiB)`);
    }
    const map = memoryMap({ pages, maxPages, vcpus, engineBytes: bytesOfEngine });
    const free = this.#freeBytes();
    if (map.bytes > free) {
      return refuse("no-memory", `the domain needs ${mib(map.bytes)} MiB of host memory and ${mib(free)} MiB are free`);
    }
    if (!this.#leastLoaded(affinity))
      return refuse("no-worker", `of the workers ${affinity?.join(", ")} there is none`);
    const memory = await this.#pool.take(map.bytes);
    if (!memory) return refuse("no-memory", `no address space for a memory of ${mib(map.bytes)} MiB`);
    const domid = this.#freeDomid();
    // Others may have been placed, and workers lost, while the memory was waited for.
    const worker = this.#leastLoaded(affinity)!;
    const domain: RunningDomain = {
      domid,
      uuid,
      worker,
      memory,
      map,
      vcpus,
      shares: { weight, cap },
    };
    this.#domains.set(domid, domain);
    domain.worker.vcpus += vcpus;
    try {
      const made = await fill(domain);
      if (!made.ok) await this.#discard(domain);
      return made;
    } catch (error) {
      await this.#discard(domain);
      throw error;
    }
  }

  async suspend(domid: number, path: string): Promise<DomctlResult<SavedFile>> {
    return this.#onShard(domid, (_worker, domain) => saveDomain(this.#threads, domain, path));
  }

  async resume(domid: number): Promise<DomctlResult<void>> {
    return this.#onShard(domid, async (worker) => {
      await this.#threads.services.call("thaw", domid);
      return worker.rpc.call("resume", domid);
    });
  }

  async pause(domid: number): Promise<DomctlResult<void>> {
    return this.#onShard(domid, (worker) => worker.rpc.call("pause", domid));
  }

  async unpause(domid: number): Promise<DomctlResult<void>> {
    return this.#onShard(domid, (worker) => worker.rpc.call("unpause", domid));
  }

  async schedule(domid: number, shares: Shares): Promise<DomctlResult<void>> {
    return this.#onShard(domid, (worker) => worker.rpc.call("schedule", domid, shares));
  }

  async destroy(domid: number): Promise<DomctlResult<void>> {
    const domain = this.#domains.get(domid);
    if (domain) await this.#discard(domain);
    return done;
  }

  async withdrawShutdown(domid: number): Promise<DomctlResult<{ withdrawn: boolean }>> {
    if (!this.#domains.has(domid)) return this.#unknown(domid);
    return { ok: true, value: { withdrawn: await this.#threads.services.call("withdrawShutdown", domid) } };
  }

  async requestShutdown(domid: number, how: ShutdownRequest): Promise<DomctlResult<void>> {
    if (!this.#domains.has(domid)) return this.#unknown(domid);
    const asked = await this.#threads.services.call("requestShutdown", domid, how);
    return asked ? done : refuse("wrong-state", `domain ${domid} has no xenstore connection to ask over`);
  }

  async info(domid: number): Promise<DomctlResult<DomainRuntime>> {
    return this.#onShard(domid, async (worker, domain) => {
      const info = await worker.rpc.call("info", domid);
      return info.ok ? { ok: true, value: { ...info.value, uuid: domain.uuid, worker: worker.index } } : info;
    });
  }

  async hypercalls(domid: number, query: HypercallQuery): Promise<DomctlResult<HypercallReport>> {
    return this.#onShard(domid, (worker) => worker.rpc.call("hypercalls", domid, query));
  }

  async statistics(): Promise<readonly WorkerStatistics[]> {
    const asked = this.#threads.guests.map(async ({ index, rpc }) => {
      const [table, load] = await Promise.all([rpc.call("statistics"), rpc.call("load")]);
      return { worker: index, table, ...load };
    });
    const answers = await Promise.allSettled(asked);
    return answers.flatMap((answer) => (answer.status === "fulfilled" ? [answer.value] : []));
  }

  async domainStatistics(domid: number): Promise<DomctlResult<Float64Array>> {
    return this.#onShard(domid, async (worker) => {
      const row = await worker.rpc.call("statistics", domid);
      return row.length > 0 ? { ok: true, value: row } : this.#unknown(domid);
    });
  }

  silent(ms: number): Promise<readonly string[]> {
    return this.#threads.silent(ms);
  }

  async crash(domid: number, reason: string): Promise<DomctlResult<void>> {
    return this.#onShard(domid, (worker) => worker.rpc.call("crash", domid, reason));
  }

  loseWorker(worker: number, reason: string): boolean {
    const guest = this.#threads.guests[worker];
    guest?.rpc.tell("fail", reason);
    return guest !== undefined;
  }

  async setTrace(domid: number, on: boolean, only?: readonly string[]): Promise<DomctlResult<void>> {
    return this.#onShard(domid, (worker) => worker.rpc.call("setTrace", domid, on, only));
  }

  async consoleInput(domid: number, bytes: Uint8Array): Promise<DomctlResult<{ accepted: number }>> {
    if (!this.#domains.has(domid)) return this.#unknown(domid);
    return { ok: true, value: { accepted: await this.#threads.services.call("consoleInput", domid, bytes) } };
  }

  async host(): Promise<HostInfo> {
    return {
      workers: this.#options.workers,
      memoryTotalMiB: mib(this.#totalBytes()),
      memoryFreeMiB: mib(this.#freeBytes()),
      domains: this.#domains.size,
      poolBytes: this.#pool.keptBytes,
    };
  }

  async close(): Promise<void> {
    this.#closing = true;
    this.#domains.clear();
    // A services worker that has died has nothing more to say.
    await this.#threads.services.call("syncLogs").catch(() => {});
    await this.#threads.close();
  }

  // Memory

  #totalBytes(): number {
    const given = this.#options.memoryMiB;
    return given === undefined ? Math.floor(totalmem() * 0.75) : given * 1024 * 1024;
  }

  /** What is not in domains' hands; kept memories are free, since they are dropped or reused before a new one is refused. */
  #freeBytes(): number {
    return Math.max(0, this.#totalBytes() - this.#pool.lentBytes);
  }

  // Domains

  #freeDomid(): number {
    for (;;) {
      const domid = this.#nextDomid++;
      if (this.#nextDomid >= FIRST_RESERVED_DOMID) this.#nextDomid = 1;
      if (!this.#domains.has(domid) && !this.#leaving.has(domid)) return domid;
    }
  }

  /** Of all workers, or of those that are named; undefined when none of them is there. */
  #leastLoaded(affinity: readonly number[] | null): GuestWorker | undefined {
    const { guests } = this.#threads;
    const possible = affinity === null ? guests : guests.filter(({ index }) => affinity.includes(index));
    return possible.toSorted((a, b) => a.vcpus - b.vcpus)[0];
  }

  #unknown(domid: number): DomctlRefusal {
    return refuse("no-such-domain", `there is no domain ${domid}`);
  }

  async #onShard<T>(
    domid: number,
    ask: (worker: GuestWorker, domain: RunningDomain) => Promise<DomctlResult<T>>,
  ): Promise<DomctlResult<T>> {
    const domain = this.#domains.get(domid);
    return domain ? ask(domain.worker, domain) : this.#unknown(domid);
  }

  async #discard(domain: RunningDomain): Promise<void> {
    if (this.#domains.get(domain.domid) !== domain) return;
    this.#domains.delete(domain.domid);
    domain.worker.vcpus -= domain.vcpus;
    if (this.#closing) return;
    this.#leaving.set(domain.domid, domain);
    this.#threads.tellOthers(domain.worker, (other) => other.rpc.tell("gone", domain.domid));
    await this.#threads.services.call("release", domain.domid);
    const destroyed = new Promise<void>((resolve) => {
      domain.onDestroyed = resolve;
    });
    const fate = await domain.worker.rpc.call("destroy", domain.domid);
    if (fate === "unknown") this.#guestDestroyed(domain.domid);
    // What other guests have mapped of it lives on, as long as they like.
    if (fate !== "held") await destroyed;
  }

  // What the threads tell

  #emit(event: DomctlEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  /** Announced only when the back ends have taken the last of the guest's output. */
  async #guestShutdown(domid: number, reason: ShutdownReason, crash: CrashReport | undefined): Promise<void> {
    const domain = this.#domains.get(domid);
    if (!domain) return;
    await this.#threads.services.call("stopped", domid);
    if (this.#domains.get(domid) !== domain) return;
    this.#emit({ kind: "shutdown", domid, uuid: domain.uuid, reason, ...(crash === undefined ? {} : { crash }) });
  }

  #guestDestroyed(domid: number): void {
    const domain = this.#leaving.get(domid);
    if (!domain) return;
    this.#leaving.delete(domid);
    this.#threads.tellOthers(domain.worker, (other) => other.rpc.tell("forgotten", domid));
    // The scrub is the pool's business; the domain is gone for its owner now.
    void this.#pool.give(domain.memory);
    domain.onDestroyed?.();
  }

  #consoleGrew(domid: number, end: number): void {
    const domain = this.#domains.get(domid);
    if (domain) this.#emit({ kind: "console", domid, uuid: domain.uuid, end });
  }

  /** The worker's domains died with it. Their memories are dropped: a dead thread cannot say what it was doing to them. */
  #guestWorkerLost(dead: GuestWorker, error: Error): void {
    const lost = [...this.#domains.values()].filter((domain) => domain.worker === dead);
    for (const domain of lost) {
      this.#domains.delete(domain.domid);
      this.#threads.services.tell("release", domain.domid);
      this.#pool.drop(domain.memory);
    }
    const leaving = [...this.#leaving.values()].filter((domain) => domain.worker === dead);
    for (const domain of leaving) {
      this.#leaving.delete(domain.domid);
      this.#pool.drop(domain.memory);
      domain.onDestroyed?.();
    }
    const fresh = this.#threads.guests[dead.index]!;
    for (const { domid, worker } of this.#domains.values()) fresh.rpc.tell("located", domid, worker.index);
    for (const { domid } of [...lost, ...leaving])
      this.#threads.tellOthers(fresh, (other) => other.rpc.tell("lost", domid));
    this.#emit({
      kind: "worker-lost",
      worker: dead.index,
      uuids: lost.map((domain) => domain.uuid),
      detail: error.message,
    });
  }
}

function mib(bytes: number): number {
  return Math.floor(bytes / (1024 * 1024));
}
