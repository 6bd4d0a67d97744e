/**
 * Tokens: who may ask, for what, for how long.
 *
 * A token's secret is told once and kept as its digest alone. All tokens are in memory too, so that a request costs no query:
 * whatever changes one here changes both. When a token ends, by hand or by time, its caller's `ended` aborts.
 */

import { createHash, randomBytes, randomUUID } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import type { Clock, Log, Store, Writer } from "../ports.ts";
import { done, type Refusal, type Result, refuse } from "../refusal.ts";
import { tokenView } from "../views.ts";
import type { TokenRecord, Usage } from "./access-ports.ts";
import type { Caller, RateLimit, Role } from "./caller.ts";
import { checkProject } from "./projects.ts";

export interface NewToken {
  readonly name: string;
  readonly role: Role;
  readonly projects?: readonly string[] | "all";
  /** Milliseconds since 1970. */
  readonly expiresAt?: number;
  readonly rateLimit?: RateLimit;
  readonly quotas?: Partial<Usage>;
}

/** What is left out stays; null takes a limit away. */
export interface TokenChange {
  readonly name?: string;
  readonly role?: Role;
  readonly projects?: readonly string[] | "all";
  readonly expiresAt?: number | null;
  readonly rateLimit?: RateLimit | null;
  readonly quotas?: Partial<Usage> | null;
}

interface TokensOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
}

interface LiveToken {
  record: TokenRecord;
  readonly caller: Caller;
  /** Ends what the caller holds open. */
  readonly end: AbortController;
}

/** Told apart from other secrets at a glance, by people, by scanners and by what keeps them out of the log. */
const PREFIX = "domzero_";
export const SECRET = /domzero_[\w-]{43}/g;
/** Uses within this time are one: it is written down once. */
const USE_MS = 60_000;
/** Timers hold 24 days at most. */
const LONGEST_SLEEP_MS = 3600_000;

export class Tokens {
  readonly #options: TokensOptions;
  readonly #byDigest = new Map<string, LiveToken>();
  /** By the caller that stands for it now. */
  readonly #byCaller = new WeakMap<Caller, LiveToken>();
  #changed = new AbortController();

  constructor(options: TokensOptions) {
    this.#options = options;
  }

