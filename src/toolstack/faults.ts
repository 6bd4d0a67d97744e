/**
 * Faults on purpose, for people who test what is built on this service: off unless the service is started with them.
 *
 * A fault is armed, strikes so many times, and is spent; or strikes at once; or holds until it is lifted. Each strike is marked: in the
 * answer's header, in the log, and as an event. Faults are kept in memory: a restart lifts them.
 */

import { randomUUID } from "node:crypto";
import type { Domctl } from "../machine/domctl.ts";
import { fromDomctl } from "./domctl-refusal.ts";
import type { DomainRecord, TaskRecord } from "./model.ts";
import { STEPS, type StepName, type TaskOperation } from "./operations/operation-table.ts";
import type { Clock, Log, Store } from "./ports.ts";
import { done, type Refusal, type RefusalCode, type Result, refuse } from "./refusal.ts";

export const FAULT_KINDS = [
  "fail-request",
  "delay-request",
  "fail-step",
  "slow-step",
  "crash-domain",
  "lose-worker",
  "fill-disk",
  "drop-streams",
] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];

/** What a service without them says. */
export const FAULTS_OFF = refuse(
  "faults-off",
  "Faults are injected only where the service was started with DOMZERO_FAULTS=1.",
);

/** What is asked for; which fields a kind takes is in `FIELDS`. */
export interface NewFault {
  readonly kind: FaultKind;
  /** Strikes before it is spent; 1 unless given. */
  readonly count?: number;
  /** Requests of this operation only. */
  readonly operationId?: string;
  /** Requests that name this domain, or tasks on it: a uuid. */
  readonly domain?: string;
  readonly step?: StepName;
  /** Steps of this operation only. */
  readonly operation?: TaskOperation;
  /** What is refused with; `internal` unless given. */
  readonly problem?: RefusalCode;
  readonly delayMs?: number;
  readonly worker?: number;
}

export interface Fault extends NewFault {
  readonly id: string;
  readonly createdAt: number;
  /** How often it struck. */
  readonly struck: number;
  /** How often it will; null for one that holds until it is lifted. */
  readonly left: number | null;
}

type Field = Exclude<keyof NewFault, "kind">;

/** Fields by kind: needed ones first, then those that may be given. */
const FIELDS: Readonly<Record<FaultKind, readonly [readonly Field[], readonly Field[]]>> = {
  "fail-request": [[], ["operationId", "domain", "problem", "count"]],
  "delay-request": [["delayMs"], ["operationId", "domain", "count"]],
  "fail-step": [["step"], ["operation", "domain", "problem", "count"]],
  "slow-step": [
    ["step", "delayMs"],
    ["operation", "domain", "count"],
  ],
  "crash-domain": [["domain"], []],
  "lose-worker": [["worker"], []],
  "fill-disk": [[], []],
  "drop-streams": [[], []],
};

/** What a request meets. */
export interface RequestFault {
  readonly id: string;
  readonly delayMs: number;
  readonly refusal?: Refusal;
}

interface FaultsOptions {
  readonly store: Store;
  readonly domctl: Domctl;
  readonly clock: Clock;
  readonly log: Log;
  readonly find: (reference: string) => Result<DomainRecord>;
}

export class Faults {
  readonly #options: FaultsOptions;
  readonly #armed = new Map<string, Fault>();
  /** Cuts every stream that is open; gives how many. */
  dropStreams: () => number = () => 0;

  constructor(options: FaultsOptions) {
    this.#options = options;
  }

