/** A Domctl without machines: domains are entries of a map, and the test plays the guests. */

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { Column, ROW } from "../../src/hypervisor/statistics.ts";
import type {
  CrashReport,
  DomainRuntime,
  DomainSpec,
  Domctl,
  DomctlEvent,
  DomctlRefusal,
  DomctlResult,
  HostInfo,
  HypercallReport,
  Shares,
  ShutdownReason,
  ShutdownRequest,
  WorkerStatistics,
} from "../../src/machine/domctl.ts";
import type { SavedFile } from "../../src/machine/suspended-domain.ts";
import type { ConsoleLog } from "../../src/toolstack/ports.ts";
import { FakeXenstore } from "./fake-xenstore.ts";

interface FakeDomain {
  readonly domid: number;
  readonly spec: DomainSpec;
  state: DomainRuntime["state"];
  shares: Shares;
  readonly typed: number[];
  tracing: boolean;
  /** Its row of statistics. */
  readonly row: Float64Array;
}

type Method = "create" | "pause" | "unpause" | "destroy" | "requestShutdown" | "suspend" | "resume" | "restore";

const done: DomctlResult<void> = { ok: true, value: undefined };

function newRow(domid: number, spec: DomainSpec): Float64Array {
  const row = new Float64Array(ROW);
  row[Column.domid] = domid;
  row[Column.vcpus] = row[Column.vcpusOnline] = spec.vcpus;
  row[Column.memoryKiB] = spec.memoryMiB * 1024;
  row[Column.maxMemoryKiB] = spec.maxMemoryMiB * 1024;
  return row;
}

function newDomain(domid: number, spec: DomainSpec): FakeDomain {
  const { weight, cap } = spec.scheduling!;
  return { domid, spec, state: "paused", shares: { weight, cap }, typed: [], tracing: false, row: newRow(domid, spec) };
}

export class FakeDomctl implements Domctl {
  readonly xenstore = new FakeXenstore();
  readonly domains = new Map<number, FakeDomain>();
  readonly calls: string[] = [];
  /** Refusals to give instead of doing it, by method. */
  readonly refusals = new Map<Method, DomctlRefusal>();
  /** Promises to wait for before doing it, by method. */
  readonly gates = new Map<Method, Promise<void>>();
  /** What a guest does when it is asked to stop; it does nothing when undefined. */
  obeys: ((how: ShutdownRequest) => ShutdownReason) | undefined = (how) => (how === "halt" ? "poweroff" : how);
  consoleRoom = 64 * 1024;
  memoryTotalMiB = 1024;
  /** What readiness is told. */
  silentThreads: readonly string[] = [];
  readonly #console: FakeConsoleLog | undefined;
  #listener: (event: DomctlEvent) => void = () => undefined;
  #nextDomid: number;

  constructor(options: { console?: FakeConsoleLog; firstDomid?: number } = {}) {
    this.#console = options.console;
    this.#nextDomid = options.firstDomid ?? 1;
  }

  async create(spec: DomainSpec): Promise<DomctlResult<{ domid: number }>> {
    const refusal = await this.#enter("create", spec.name);
    if (refusal) return refusal;
    const domid = this.#nextDomid++;
    this.domains.set(domid, newDomain(domid, spec));
    this.xenstore.addDomain(domid, spec);
    this.print(domid, `${spec.name} boots\n`);
    return { ok: true, value: { domid } };
  }

  pause(domid: number): Promise<DomctlResult<void>> {
    return this.#set("pause", domid, "paused");
  }

  unpause(domid: number): Promise<DomctlResult<void>> {
    return this.#set("unpause", domid, "running");
  }

  async schedule(domid: number, shares: Shares): Promise<DomctlResult<void>> {
    this.calls.push(`schedule ${domid} ${shares.weight} ${shares.cap}`);
    const domain = this.domains.get(domid);
    if (!domain) return this.#missing(domid) as DomctlRefusal;
    domain.shares = shares;
    return done;
  }

  async destroy(domid: number): Promise<DomctlResult<void>> {
    const refusal = await this.#enter("destroy", String(domid));
    if (refusal) return refusal;
    if (this.domains.delete(domid)) this.xenstore.removeDomain(domid);
    return done;
  }