  /** Before anything else is asked of this object. */
  recover(): void {
    for (const record of this.#options.store.access.allTokens()) this.#enliven(record);
  }

  /** Ends tokens when their time comes, until `signal` aborts. */
  async watchExpiry(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    while (!signal.aborted) {
      const now = clock.now();
      let next = now + LONGEST_SLEEP_MS;
      for (const { record, end } of this.#byDigest.values()) {
        if (record.expiresAt === null || end.signal.aborted) continue;
        if (record.expiresAt <= now) end.abort("The token has expired.");
        else next = Math.min(next, record.expiresAt);
      }
      await clock.sleep(next - now, AbortSignal.any([signal, this.#changed.signal]));
    }
  }

  /** Whose secret it is; undefined for none's, and for one that has expired. */
  callerOf(secret: string): Caller | undefined {
    const caller = this.#byDigest.get(digestOf(secret))?.caller;
    return caller && this.stillHolds(caller) ? caller : undefined;
  }

  /** Does its token still let a caller in, as what it is? This is a use of it. */
  stillHolds(caller: Caller): boolean {
    const live = this.#byCaller.get(caller);
    if (!live || caller.ended.aborted) return false;
    const now = this.#options.clock.now();
    const { expiresAt, lastUsedAt } = live.record;
    if (expiresAt !== null && expiresAt <= now) return false;
    if (lastUsedAt === null || now - lastUsedAt >= USE_MS) this.#used(live, now);
    return true;
  }

  find(id: string): Result<TokenRecord> {
    const token = this.#options.store.access.token(id.toLowerCase());
    return token ? done(token) : refuse("token-not-found", `There is no token ${id}.`);
  }

  usage(id: string): Usage {
    return this.#options.store.access.usage(id);
  }

  async create(input: NewToken, by: Caller): Promise<Result<{ token: TokenRecord; secret: string }>> {
    const { store, clock } = this.#options;
    const { name, role, projects = "all", rateLimit = null, quotas = null, expiresAt = null } = input;
    const now = clock.now();
    const secret = newSecret();
    const token: TokenRecord = {
      id: randomUUID(),
      name,
      digest: digestOf(secret),
      role,
      projects: inOrder(projects),
      rateLimit,
      quotas,
      createdAt: now,
      createdBy: by.id,
      expiresAt,
      lastUsedAt: null,
    };
    const made = await store.commit((writer): Result<TokenRecord> => {
      const refusal = checkToken(token, undefined, writer, now);
      if (refusal) return refusal;
      saveToken(writer, token, "add", "created", now);
      return done(token);
    });
    if (!made.ok) return made;
    this.#enliven(token);
    this.#lookAgain();
    return done({ token, secret });
  }

  /** What its caller may changes with its next request; where that is less or more than before, what it holds open ends. */
  async update(id: string, change: TokenChange): Promise<Result<TokenRecord>> {
    const { store, clock } = this.#options;
    const updated = await store.commit((writer): Result<TokenRecord> => {
      const found = this.find(id);
      if (!found.ok) return found;
      const before = found.value;
      const { projects = before.projects } = change;
      const token: TokenRecord = { ...before, ...change, projects: inOrder(projects) };
      const now = clock.now();
      const refusal = checkToken(token, before, writer, now);
      if (refusal) return refusal;
      if (!isDeepStrictEqual(token, before)) saveToken(writer, token, "mod", "changed", now);
      return done(token);
    });
    if (!updated.ok) return updated;
    const token = updated.value;
    const live = this.#byDigest.get(token.digest);
    if (!live) return updated;
    this.#byCaller.delete(live.caller);
    const { role, projects } = live.record;
    const same = token.role === role && isDeepStrictEqual(token.projects, projects);
    this.#enliven(token, same && !live.end.signal.aborted ? live.end : undefined);
    if (!same) live.end.abort("The token was changed.");
    this.#lookAgain();
    return updated;
  }

  /** Its open streams end before this resolves. */
  async remove(id: string): Promise<Result<TokenRecord>> {
    const { store, clock } = this.#options;
    const removed = await store.commit((writer): Result<TokenRecord> => {
      const found = this.find(id);
      if (!found.ok) return found;
      const token = found.value;
      writer.access.removeToken(token.id);
      tell(writer, token, "del", "revoked", clock.now());
      return found;
    });
    if (!removed.ok) return removed;
    const live = this.#byDigest.get(removed.value.digest);
    this.#byDigest.delete(removed.value.digest);
    live?.end.abort("The token was revoked.");
    return removed;
  }

  #enliven(record: TokenRecord, end = new AbortController()): void {
    const { id, name, role, projects, rateLimit } = record;
    const caller: Caller = { id, name, role, projects, rateLimit, ended: end.signal };
    const live = { record, caller, end };
    this.#byDigest.set(record.digest, live);
    this.#byCaller.set(caller, live);
  }

  /** Whoever sleeps until the next expiry does. */
  #lookAgain(): void {
    this.#changed.abort();
    this.#changed = new AbortController();
  }

  /** Not worth a wait, nor the request if it fails: the next use writes it again. */
  #used(live: LiveToken, now: number): void {
    const { store, log } = this.#options;
    live.record = { ...live.record, lastUsedAt: now };
    const { id } = live.record;
    store
      .commit((writer) => {
        const token = writer.access.token(id);
        if (token) writer.access.putToken({ ...token, lastUsedAt: now });
      })
      .catch((error) => log.warn({ err: error, token: id }, "a token's use was not written down"));
  }
}

/** The refusal of a token that is to be stored; `before` is what it was, where it was. */
function checkToken(
  token: TokenRecord,
  before: TokenRecord | undefined,
  writer: Writer,
  now: number,
): Refusal | undefined {
  const { name, role, projects, expiresAt } = token;
  if (role === "admin" && projects !== "all")
    return refuse("bad-value", "An admin has all projects; leave projects out.", { field: "projects" });
  if (expiresAt !== null && expiresAt !== before?.expiresAt && expiresAt <= now)
    return refuse("out-of-range", "expiresAt has passed already.", { field: "expiresAt", limit: at(now) });
  if (name !== before?.name && writer.access.tokenByName(name))
    return refuse("name-taken", `There is a token ${name} already.`, { field: "name" });
  const known = before === undefined || before.projects === "all" ? [] : before.projects;
  for (const project of projects === "all" ? [] : projects) {
    const refusal = known.includes(project) ? undefined : checkProject(project, writer);
    if (refusal) return { ...refusal, field: "projects" };
  }
  return undefined;
}

function saveToken(writer: Writer, token: TokenRecord, operation: "add" | "mod", reason: string, time: number): void {
  writer.access.putToken(token);
  tell(writer, token, operation, reason, time);
}

function tell(
  writer: Writer,
  token: TokenRecord,
  operation: "add" | "mod" | "del",
  reason: string,
  time: number,
): void {
  const object = JSON.stringify(tokenView(token));
  writer.appendEvent({ time, class: "token", operation, reason, id: token.id, project: null, object });
}

function inOrder(projects: readonly string[] | "all"): readonly string[] | "all" {
  return projects === "all" ? projects : [...new Set(projects)].sort();
}

export function newSecret(): string {
  return PREFIX + randomBytes(32).toString("base64url");
}

function digestOf(secret: string): string {
  return createHash("sha256").update(secret).digest("hex");
}

function at(ms: number): string {
  return new Date(ms).toISOString();
}
