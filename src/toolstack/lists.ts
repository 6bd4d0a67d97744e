/**
 * Lists of domains and of tasks: filtered, in a chosen order, page by page.
 *
 * A page ends at a place, not at a number of rows: its cursor holds the sort key and the position of the last row. So what is added or
 * removed meanwhile moves nothing else, and nothing that keeps its key is given twice or left out. A cursor belongs to one filter and one
 * order, and is refused with another.
 */

import { createHash } from "node:crypto";
import type { DomainRecord, PowerState, TaskRecord, TaskState } from "./model.ts";
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

export const DOMAIN_SORTS = ["created", "name", "state", "memoryMiB", "vcpus", "changed"] as const;
export type DomainSort = (typeof DOMAIN_SORTS)[number];

export interface Order<Key extends string> {
  readonly by: Key;
  readonly descending: boolean;
}

/** Where a page ended. */
export interface Place {
  readonly key: string | number;
  readonly position: number;
}

export interface Selection<Filter, Key extends string> {
  readonly filter: Filter;
  readonly order: Order<Key>;
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
  domains(selection: Selection<DomainFilter, DomainSort>): Selected<DomainRecord>;
  countDomains(filter: DomainFilter, projects?: readonly string[]): number;
  tasks(selection: Selection<TaskFilter, "created">): Selected<TaskRecord>;
  countTasks(filter: TaskFilter, projects?: readonly string[]): number;
}

export interface ListQuery<Filter, Key extends string> {
  readonly filter: Filter;
  readonly order: Order<Key>;
  readonly limit: number;
  /** A cursor. */
  readonly after?: string;
  readonly count?: boolean;
  readonly projects?: readonly string[];
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

  domains(query: ListQuery<DomainFilter, DomainSort>): Result<ListPage<DomainRecord>> {
    const { filter, projects } = query;
    return page(
      query,
      (selection) => this.#reader.domains(selection),
      () => this.#reader.countDomains(filter, projects),
    );
  }

  tasks(query: ListQuery<TaskFilter, "created">): Result<ListPage<TaskRecord>> {
    const { filter, projects } = query;
    return page(
      query,
      (selection) => this.#reader.tasks(selection),
      () => this.#reader.countTasks(filter, projects),
    );
  }
}

function page<T, Filter, Key extends string>(
  query: ListQuery<Filter, Key>,
  select: (selection: Selection<Filter, Key>) => Selected<T>,
  total: () => number,
): Result<ListPage<T>> {
  const { after, count, ...rest } = query;
  const kind = digest([rest.filter, rest.order, rest.projects ?? null]);
  const place = after === undefined ? done(undefined) : decode(after, kind);
  if (!place.ok) return place;
  const { items, next } = select({ ...rest, ...(place.value && { after: place.value }) });
  return done({ items, next: next ? encode(next, kind) : null, ...(count && { total: total() }) });
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
