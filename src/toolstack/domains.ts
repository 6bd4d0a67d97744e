/**
 * Domains: their definitions, and every operation on them. The one door through which anything changes a domain.
 *
 * Answers are values. An operation that is taken has a task in the journal before its answer, and an end that is promised.
 */

import { randomUUID } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { hypercallNumbers } from "../hypervisor/hypercall/trace-report.ts";
import type {
  DomainRuntime,
  Domctl,
  DomctlEvent,
  DomctlResult,
  HypercallQuery,
  HypercallReport,
} from "../machine/domctl.ts";
import type { Caller } from "./access/caller.ts";
import { checkQuota } from "./access/quotas.ts";
import { checkConfig, type HostLimits, parseUuid } from "./config-rules.ts";
import { fromDomctl } from "./domctl-refusal.ts";
import type { DomainConfig, DomainRecord, PowerState, TaskProgress, TaskRecord } from "./model.ts";
import type { Accepted } from "./operations/domain-queue.ts";
import { GuestEnds } from "./operations/guest-ends.ts";
import { HostReturns } from "./operations/host-returns.ts";
import { Instances } from "./operations/instances.ts";
import type { Operation } from "./operations/lifecycle.ts";
import { OperationQueues } from "./operations/operation-queues.ts";
import { type OperationPorts, operationSteps } from "./operations/operations.ts";
import { type Recovered, recover } from "./operations/recovery.ts";
import { stopOrderly } from "./operations/stopping.ts";
import type { SuspendFiles } from "./operations/suspend-files.ts";
import type { RunnerPorts } from "./operations/task-runner.ts";
import type { Clock, Log, Reader, Store } from "./ports.ts";
import { done, type Refusal, type Result, refuse } from "./refusal.ts";
import { saveDomain } from "./views.ts";

/** What a definition must say, and what it may. */
export type NewDomain = Pick<DomainConfig, "name" | "project" | "kernel" | "memoryMiB" | "vcpus"> &
  Partial<DomainConfig>;

export interface ActOptions {
  /** start: leave the domain paused before its first instruction. */
  readonly paused?: boolean;
  /** shutdown, reboot: seconds to wait for the guest. */
  readonly timeout?: number;
}

export interface Created {
  readonly domain: DomainRecord;
  /** The start, where one was asked for. */
  readonly start?: Accepted;
}

export interface DomainsOptions {
  readonly store: Store;
  readonly domctl: Domctl;
  readonly clock: Clock;
  readonly log: Log;
  readonly host: HostLimits;
  readonly builtins: ReadonlyMap<string, string>;
  readonly suspendFiles: SuspendFiles;
  imagePath(id: string): string | undefined;
  forget(uuid: string): void;
  /** The end of a domain's console log, as text. */
  consoleTail(uuid: string): string;
  readonly hindrance?: RunnerPorts["hindrance"];
  /** Told of every crash point that a task passes: a testing aid. */
  readonly passed?: (point: string) => void;
}

export class Domains {
  readonly #options: DomainsOptions;
  readonly #instances = new Instances();
  readonly #steps: ReturnType<typeof operationSteps>;
  readonly #runner: RunnerPorts;
  readonly #queues: OperationQueues;
  readonly #ends: GuestEnds;
  readonly #returns: HostReturns;
  readonly #stopping = new AbortController();