  list(): readonly Fault[] {
    return [...this.#armed.values()];
  }

  find(id: string): Result<Fault> {
    const fault = this.#armed.get(id.toLowerCase());
    return fault ? done(fault) : refuse("fault-not-found", `There is no fault ${id}: it is spent, or never was.`);
  }

  /** Arms a fault, or lets one strike that strikes at once. */
  async add(wanted: NewFault): Promise<Result<Fault>> {
    const wrong = checkFields(wanted);
    if (wrong) return wrong;
    const target = wanted.domain === undefined ? undefined : this.#options.find(wanted.domain);
    if (target && !target.ok) return target;
    const fault: Fault = {
      ...wanted,
      ...(target && { domain: target.value.uuid }),
      id: randomUUID(),
      createdAt: this.#options.clock.now(),
      struck: 0,
      left: wanted.kind === "fill-disk" ? null : (wanted.count ?? 1),
    };
    return this.#strikesAtOnce(fault, target?.value.domid) ?? this.#arm(fault);
  }

  /** Lifts a fault. */
  lift(id: string): Result<void> {
    const found = this.find(id);
    if (!found.ok) return found;
    this.#armed.delete(found.value.id);
    if (found.value.kind === "fill-disk") this.#refuseWrites();
    void this.#tell("del", "lifted", found.value);
    return done(undefined);
  }

  /** Lifts all of them. */
  liftAll(): void {
    for (const id of [...this.#armed.keys()]) this.lift(id);
  }

  /** Asked for every request: what stands in its way. */
  async onRequest(operationId: string | undefined, domain: string | undefined): Promise<RequestFault | undefined> {
    const fault = this.#first(
      (one) =>
        (one.kind === "fail-request" || one.kind === "delay-request") &&
        (one.operationId ?? operationId) === operationId &&
        (one.domain ?? domain) === domain,
    );
    if (!fault) return undefined;
    await this.#strike(fault, { operationId, domain });
    if (fault.kind === "delay-request") return { id: fault.id, delayMs: fault.delayMs ?? 0 };
    return { id: fault.id, delayMs: 0, refusal: refusalOf(fault, "This request fails") };
  }

  /** Asked before a step's effect: waits, or refuses it. */
  async beforeEffect(task: TaskRecord, step: string, signal: AbortSignal): Promise<Refusal | undefined> {
    const slow = this.#atStep("slow-step", task, step);
    if (slow) await this.#options.clock.sleep(slow.delayMs ?? 0, signal);
    return this.onRecord(task, step);
  }

  /** Asked where a step has no effect, before its record: refuses it. */
  onRecord(task: TaskRecord, step: string): Refusal | undefined {
    const fault = this.#atStep("fail-step", task, step);
    return fault && refusalOf(fault, `Step ${step} fails`);
  }

  #atStep(kind: FaultKind, { operation, domain, id }: TaskRecord, step: string): Fault | undefined {
    const fault = this.#first(
      (one) =>
        one.kind === kind &&
        one.step === step &&
        (one.operation ?? operation) === operation &&
        (one.domain ?? domain) === domain,
    );
    if (fault) void this.#strike(fault, { operation, domain, step, task: id });
    return fault;
  }

  #first(matches: (fault: Fault) => boolean): Fault | undefined {
    for (const fault of this.#armed.values()) if (matches(fault)) return fault;
    return undefined;
  }

