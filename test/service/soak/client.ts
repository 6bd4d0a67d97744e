/** A client that asks for anything, of any domain, at any moment, and remembers what it was answered. */

import type { Random } from "../../engine/vectors/random.ts";
import { type Answer, type Ask, problem, type WholeService } from "../whole-service.ts";
import { Acknowledged, type Definition, REST } from "./acknowledged.ts";

export const MOST_DOMAINS = 200;
const MEMORY_MIB = [8, 16] as const;
const POWER = ["start", "pause", "unpause", "suspend", "resume", "reboot", "shutdown", "destroy"] as const;
const TYPED = [
  "help\r",
  "uptime\r",
  "pt\r",
  "halt\r",
  "reboot\r",
  "suspend\r",
  "crash panic\r",
  "\u0003",
  "x".repeat(3000),
];
/** What is asked for, more often what brings domains to life than what ends them. */
const ASKED = [...POWER, "start", "start", "resume", "resume", "unpause", "suspend"] as const;
/** Operations after which, without a plain answer, nobody knows what is defined. */
const DEFINES = new Set(["create", "patch", "delete", "force-delete"]);
/** Refusals after which a domain is as it was. */
const UNCHANGED = new Set([409, 412, 422, 429]);
const BATCH = 12;

export interface Tally {
  readonly operations: Map<string, number>;
  readonly statuses: Map<string, number>;
}

export class Client {
  readonly tally: Tally = { operations: new Map(), statuses: new Map() };
  readonly broken: string[] = [];
  /** The service was told to end: what it refuses for that is no fault. */
  ending = false;
  #domains: Acknowledged[] = [];
  #names = 0;
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  get domains(): readonly Acknowledged[] {
    return this.#domains;
  }

  /** After a restart: those that are there. */
  goOnWith(domains: readonly Acknowledged[]): void {
    this.#domains = [...domains];
    this.ending = false;
  }

