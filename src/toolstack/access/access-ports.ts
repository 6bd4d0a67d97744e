/** Projects, tokens and the audit log as they are stored: `reader.access` and `writer.access` of the store. */

import type { RateLimit, Role } from "./caller.ts";

/** Domains, images and their tasks are each in one. Its name is its identity, and is never given again. */
export interface ProjectRecord {
  readonly name: string;
  readonly description: string;
  readonly createdAt: number;
  /** The name of a deleted one is kept, for the log still speaks of it. */
  readonly deletedAt: number | null;
}

export const QUOTAS = ["domains", "vcpus", "memoryMiB"] as const;
/** What the definitions that a token has created may come to; memory is their `maxMemoryMiB`, which the host keeps for them. */
export type Usage = Readonly<Record<(typeof QUOTAS)[number], number>>;

export interface TokenRecord {
  readonly id: string;
  readonly name: string;
  /** SHA-256 of the secret, hexadecimal. The secret itself is kept nowhere. */
  readonly digest: string;
  readonly role: Role;
  readonly projects: readonly string[] | "all";
  readonly rateLimit: RateLimit | null;
  readonly quotas: Partial<Usage> | null;
  readonly createdAt: number;
  /** Id of the caller that made it. */
  readonly createdBy: string;
  readonly expiresAt: number | null;
  /** To the minute. */
  readonly lastUsedAt: number | null;
}

export interface ProjectUse {
  readonly domains: number;
  readonly images: number;
  /** Tokens that name it. */
  readonly tokens: number;
}

/** What came of a request, and what it was about as far as that shows at its end only. */
export interface AuditResult {
  /** Id of the object. */
  readonly object: string | null;
  readonly project: string | null;
  /** Of the answer; null where the service ended before it. */
  readonly status: number | null;
  readonly problem: string | null;
  readonly task: string | null;
}

export interface AuditEntry extends AuditResult {
  readonly time: number;
  /** Id of the caller. */
  readonly token: string;
  /** The caller's name then. */
  readonly name: string;
  /** Null over the unix socket. */
  readonly address: string | null;
  /** operationId of the route; null where there is no such route. */
  readonly operation: string | null;
}

export const OUTCOMES = ["done", "refused", "unknown"] as const;

/** An entry as it is in the log; later ones have larger numbers. */
export type AuditRecord = AuditEntry & { readonly number: number };

export interface AccessReader {
  /** Deleted ones too. */
  project(name: string): ProjectRecord | undefined;
  projectUse(name: string): ProjectUse;
  token(id: string): TokenRecord | undefined;
  tokenByName(name: string): TokenRecord | undefined;
  allTokens(): readonly TokenRecord[];
  /** What the definitions that `createdBy` has created come to. */
  usage(createdBy: string): Usage;
}

export interface AccessWriter extends AccessReader {
  putProject(record: ProjectRecord): void;
  putToken(record: TokenRecord): void;
  removeToken(id: string): void;
  /** The new entry's number. */
  appendAudit(entry: AuditEntry): number;
  finishAudit(number: number, result: AuditResult): void;
  /** Forgets entries from before `time`, `most` at most; gives how many. */
  pruneAudit(time: number, most: number): number;
}