  async withdrawShutdown(domid: number): Promise<DomctlResult<{ withdrawn: boolean }>> {
    this.calls.push(`withdrawShutdown ${domid}`);
    return { ok: true, value: { withdrawn: true } };
  }

  async suspend(domid: number, path: string): Promise<DomctlResult<SavedFile>> {
    const refusal = (await this.#enter("suspend", String(domid))) ?? this.#missing(domid);
    if (refusal) return refusal;
    writeFileSync(path, (this.domains.get(domid) as FakeDomain).spec.uuid);
    return { ok: true, value: { bytes: 36, frames: 1 } };
  }

  resume(domid: number): Promise<DomctlResult<void>> {
    return this.#set("resume", domid, "running");
  }

  async restore(spec: DomainSpec, path: string): Promise<DomctlResult<{ domid: number }>> {
    const refusal = await this.#enter("restore", spec.name);
    if (refusal) return refusal;
    if (!existsSync(path) || readFileSync(path, "utf8") !== spec.uuid) {
      return { ok: false, code: "bad-image", detail: "The file is none." };
    }
    const domid = this.#nextDomid++;
    this.domains.set(domid, newDomain(domid, spec));
    this.xenstore.addDomain(domid, spec);
    return { ok: true, value: { domid } };
  }

  async requestShutdown(domid: number, how: ShutdownRequest): Promise<DomctlResult<void>> {
    const refusal = (await this.#enter("requestShutdown", how)) ?? this.#missing(domid);
    if (refusal) return refusal;
    const obeys = this.obeys;
    if (obeys) setImmediate(() => this.guestStops(domid, obeys(how)));
    return done;
  }

  async info(domid: number): Promise<DomctlResult<DomainRuntime>> {
    const domain = this.domains.get(domid);
    if (!domain) return this.#missing(domid) as DomctlRefusal;
    const { uuid, memoryMiB, maxMemoryMiB, vcpus } = domain.spec;
    return {
      ok: true,
      value: {
        domid,
        uuid,
        worker: 0,
        state: domain.state,
        cpuTimeNs: 1000,
        memoryKiB: memoryMiB * 1024,
        maxMemoryKiB: maxMemoryMiB * 1024,
        ...domain.shares,
        vcpus: Array.from({ length: vcpus }, (_, id) => ({
          id,
          state: "blocked" as const,
          cpuTimeNs: 1,
          instructions: 2,
        })),
        overheadBytes: { registers: 4096 },
      },
    };
  }

  async hypercalls(domid: number): Promise<DomctlResult<HypercallReport>> {
    const domain = this.domains.get(domid);
    if (!domain) return this.#missing(domid) as DomctlRefusal;
    const subops = [{ op: 1, name: "block", count: 3 }];
    const counters = [{ number: 29, name: "sched_op", count: 3, subops }];
    return { ok: true, value: { counters, tracing: domain.tracing, trace: [], next: 0, refusals: [] } };
  }

  async setTrace(domid: number, on: boolean): Promise<DomctlResult<void>> {
    const domain = this.domains.get(domid);
    if (!domain) return this.#missing(domid) as DomctlRefusal;
    domain.tracing = on;
    return done;
  }

  async statistics(): Promise<readonly WorkerStatistics[]> {
    const table = new Float64Array(this.domains.size * ROW);
    for (const [index, { row }] of [...this.domains.values()].entries()) table.set(row, index * ROW);
    return [{ worker: 0, table, upNs: 10e9, idleNs: 4e9 }];
  }

  async domainStatistics(domid: number): Promise<DomctlResult<Float64Array>> {
    const domain = this.domains.get(domid);
    return domain ? { ok: true, value: domain.row } : (this.#missing(domid) as DomctlRefusal);
  }

  async silent(): Promise<readonly string[]> {
    return this.silentThreads;
  }

  async crash(domid: number, reason: string): Promise<DomctlResult<void>> {
    const refusal = this.#missing(domid);
    if (refusal) return refusal;
    this.guestStops(domid, "crash", { reason, vcpu: 0, registers: { rip: "0x1" }, stack: [] });
    return done;
  }

  loseWorker(worker: number): boolean {
    if (worker === 0) this.workerDies();
    return worker === 0;
  }

  async consoleInput(domid: number, bytes: Uint8Array): Promise<DomctlResult<{ accepted: number }>> {
    const domain = this.domains.get(domid);
    if (!domain) return this.#missing(domid) as DomctlRefusal;
    const accepted = Math.min(bytes.length, this.consoleRoom - domain.typed.length);
    domain.typed.push(...bytes.subarray(0, accepted));
    return { ok: true, value: { accepted } };
  }

  async host(): Promise<HostInfo> {
    const { memoryTotalMiB } = this;
    const used = [...this.domains.values()].reduce((sum, { spec }) => sum + spec.memoryMiB, 0);
    return {
      workers: 1,
      memoryTotalMiB,
      memoryFreeMiB: memoryTotalMiB - used,
      domains: this.domains.size,
      poolBytes: 0,
    };
  }

  onEvent(listener: (event: DomctlEvent) => void): void {
    this.#listener = listener;
  }

  async close(): Promise<void> {
    this.domains.clear();
  }

  // What the test does in the guest's place.

  guestStops(domid: number, reason: ShutdownReason, crash?: CrashReport): void {
    const domain = this.domains.get(domid);
    if (!domain) return;
    domain.state = "shutdown";
    this.#listener({ kind: "shutdown", domid, uuid: domain.spec.uuid, reason, ...(crash && { crash }) });
  }

  workerDies(): void {
    const uuids = [...this.domains.values()].map(({ spec }) => spec.uuid);
    this.domains.clear();
    this.#listener({ kind: "worker-lost", worker: 0, uuids, detail: "out of memory" });
  }

  print(domid: number, text: string): void {
    const domain = this.domains.get(domid);
    if (!domain || !this.#console) return;
    const { uuid } = domain.spec;
    const end = this.#console.append(uuid, Buffer.from(text));
    this.#listener({ kind: "console", domid, uuid, end });
  }

  byName(name: string): FakeDomain {
    const found = [...this.domains.values()].find(({ spec }) => spec.name === name);
    if (!found) throw new Error(`no domain ${name} lives`);
    return found;
  }

  async #enter(method: Method, what: string): Promise<DomctlRefusal | undefined> {
    this.calls.push(`${method} ${what}`);
    await this.gates.get(method);
    return this.refusals.get(method);
  }

  async #set(
    method: "pause" | "unpause" | "resume",
    domid: number,
    state: "paused" | "running",
  ): Promise<DomctlResult<void>> {
    const refusal = (await this.#enter(method, String(domid))) ?? this.#missing(domid);
    if (refusal) return refusal;
    (this.domains.get(domid) as FakeDomain).state = state;
    return done;
  }

  #missing(domid: number): DomctlRefusal | undefined {
    return this.domains.has(domid) ? undefined : { ok: false, code: "no-such-domain", detail: `no domain ${domid}` };
  }
}

/** Console logs in memory, the last `kept` bytes of each. */
export class FakeConsoleLog implements ConsoleLog {
  readonly #logs = new Map<string, { start: number; bytes: Buffer }>();
  readonly #kept: number;
  /** All that was ever read. */
  bytesRead = 0;

  constructor(kept = 2 ** 20) {
    this.#kept = kept;
  }

  append(uuid: string, bytes: Buffer): number {
    const { start, bytes: old } = this.#logs.get(uuid) ?? { start: 0, bytes: Buffer.alloc(0) };
    const all = Buffer.concat([old, bytes]);
    const cut = Math.max(0, all.length - this.#kept);
    this.#logs.set(uuid, { start: start + cut, bytes: all.subarray(cut) });
    return start + all.length;
  }

  read(uuid: string, offset: number, max: number): { start: number; bytes: Uint8Array; end: number } {
    const log = this.#logs.get(uuid);
    if (!log) return { start: 0, bytes: new Uint8Array(0), end: 0 };
    const end = log.start + log.bytes.length;
    const start = Math.min(Math.max(offset, log.start), end);
    const bytes = log.bytes.subarray(start - log.start, start - log.start + max);
    this.bytesRead += bytes.length;
    return { start, bytes, end };
  }

  remove(uuid: string): void {
    this.#logs.delete(uuid);
  }

  list(): readonly string[] {
    return [...this.#logs.keys()];
  }
}
