/** The control plane in one piece: what the HTTP server talks to, wired from its ports. */

import { join } from "node:path";
import type { Domctl, HostInfo } from "../machine/domctl.ts";
import { Audit } from "./access/audit.ts";
import { Projects } from "./access/projects.ts";
import { Tokens } from "./access/tokens.ts";
import { Batches } from "./batches.ts";
import { Consoles } from "./consoles.ts";
import { Domains } from "./domains.ts";
import { EventLog } from "./event-log.ts";
import { Faults } from "./faults.ts";
import { GuestRequests } from "./guest-requests.ts";
import { Images } from "./images.ts";
import { Lists } from "./lists.ts";
import type { TaskRecord, TaskState } from "./model.ts";
import type { Accepted } from "./operations/domain-queue.ts";
import { SuspendFiles } from "./operations/suspend-files.ts";
import type { Clock, ConsoleLog, History, KernelInspector, Log, Store } from "./ports.ts";
import { Readiness } from "./readiness.ts";
import { done, type Result, refuse } from "./refusal.ts";
import { KEY_KEPT_MS, Retries } from "./retries.ts";
import { type ProcessLoad, Sampler } from "./statistics/sampler.ts";
import { HOST, Statistics } from "./statistics/statistics.ts";
import { Xenstore } from "./xenstore.ts";

export interface ToolstackOptions {
  readonly store: Store;
  readonly domctl: Domctl;
  readonly consoleLog: ConsoleLog;
  readonly stateDir: string;
  /** Kernels that come with domzero: id to path. */
  readonly builtins: ReadonlyMap<string, string>;
  readonly clock: Clock;
  readonly log: Log;
  readonly inspectKernel?: KernelInspector;
  /** For an orderly stop, in milliseconds; 0, unless said, suspends nobody. */
  readonly stopTimeoutMs?: number;
  /** Told of every crash point that a task passes: a testing aid. */
  readonly passed?: (point: string) => void;
  /** Faults are injected where they are asked for. */
  readonly faults?: boolean;
  /** Figures over time; none are kept unless given. */
  readonly history?: { readonly store: History; readonly stepSeconds: number; readonly process: () => ProcessLoad };
  /** Largest image taken; 1 GiB unless said. */
  readonly mostImageBytes?: number;
  /** Age at which entries of the audit log are forgotten; 90 days unless said. */
  readonly auditKeptMs?: number;
}

/** Console output that is kept with a crash, whatever the guest prints after its next start. */
const CRASH_TAIL_BYTES = 4096;
const TASKS_KEPT_MS = 24 * 3600_000;
const AUDIT_KEPT_MS = 90 * 24 * 3600_000;
const PRUNE_EVERY_MS = 3600_000;

export class Toolstack {
  readonly domains: Domains;
  readonly images: Images;
  readonly events: EventLog;
  readonly consoles: Consoles;
  readonly xenstore: Xenstore;
  readonly guestRequests: GuestRequests;
  readonly statistics: Statistics;
  readonly projects: Projects;
  readonly tokens: Tokens;
  readonly readiness: Readiness;
  readonly audit: Audit;
  /** Undefined unless the service was started with them. */
  readonly faults: Faults | undefined;
  readonly retries: Retries;
  readonly lists: Lists;
  readonly batches: Batches;
  readonly bootEpoch: number;
  readonly builtins: ReadonlyMap<string, string>;
  readonly #options: ToolstackOptions;
  readonly #suspendFiles: SuspendFiles;
  readonly #stopped = new AbortController();

