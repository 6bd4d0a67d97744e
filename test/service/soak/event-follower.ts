/** Follows the event log from one token through every restart, and holds what the events add up to against what the lists say. */

import { scheduler } from "node:timers/promises";
import type { Answer, WholeService } from "../whole-service.ts";

export interface DomainSeen {
  readonly uuid: string;
  readonly name: string;
  readonly description: string;
  readonly memoryMiB: number;
  readonly stopPriority: number;
  readonly onHostCrash: string;
  readonly state: string;
  readonly configVersion: number;
  readonly runtimeVersion: number;
  readonly lastStop: { readonly reason: string } | null;
}

interface EventSeen {
  readonly token: string;
  readonly class: string;
  readonly operation: "add" | "mod" | "del";
  readonly id: string;
  readonly object: Record<string, unknown>;
}

const PAGE = 1000;
/** Nobody is as quick as to read each event by itself. */
const PAUSE_MS = 200;

export class EventFollower {
  readonly #domains = new Map<string, DomainSeen>();
  /** Tasks whose last event said that they have not ended. */
  readonly #unfinished = new Map<string, string>();
  #token: string;
  count = 0;

  private constructor(token: string) {
    this.#token = token;
  }

  static async from(service: WholeService): Promise<EventFollower> {
    return new EventFollower((await service.ask("GET /v1/events?since=now")).json.token);
  }

  /** Reads on until the service goes, or `stop`. Gives what is wrong. */
  async follow(service: WholeService, stop: AbortSignal): Promise<string[]> {
    while (!stop.aborted) {
      const answer = await this.#read(service).catch(() => undefined);
      if (answer === undefined) return [];
      const broken = this.#take(answer);
      if (broken.length > 0) return broken;
      await scheduler.wait(PAUSE_MS, { signal: stop }).catch(() => undefined);
    }
    return [];
  }

  /** Reads to the end, and gives what is wrong: gaps, tasks without an end, domains that the events tell otherwise than the list. */
  async audit(service: WholeService, listed: readonly DomainSeen[]): Promise<string[]> {
    for (;;) {
      const answer = await this.#read(service);
      const broken = this.#take(answer);
      if (broken.length > 0) return broken;
      if (answer.json.events.length === 0) break;
    }
    const broken = [...this.#unfinished].map(([id, state]) => `the last event of task ${id} says ${state}`);
    const told = (domain: DomainSeen | undefined) =>
      domain ? `${domain.name} ${domain.configVersion} ${domain.runtimeVersion} ${domain.state}` : "nothing";
    const found = new Map(listed.map((domain) => [domain.uuid, domain]));
    for (const uuid of new Set([...found.keys(), ...this.#domains.keys()])) {
      const [list, events] = [told(found.get(uuid)), told(this.#domains.get(uuid))];
      if (list !== events) broken.push(`of domain ${uuid} the list says ${list}, and the events ${events}`);
    }
    return broken;
  }

  #read(service: WholeService): Promise<Answer> {
    return service.ask(`GET /v1/events?since=${this.#token}&limit=${PAGE}`);
  }

  #take({ status, text, json }: Answer): string[] {
    if (status !== 200) return [`events after ${this.#token}: ${text}`];
    for (const event of json.events as EventSeen[]) {
      const [log, sequence] = this.#token.split(":");
      const due = `${log}:${Number(sequence) + 1}`;
      if (event.token !== due) return [`event ${event.token} follows ${this.#token}`];
      this.#token = event.token;
      this.count++;
      this.#apply(event);
    }
    return [];
  }

  #apply({ class: kind, operation, id, object }: EventSeen): void {
    if (kind === "domain") {
      if (operation === "del") this.#domains.delete(id);
      else this.#domains.set(id, object as unknown as DomainSeen);
    }
    if (kind === "task") {
      if (operation === "del" || object.finishedAt !== null) this.#unfinished.delete(id);
      else this.#unfinished.set(id, `${object.operation} ${object.state}`);
    }
  }
}
