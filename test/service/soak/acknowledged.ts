/**
 * What a client knows of its domains by the answers that it got, and what it may count on therefore after any kill.
 *
 * An answer settles what a domain is. A request whose answer was lost leaves two possibilities, of which a restart has to find one.
 */

import type { DomainSeen } from "./event-follower.ts";

export interface Definition {
  readonly name: string;
  readonly memoryMiB: number;
  readonly description: string;
  readonly stopPriority: number;
  readonly onHostCrash: string;
}

export class Acknowledged {
  uuid: string | undefined;
  /** Null: it is not there. */
  may: readonly (Definition | null)[];
  /** That it was said to be in, and leaves only when it is asked to. */
  rests: string | undefined;
  /** A request on it is under way, or was without an answer. */
  busy = true;
  /** When it was made, for people who look at a breach. */
  last = "";

  constructor(definition: Definition) {
    this.may = [null, definition];
  }

  /** Of one that was acknowledged. */
  get definition(): Definition {
    const [definition] = this.may;
    if (this.may.length !== 1 || !definition) throw new Error(`domain ${this.uuid} is in doubt`);
    return definition;
  }

  is(definition: Definition | null): void {
    this.may = [definition];
  }

  mayBecome(definition: Definition | null): void {
    this.may = [...this.may, definition];
  }
}

const FIELDS = ["name", "memoryMiB", "description", "stopPriority", "onHostCrash"] as const;

const same = (definition: Definition | null, found: DomainSeen | undefined): boolean =>
  definition === null
    ? found === undefined
    : found !== undefined && FIELDS.every((field) => definition[field] === found[field]);

const shown = (definition: object | null | undefined): string =>
  definition ? FIELDS.map((field) => (definition as Definition)[field]).join(" ") : "nothing";

/** Holds what was acknowledged against what is there, which settles every doubt. Gives what is wrong, and those that are there. */
export function compare(
  known: readonly Acknowledged[],
  found: readonly DomainSeen[],
): { readonly broken: string[]; readonly kept: Acknowledged[] } {
  const broken: string[] = [];
  const byUuid = new Map(found.map((domain) => [domain.uuid, domain]));
  const byName = new Map(found.map((domain) => [domain.name, domain]));
  if (byName.size !== found.length) broken.push(`${found.length} domains have ${byName.size} names`);
  const kept: Acknowledged[] = [];
  const matched = new Set<string>();
  for (const domain of known) {
    const names = domain.may.flatMap((definition) => definition?.name ?? []);
    const there = domain.uuid
      ? byUuid.get(domain.uuid)
      : names.map((name) => byName.get(name)).find((named) => named !== undefined);
    const right = domain.may.find((definition) => same(definition, there));
    const about = `${domain.uuid ?? names[0]} (${domain.last})`;
    if (right === undefined)
      broken.push(`${about} is ${shown(there)}, and may be ${domain.may.map(shown).join(", or ")}`);
    if (there && domain.rests && domain.rests !== there.state)
      broken.push(`${about} is ${there.state} by ${there.lastStop?.reason}, and was said to be ${domain.rests}`);
    if (!there) continue;
    matched.add(there.uuid);
    domain.uuid = there.uuid;
    if (right) domain.is(right);
    domain.rests = REST.has(there.state) ? there.state : undefined;
    domain.busy = false;
    kept.push(domain);
  }
  for (const { uuid, name } of found) if (!matched.has(uuid)) broken.push(`nobody made ${name} (${uuid})`);
  return { broken, kept };
}

/** States that a domain stays in by itself. */
export const REST: ReadonlySet<string> = new Set(["halted", "suspended"]);