  private constructor(options: ToolstackOptions, host: HostInfo) {
    const { store, domctl, clock, log, builtins } = options;
    this.#options = options;
    this.bootEpoch = store.bootEpoch;
    this.builtins = builtins;
    this.consoles = new Consoles(options.consoleLog);
    this.events = new EventLog(store);
    this.projects = new Projects({ store, clock });
    this.tokens = new Tokens({ store, clock, log });
    this.audit = new Audit({ store, clock, log, keptMs: options.auditKeptMs ?? AUDIT_KEPT_MS });
    this.retries = new Retries(store, clock);
    this.lists = new Lists(store.lists);
    this.images = new Images({
      store,
      clock,
      log,
      builtins,
      folder: join(options.stateDir, "images"),
      mostBytes: options.mostImageBytes ?? 2 ** 30,
      ...(options.inspectKernel && { inspectKernel: options.inspectKernel }),
    });
    this.#suspendFiles = new SuspendFiles(join(options.stateDir, "suspended"));
    const find = (reference: string) => this.domains.find(reference);
    this.faults = options.faults ? new Faults({ store, domctl, clock, log, find }) : undefined;
    this.domains = new Domains({
      ...(this.faults && { hindrance: this.faults }),
      suspendFiles: this.#suspendFiles,
      store,
      domctl,
      clock,
      log,
      builtins,
      host: { memoryMiB: host.memoryTotalMiB, workers: host.workers },
      imagePath: (id) => this.images.path(id),
      forget: (uuid) => {
        this.consoles.forget(uuid);
        options.history?.store.forget(uuid);
      },
      consoleTail: (uuid) => this.consoles.tail(uuid, CRASH_TAIL_BYTES),
      ...(options.passed && { passed: options.passed }),
    });
    this.batches = new Batches({ store, clock, log, domains: this.domains });
    this.xenstore = new Xenstore({ domctl, find });
    this.guestRequests = new GuestRequests({ domctl, find });
    this.readiness = new Readiness({ store, domctl, clock });
    this.statistics = new Statistics({ store, domctl, clock, history: options.history?.store, find });
  }

  /** Recovers from whatever the last run left, then is ready for requests. */
  static async start(options: ToolstackOptions): Promise<Toolstack> {
    const { domctl, store, log } = options;
    const toolstack = new Toolstack(options, await domctl.host());
    domctl.onEvent((event) => {
      toolstack.domains.handle(event);
      toolstack.consoles.handle(event);
      if (event.kind === "log") log[event.level]({ domid: event.domid }, event.text);
    });
    toolstack.images.recover();
    toolstack.tokens.recover();
    const recovered = await toolstack.domains.recover();
    toolstack.#suspendFiles.recover((uuid) => store.domain(uuid)?.state === "suspended");
    toolstack.consoles.recover((uuid) => store.domain(uuid) !== undefined);
    log.info({ bootEpoch: store.bootEpoch, ...recovered }, "state recovered");
    void toolstack.#prune();
    toolstack.#keepHistory();
    void toolstack.domains.bringBack().catch((error) => log.error({ err: error }, "bringing domains back failed"));
    void toolstack.tokens.watchExpiry(toolstack.#stopped.signal);
    return toolstack;
  }

  task(id: string): Result<TaskRecord> {
    const task = this.#options.store.task(id.toLowerCase());
    return task ? done(task) : refuse("task-not-found", `There is no task ${id}.`);
  }

  /** Ends a task before it is done. What can no longer be taken back is refused. */
  cancel(id: string): Result<Accepted> {
    const found = this.task(id);
    if (!found.ok) return found;
    const batch = this.batches.cancel(found.value.id);
    return batch ? done(batch) : this.domains.cancel(found.value);
  }

  /** How many have not ended, by state. */
  unfinishedTasks(): Readonly<Partial<Record<TaskState, number>>> {
    return this.#options.store.unfinishedTaskCounts();
  }

  /** `listener` is told of each commit: its time in seconds, and how many changes it took along. */
  onCommit(listener: (seconds: number, changes: number) => void): void {
    this.#options.store.onCommit(listener);
  }

  host(): Promise<HostInfo> {
    return this.#options.domctl.host();
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    this.batches.stop();
    await this.domains.stop(this.#options.stopTimeoutMs ?? 0);
  }

  #keepHistory(): void {
    const { history, store, clock, log } = this.#options;
    if (!history) return;
    const { store: kept, stepSeconds, process } = history;
    const known = (object: string) => object === HOST || store.domain(object) !== undefined;
    kept.retain(known).catch((error) => log.warn({ err: error }, "the history was not cleared of deleted domains"));
    const sampler = new Sampler({ statistics: this.statistics, history: kept, clock, log, stepSeconds, process });
    void sampler.run(this.#stopped.signal);
  }

  async #prune(): Promise<void> {
    const { clock, store, log } = this.#options;
    while (!this.#stopped.signal.aborted) {
      const now = clock.now();
      await store
        .commit((writer) => {
          writer.pruneTasks(now - TASKS_KEPT_MS);
          writer.hostReturns.prune(now - TASKS_KEPT_MS);
          writer.retries.prune(now - KEY_KEPT_MS);
        })
        .catch((error) => log.error({ err: error }, "pruning failed"));
      await this.audit.prune().catch((error) => log.error({ err: error }, "pruning the audit log failed"));
      await clock.sleep(PRUNE_EVERY_MS, this.#stopped.signal);
    }
  }
}