  /** One operation. False when the service does not answer any more. */
  async act(service: WholeService): Promise<boolean> {
    const random = this.#random;
    const free = this.#domains.filter(({ busy }) => !busy);
    if (free.length === 0 || (this.#domains.length < MOST_DOMAINS && random.chance(12)))
      return this.#create(service, free);
    const domain = random.pick(free);
    const dice = random.below(100);
    if (dice < 45) return this.#power(service, domain, random.pick(ASKED));
    if (dice < 57) return this.#patch(service, domain);
    if (dice < 72) return this.#type(service, domain);
    if (dice < 84) return this.#writeNode(service, domain);
    if (dice < 89) return this.#batch(service, free);
    if (dice < 95) return this.#look(service, domain);
    return this.#remove(service, domain);
  }

  async #create(service: WholeService, free: readonly Acknowledged[]): Promise<boolean> {
    const random = this.#random;
    if (free.length > 0 && random.chance(5)) return this.#createAgain(service, random.pick(free));
    const domain = new Acknowledged(this.#define(`soak-${this.#names++}`));
    const definition = domain.may.at(-1) as Definition;
    this.#domains.push(domain);
    const body = { ...definition, kernel: "builtin:demo", vcpus: 1, start: random.chance(60) };
    const answer = await this.#ask(service, domain, "create", "POST /v1/domains", { body });
    if (answer?.status === 201) {
      domain.uuid = answer.json.uuid;
      domain.is(definition);
      this.#rest(domain, answer);
    } else if (answer && !this.#inDoubt(answer)) {
      // A definition whose start is refused is taken back.
      this.#domains.splice(this.#domains.indexOf(domain), 1);
    }
    return answer !== undefined;
  }

  /** A name that is taken stays so. */
  async #createAgain(service: WholeService, domain: Acknowledged): Promise<boolean> {
    const body = { ...domain.definition, kernel: "builtin:demo", vcpus: 1 };
    const answer = await this.#ask(service, domain, "create-again", "POST /v1/domains", { body });
    if (!answer) return false;
    if (!this.#inDoubt(answer) && problem(answer) !== "name-taken")
      this.broken.push(`a second ${body.name} is answered ${answer.status}`);
    domain.busy = false;
    return true;
  }

  async #power(service: WholeService, domain: Acknowledged, action: string): Promise<boolean> {
    const { rests } = domain;
    domain.rests = undefined;
    const answer = await this.#ask(service, domain, action, `POST /v1/domains/${domain.uuid}/${action}`, {
      ...((action === "shutdown" || action === "reboot" || action === "suspend") && { body: { timeout: 5 } }),
    });
    if (!answer) return false;
    if (answer.status === 200) this.#rest(domain, answer);
    else if (UNCHANGED.has(answer.status) && problem(answer) !== "guest-did-otherwise") domain.rests = rests;
    return true;
  }

  async #patch(service: WholeService, domain: Acknowledged): Promise<boolean> {
    const before = domain.definition;
    const { name, ...rest } = this.#define(`soak-${this.#names++}`);
    const change = { ...rest, ...(this.#random.chance(40) && { name }) };
    domain.mayBecome({ ...before, ...change });
    const line = `PATCH /v1/domains/${domain.uuid}`;
    const answer = await this.#ask(service, domain, "patch", line, { body: change });
    if (!answer) return false;
    if (answer.status === 200) domain.is({ ...before, ...change });
    else if (!this.#inDoubt(answer)) domain.is(before);
    return true;
  }

  async #type(service: WholeService, domain: Acknowledged): Promise<boolean> {
    const body = this.#random.pick(TYPED);
    return (
      (await this.#ask(service, domain, "type", `POST /v1/domains/${domain.uuid}/console`, { body })) !== undefined
    );
  }

  async #writeNode(service: WholeService, domain: Acknowledged): Promise<boolean> {
    const path = `data/soak/${this.#random.below(20)}`;
    const body = { value: "v".repeat(this.#random.below(200)) };
    const line = `PUT /v1/domains/${domain.uuid}/xenstore?path=${path}`;
    return (await this.#ask(service, domain, "write-node", line, { body })) !== undefined;
  }

  async #look(service: WholeService, domain: Acknowledged): Promise<boolean> {
    const answer = await this.#ask(service, domain, "look", `GET /v1/domains/${domain.uuid}`);
    if (!answer) return false;
    if (answer.status === 200 && answer.json.name !== domain.definition.name)
      this.broken.push(`${domain.uuid} is called ${answer.json.name}, and not ${domain.definition.name}`);
    return true;
  }

  async #remove(service: WholeService, domain: Acknowledged): Promise<boolean> {
    const { definition, rests } = domain;
    domain.rests = undefined;
    domain.mayBecome(null);
    const force = this.#random.chance(50);
    const line = `DELETE /v1/domains/${domain.uuid}${force ? "?force=true" : ""}`;
    const answer = await this.#ask(service, domain, force ? "force-delete" : "delete", line);
    if (!answer) return false;
    if (answer.status === 204) this.#gone(domain);
    else if (!this.#inDoubt(answer)) {
      domain.is(definition);
      domain.rests = rests;
    }
    return true;
  }

  async #batch(service: WholeService, free: readonly Acknowledged[]): Promise<boolean> {
    const random = this.#random;
    const chosen = free.filter(() => random.chance(30)).slice(0, BATCH);
    if (chosen.length === 0) return true;
    const operation = random.pick([...ASKED, "delete"] as const);
    for (const domain of chosen) {
      domain.busy = true;
      domain.rests = undefined;
      if (operation === "delete") domain.mayBecome(null);
      domain.last = `batch-${operation}`;
    }
    const options = /^(shutdown|reboot|suspend)$/.test(operation) ? { options: { timeout: 5 } } : {};
    const body = { operation, domains: chosen.map(({ uuid }) => uuid), ...options };
    const answer = await this.#request(service, `batch-${operation}`, "POST /v1/domains/batch", { body });
    if (!answer) return false;
    if (answer.status !== 200) return true;
    for (const item of answer.json.domains as { domain: string; status: number; type?: string; detail?: string }[]) {
      const domain = chosen.find(({ uuid }) => uuid === item.domain);
      if (!domain) {
        this.broken.push(`a batch answers for ${item.domain}, which was not asked for`);
        continue;
      }
      this.#judge(`batch-${operation}`, item.status, item.detail ?? "");
      if (operation === "delete" && item.status < 300) this.#gone(domain);
      else if (item.status < 500) {
        if (operation === "delete") domain.may = domain.may.slice(0, 1);
        domain.busy = false;
      } else if (operation !== "delete") domain.busy = false;
    }
    return true;
  }

  /** Undefined when there was no answer: the domain stays busy, and in doubt. */
  async #ask(
    service: WholeService,
    domain: Acknowledged,
    what: string,
    line: string,
    ask: Ask = {},
  ): Promise<Answer | undefined> {
    domain.busy = true;
    domain.last = what;
    if (what === "type") domain.rests = undefined;
    const answer = await this.#request(service, what, line, ask);
    if (!answer) return undefined;
    domain.last = `${what} ${answer.status}`;
    domain.busy = answer.status === 202 || (this.#inDoubt(answer) && DEFINES.has(what));
    return answer;
  }

  async #request(service: WholeService, what: string, line: string, ask: Ask): Promise<Answer | undefined> {
    add(this.tally.operations, what);
    const answer = await service.ask(line, ask).catch(() => undefined);
    if (!answer) {
      add(this.tally.statuses, "none");
      if (!this.ending) this.broken.push(`${line} has no answer`);
      return undefined;
    }
    this.#judge(what, answer.status, answer.text);
    if (answer.status === 503 && this.ending) return undefined;
    return answer;
  }

  #judge(what: string, status: number, text: string): void {
    add(this.tally.statuses, String(status));
    const wrong = status === 400 || status === 404 || status === 500;
    if (wrong && !this.ending) this.broken.push(`${what} is answered ${status}: ${text}`);
  }

  /** What the answer does not settle. */
  #inDoubt({ status }: Answer): boolean {
    return status === 202 || status === 500 || status === 503 || status === 504;
  }

  #rest(domain: Acknowledged, { json }: Answer): void {
    domain.rests = REST.has(json.state) ? json.state : undefined;
  }

  #gone(domain: Acknowledged): void {
    domain.is(null);
    this.#domains.splice(this.#domains.indexOf(domain), 1);
  }

  #define(name: string): Definition {
    const random = this.#random;
    return {
      name,
      memoryMiB: random.pick(MEMORY_MIB),
      description: `drawn ${random.below(1e6)}`,
      stopPriority: random.between(-5, 5),
      onHostCrash: random.pick(["off", "off", "restart", "restore"]),
    };
  }
}

function add(counts: Map<string, number>, what: string): void {
  counts.set(what, (counts.get(what) ?? 0) + 1);
}
