/**
 * Lists: filtered, in a chosen order, page by page. What can be listed is a table of kinds.
 *
 * A page ends at a place, not at a number of rows: its cursor holds the sort key and the position of the last row. So what is added or
 * removed meanwhile moves nothing else, and nothing that keeps its key is given twice or left out. A cursor belongs to one filter and one
 * order, and is refused with another.
 */

import { createHash } from "node:crypto";
import type { AuditRecord, OUTCOMES, ProjectRecord, TokenRecord } from "./access/access-ports.ts";
import type { Role } from "./access/caller.ts";
import type { DomainRecord, ImageKind, ImageRecord, PowerState, TaskRecord, TaskState } from "./model.ts";
import { done, type Result, refuse } from "./refusal.ts";

/** Each field that is given has to match. */
export interface DomainFilter {
  readonly state?: readonly PowerState[];
  /** `*` is any text, `?` any character, `[ab]` one of those. */
  readonly name?: string;
  readonly kernel?: string;
  readonly project?: string;
  /** Part of the name, the description or the command line, whatever its case. */
  readonly text?: string;
}

export interface TaskFilter {
  readonly state?: readonly TaskState[];
  readonly operation?: string;
  readonly domain?: string;
}

export interface ImageFilter {
  readonly kind?: ImageKind;
  readonly sha256?: string;
  readonly project?: string;
}

export interface ProjectFilter {
  /** As of domains. */
  readonly name?: string;
  /** Part of the name or the description, whatever its case. */
  readonly text?: string;
}

export interface TokenFilter {
  /** As of domains. */
  readonly name?: string;
  readonly role?: Role;
  /** Those that see it. */
  readonly project?: string;
}

export interface AuditFilter {
  readonly token?: string;
  readonly object?: string;
  readonly project?: string;
  readonly operation?: string;
  readonly problem?: string;
  readonly outcome?: (typeof OUTCOMES)[number];
  readonly from?: number;
  /** Not itself included. */
  readonly to?: number;
}

/** What each kind is sorted by; the first unless said. What has no such value comes last. */
export const SORTS = {
  domains: ["created", "name", "state", "memoryMiB", "vcpus", "changed"],
  tasks: ["created"],
  images: ["created", "size"],
  projects: ["created", "name"],
  tokens: ["created", "name", "expires", "lastUsed"],
  audit: ["written"],
} as const;

export type Kind = keyof typeof SORTS;
export type SortOf<K extends Kind> = (typeof SORTS)[K][number];

interface Kinds {
  readonly domains: { readonly item: DomainRecord; readonly filter: DomainFilter };
  readonly tasks: { readonly item: TaskRecord; readonly filter: TaskFilter };
  readonly images: { readonly item: ImageRecord; readonly filter: ImageFilter };
  /** Those that are not deleted. */
  readonly projects: { readonly item: ProjectRecord; readonly filter: ProjectFilter };
  readonly tokens: { readonly item: TokenRecord; readonly filter: TokenFilter };
  readonly audit: { readonly item: AuditRecord; readonly filter: AuditFilter };
}

export type ItemOf<K extends Kind> = Kinds[K]["item"];
export type FilterOf<K extends Kind> = Kinds[K]["filter"];

export interface Order<Key extends string> {
  readonly by: Key;
  readonly descending: boolean;
}

/** Where a page ended. */
export interface Place {
  readonly key: string | number;
  readonly position: number;
}

export interface Selection<K extends Kind> {
  readonly filter: FilterOf<K>;
  readonly order: Order<SortOf<K>>;
  readonly limit: number;
  readonly after?: Place;
  /** Only what is in one of these. */
  readonly projects?: readonly string[];
}

export interface Selected<T> {
  readonly items: readonly T[];
  /** Where the next page begins; undefined at the end. */
  readonly next?: Place;
}

export interface ListReader {
  select<K extends Kind>(kind: K, selection: Selection<K>): Selected<ItemOf<K>>;
  count<K extends Kind>(kind: K, filter: FilterOf<K>, projects?: readonly string[]): number;
}

export interface ListQuery<K extends Kind> extends Omit<Selection<K>, "after"> {
  /** A cursor. */
  readonly after?: string;
  readonly count?: boolean;
}

export interface ListPage<T> {
  readonly items: readonly T[];
  /** The cursor of the next page; null at the end. */
  readonly next: string | null;
  /** All that match, where that was asked for. */
  readonly total?: number;
}

export class Lists {
  readonly #reader: ListReader;

  constructor(reader: ListReader) {
    this.#reader = reader;
  }

  of<K extends Kind>(kind: K, query: ListQuery<K>): Result<ListPage<ItemOf<K>>> {
    const { after, count, ...selection } = query;
    const { filter, order, projects } = selection;
    const whose = digest([kind, filter, order, projects ?? null]);
    const place = after === undefined ? done(undefined) : decode(after, whose);
    if (!place.ok) return place;
    const { items, next } = this.#reader.select(kind, { ...selection, ...(place.value && { after: place.value }) });
    const total = count ? { total: this.#reader.count(kind, filter, projects) } : {};
    return done({ items, next: next ? encode(next, whose) : null, ...total });
  }
}

function digest(value: unknown): string {
  return createHash("sha256").update(JSON.stringify(value)).digest("base64url").slice(0, 8);
}

function encode({ key, position }: Place, kind: string): string {
  return Buffer.from(JSON.stringify([kind, key, position])).toString("base64url");
}

function decode(cursor: string, kind: string): Result<Place> {
  let parts: unknown;
  try {
    parts = JSON.parse(Buffer.from(cursor, "base64url").toString());
  } catch {
    parts = undefined;
  }
  const [of, key, position] = Array.isArray(parts) ? (parts as unknown[]) : [];
  const whole = (typeof key === "string" || typeof key === "number") && Number.isSafeInteger(position);
  if (!whole) return refuse("bad-value", "A cursor is the `next` of the page before.", { field: "after" });
  if (of !== kind)
    return refuse("bad-value", "The cursor is of a list with another filter or order: begin again without `after`.", {
      field: "after",
    });
  return done({ key, position: position as number });
}