  /** Resolves when it is told. */
  #strike(fault: Fault, where: object): Promise<void> {
    const { id, kind, left, struck } = fault;
    const next: Fault = { ...fault, struck: struck + 1, left: left === null ? null : left - 1 };
    this.#options.log.warn({ fault: id, kind, ...where }, "a fault that was asked for strikes");
    if (next.left === 0) this.#armed.delete(id);
    else this.#armed.set(id, next);
    return this.#tell(next.left === 0 ? "del" : "mod", next.left === 0 ? "spent" : "struck", next);
  }

  async #arm(fault: Fault): Promise<Result<Fault>> {
    const event = eventOf("add", "armed", fault, fault.createdAt);
    const refused = await this.#options.store.commit((writer) => writer.appendEvent(event));
    if (refused) return refused;
    this.#armed.set(fault.id, fault);
    this.#options.log.warn({ fault }, "a fault is armed");
    if (fault.kind === "fill-disk") this.#refuseWrites();
    return done(fault);
  }

  /** Undefined for a kind that is armed. */
  #strikesAtOnce(fault: Fault, domid: number | null | undefined): Promise<Result<Fault>> | undefined {
    const { domctl } = this.#options;
    const reason = `the fault ${fault.id} that was asked for`;
    switch (fault.kind) {
      case "crash-domain":
        return this.#atOnce(fault, async () => {
          if (typeof domid !== "number")
            return refuse("wrong-state", "The domain does not run: there is no guest to crash.");
          const crashed = await domctl.crash(domid, reason);
          return crashed.ok ? undefined : fromDomctl(crashed);
        });
      case "lose-worker":
        return this.#atOnce(fault, async () => {
          if (domctl.loseWorker(fault.worker ?? 0, reason)) return undefined;
          const { workers } = await domctl.host();
          return refuse("out-of-range", `There are ${workers} workers, from 0 on.`, {
            field: "worker",
            limit: workers - 1,
          });
        });
      case "drop-streams":
        return this.#atOnce(fault, async () => {
          this.#options.log.warn({ streams: this.dropStreams() }, "open streams are cut");
          return undefined;
        });
      default:
        return undefined;
    }
  }

  async #atOnce(fault: Fault, act: () => Promise<Refusal | undefined>): Promise<Result<Fault>> {
    const { log, clock, store } = this.#options;
    const struck = { ...fault, struck: 1, left: 0 };
    // Told first, so that whoever listens knows why; and what cannot be told is not done.
    const event = eventOf("add", "struck", struck, clock.now());
    const untold = await store.commit((writer) => writer.appendEvent(event));
    if (untold) return untold;
    const refused = await act();
    if (refused) {
      await this.#tell("del", "refused", { ...fault, left: 0 });
      return refused;
    }
    log.warn({ fault: struck }, "a fault that was asked for strikes");
    await this.#tell("del", "spent", struck);
    return done(struck);
  }

  #refuseWrites(): void {
    const full = this.#first((fault) => fault.kind === "fill-disk");
    const refusal =
      full &&
      refuse(
        "storage-full",
        "The disk of the state folder is full, by a fault that was asked for; nothing was changed.",
        {
          fault: full.id,
        },
      );
    this.#options.store.refuseWrites(refusal);
  }

  /** Best effort: while the disk is full, the log alone tells. */
  async #tell(operation: "mod" | "del", reason: string, fault: Fault): Promise<void> {
    const { store, clock, log } = this.#options;
    const event = eventOf(operation, reason, fault, clock.now());
    try {
      await store.commit((writer) => writer.appendEvent(event));
    } catch (error) {
      log.error({ err: error }, "a fault's event was not stored");
    }
  }
}

export function faultView({ createdAt, ...fault }: Fault) {
  return { ...fault, createdAt: new Date(createdAt).toISOString() };
}

function eventOf(operation: "add" | "mod" | "del", reason: string, fault: Fault, time: number) {
  const object = JSON.stringify(faultView(fault));
  return { time, class: "fault", operation, reason, id: fault.id, project: null, object } as const;
}

function refusalOf({ id, problem = "internal" }: Fault, what: string): Refusal {
  return refuse(problem, `${what} by a fault that was asked for (${id}).`, { fault: id });
}

function checkFields(fault: NewFault): Refusal | undefined {
  const [needed, allowed] = FIELDS[fault.kind];
  const missing = needed.find((field) => fault[field] === undefined);
  if (missing) return refuse("bad-value", `A fault ${fault.kind} needs ${missing}.`, { field: missing });
  const given = (Object.keys(fault) as (keyof NewFault)[]).filter((key) => fault[key] !== undefined);
  const foreign = given.find((key) => key !== "kind" && !needed.includes(key) && !allowed.includes(key));
  if (foreign) {
    const takes = [...needed, ...allowed].join(", ") || "nothing";
    return refuse("bad-value", `A fault ${fault.kind} takes ${takes}, not ${foreign}.`, { field: foreign });
  }
  if (fault.kind === "slow-step" && fault.step && !("effect" in STEPS[fault.step]))
    return refuse("bad-value", `Step ${fault.step} is one transaction and cannot be slowed; it can fail.`, {
      field: "step",
    });
  return undefined;
}