  constructor(options: DomainsOptions) {
    this.#options = options;
    const { domctl, store, clock, log } = options;
    const ports: OperationPorts = {
      domctl,
      store,
      clock,
      log,
      instances: this.#instances,
      suspendFiles: options.suspendFiles,
      checkDefinition: (record, writer) => this.#check(record, writer),
      imagePath: (id) => options.builtins.get(id) ?? options.imagePath(id),
      forget: (uuid) => {
        options.suspendFiles.remove(uuid);
        this.#ends.forget(uuid);
        options.forget(uuid);
      },
      onUnclaimedEnd: (instance) => this.#ends.follow(instance),
    };
    this.#steps = operationSteps(ports);
    const { hindrance, passed } = options;
    this.#runner = { store, clock, log, ...(hindrance && { hindrance }), ...(passed && { passed }) };
    this.#queues = new OperationQueues(this.#runner, this.#steps);
    const submit: OperationQueues["submit"] = (...asked) =>
      this.stopping ? Promise.resolve(stopping()) : this.#queues.submit(...asked);
    this.#returns = new HostReturns({ store, clock, log, signal: this.#stopping.signal, submit });
    this.#ends = new GuestEnds({
      instances: this.#instances,
      store,
      clock,
      log,
      consoleTail: options.consoleTail,
      submit: async (uuid, operation, end, stillDue) => {
        const project = store.domain(uuid)?.project ?? null;
        const taken = await submit({ uuid, project }, operation, { end }, stillDue);
        if (taken.ok && operation === "worker-lost") void taken.value.finished.then(() => this.#returns.one(uuid));
        return taken;
      },
    });
  }

  /** Before anything else is asked of this object: see recovery.ts. */
  recover(): Promise<Recovered> {
    return recover({
      ...this.#runner,
      steps: this.#steps,
      suspendFiles: this.#options.suspendFiles,
      resume: (...task) => this.#queues.resume(...task),
    });
  }

  /** Brings back who is due after a restart: see host-returns.ts. */
  bringBack(): Promise<void> {
    return this.#returns.all();
  }

  counts(): Readonly<Partial<Record<PowerState, number>>> {
    return this.#options.store.domainCounts();
  }

  /** By uuid or by name. */
  find(reference: string): Result<DomainRecord> {
    const { store } = this.#options;
    const uuid = parseUuid(reference);
    const record = uuid ? store.domain(uuid) : store.domainByName(reference);
    return record ? done(record) : refuse("domain-not-found", `There is no domain ${reference}.`);
  }

  /** What the hypervisor says of a live domain; null when there is nothing to say. */
  async runtime(record: DomainRecord): Promise<DomainRuntime | null> {
    if (record.domid === null) return null;
    const answer = await this.#options.domctl.info(record.domid).catch(() => undefined);
    return answer?.ok ? answer.value : null;
  }

  /** The operation that runs on a domain now. */
  operation(uuid: string): TaskRecord | undefined {
    return this.#queues.current(uuid);
  }

  async create(input: NewDomain, start: boolean, by: Caller): Promise<Result<Created>> {
    const { store, clock } = this.#options;
    if (this.stopping) return stopping();
    const config = withDefaults(input);
    const now = clock.now();
    const record: DomainRecord = {
      ...config,
      uuid: randomUUID(),
      configVersion: 1,
      state: "halted",
      runtimeVersion: 1,
      domid: null,
      bootEpoch: null,
      startedAt: null,
      createdAt: now,
      createdBy: by.id,
      changedAt: now,
      lastStop: null,
      lastCrash: null,
    };
    if (!start) {
      const refusal = await store.commit((writer) => {
        const refused = this.#check(record, writer);
        if (!refused) saveDomain(writer, record, "created", now, "add");
        return refused;
      });
      return refusal ?? done({ domain: record });
    }
    const accepted = await this.#queues.submit(record, "create", { definition: record });
    if (!accepted.ok) return accepted;
    return done({ domain: record, start: accepted.value });
  }

  /** Changes the configuration; what a running guest was built from stays until its next start, its shares of the CPU change at once. */
  async update(
    reference: string,
    change: Partial<DomainConfig>,
    versionWanted?: (version: number) => boolean,
  ): Promise<Result<DomainRecord>> {
    const { store, clock } = this.#options;
    const updated = await store.commit((writer): Result<DomainRecord> => {
      const found = this.find(reference);
      if (!found.ok) return found;
      const record = found.value;
      if (versionWanted && !versionWanted(record.configVersion))
        return refuse(
          "precondition-failed",
          `The configuration of ${record.name} has changed: its version is now ${record.configVersion}.`,
        );
      const config = { ...record, ...change };
      // A ceiling that was never set apart follows the memory.
      const followed = change.maxMemoryMiB === undefined && record.maxMemoryMiB === record.memoryMiB;
      const next = { ...config, ...(followed && { maxMemoryMiB: config.memoryMiB }) };
      const refusal = this.#check(next, writer);
      if (refusal) return refusal;
      const keys = Object.keys(next) as (keyof typeof next)[];
      if (keys.every((key) => isDeepStrictEqual(next[key], record[key]))) return done(record);
      const now = clock.now();
      const saved = { ...next, configVersion: record.configVersion + 1, changedAt: now };
      saveDomain(writer, saved, saved.name === record.name ? "changed" : "renamed", now);
      return done(saved);
    });
    if (updated.ok && (change.cpuWeight !== undefined || change.cpuCap !== undefined))
      await this.#schedule(updated.value);
    return updated;
  }

  /** A domain that is gone by then needs no shares. */
  async #schedule({ uuid, cpuWeight, cpuCap }: DomainRecord): Promise<void> {
    const instance = this.#instances.get(uuid);
    if (!instance || instance.lost) return;
    const { domctl, log } = this.#options;
    const set = await domctl
      .schedule(instance.domid, { weight: cpuWeight, cap: cpuCap })
      .catch((err) => ({ ok: false, err }));
    if (!set.ok) log.warn({ domain: uuid, set }, "the shares of a domain were not changed");
  }

  async act(
    reference: string,
    operation: Operation,
    options: ActOptions = {},
    versionWanted?: (version: number) => boolean,
  ): Promise<Result<Accepted>> {
    if (this.stopping) return stopping();
    const found = this.find(reference);
    if (!found.ok) return found;
    if (versionWanted && !versionWanted(found.value.configVersion))
      return refuse(
        "precondition-failed",
        `The configuration of ${found.value.name} has changed: its version is now ${found.value.configVersion}.`,
      );
    const { paused, timeout } = options;
    return this.#queues.submit(found.value, operation, {
      ...(paused && { paused }),
      ...(timeout !== undefined && { timeoutMs: timeout * 1000 }),
    });
  }

  /** Ends a task before it is done, as soon as that leaves a valid state. */
  cancel(task: TaskRecord): Result<Accepted> {
    return this.#queues.cancel(task);
  }

  /** How far the step under way is, of those that take long. */
  progress(task: TaskRecord): TaskProgress | null {
    const record = task.step === "save" && task.domain !== null ? this.#options.store.domain(task.domain) : undefined;
    if (!record) return null;
    const most = record.maxMemoryMiB * 2 ** 20;
    return { bytes: Math.min(this.#options.suspendFiles.bytesWritten(record.uuid), most), mostBytes: most };
  }

  async hypercalls(reference: string, query: HypercallQuery): Promise<Result<HypercallReport>> {
    return this.#ofLive(reference, (domid) => this.#options.domctl.hypercalls(domid, query));
  }

  /** Traces every hypercall of a domain, or those named in `only`. */
  async trace(reference: string, on: boolean, only?: readonly string[]): Promise<Result<void>> {
    const unknown = only?.find((name) => hypercallNumbers([name]) === undefined);
    if (unknown !== undefined) return refuse("bad-value", `There is no hypercall ${unknown}.`, { field: "only" });
    return this.#ofLive(reference, (domid) => this.#options.domctl.setTrace(domid, on, only));
  }

  /** Types into the console. All of `bytes` or a refusal that says how many were taken. */
  async type(reference: string, bytes: Uint8Array): Promise<Result<{ accepted: number }>> {
    const result = await this.#ofLive(reference, (domid) => this.#options.domctl.consoleInput(domid, bytes));
    if (!result.ok || result.value.accepted === bytes.length) return result;
    return refuse(
      "console-full",
      `The guest has not read its console: ${result.value.accepted} of ${bytes.length} bytes were taken. Send the rest later.`,
      { accepted: result.value.accepted },
    );
  }

  /** For `Domctl.onEvent`. */
  handle(event: DomctlEvent): void {
    this.#ends.handle(event);
  }

  /** The service stops: nothing new is taken. */
  get stopping(): boolean {
    return this.#stopping.signal.aborted;
  }

  /** Refuses new work, ends what is under way, and puts away what runs, within `timeoutMs`: see stopping.ts. */
  async stop(timeoutMs: number): Promise<void> {
    if (this.stopping) return;
    this.#stopping.abort();
    const { store, domctl, clock, log, suspendFiles } = this.#options;
    await stopOrderly({ store, domctl, clock, log, suspendFiles, queues: this.#queues, timeoutMs });
  }

  async #ofLive<T>(reference: string, ask: (domid: number) => Promise<DomctlResult<T>>): Promise<Result<T>> {
    const found = this.find(reference);
    if (!found.ok) return found;
    const { domid, name, state } = found.value;
    if (domid === null)
      return refuse(
        "wrong-state",
        `Domain ${name} is ${state}; ${state === "suspended" ? "resume" : "start"} it first.`,
      );
    try {
      const answer = await ask(domid);
      return answer.ok ? answer : fromDomctl(answer);
    } catch (error) {
      this.#options.log.error({ err: error, domain: found.value.uuid }, "domctl failed");
      return refuse("worker-lost", `The worker of domain ${name} did not answer.`);
    }
  }

  #check(record: DomainRecord, reader: Reader): Refusal | undefined {
    const { host, builtins } = this.#options;
    const refusal = checkConfig(record, record.uuid, reader, host, builtins);
    return refusal ?? checkQuota(record, reader);
  }
}

const DEFAULT_CPU_WEIGHT = 256;

function withDefaults(input: NewDomain): DomainConfig {
  const { name, project, kernel, memoryMiB, vcpus } = input;
  return {
    name,
    project,
    description: input.description ?? "",
    kernel,
    ramdisk: input.ramdisk ?? null,
    cmdline: input.cmdline ?? "",
    memoryMiB,
    maxMemoryMiB: input.maxMemoryMiB ?? memoryMiB,
    vcpus,
    cpuWeight: input.cpuWeight ?? DEFAULT_CPU_WEIGHT,
    cpuCap: input.cpuCap ?? 0,
    cpuAffinity: input.cpuAffinity ?? null,
    onCrash: input.onCrash ?? "destroy",
    onHostCrash: input.onHostCrash ?? "off",
    stopPriority: input.stopPriority ?? 0,
  };
}

function stopping(): Refusal {
  return refuse("host-stopping", "The service is stopping and takes no new work.");
}
