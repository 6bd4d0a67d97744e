/** Filtered and sorted lists as SQL: what can be listed is a table. Every order ends with the position, so that it is total. */

import type {
  FilterOf,
  ItemOf,
  Kind,
  ListReader,
  Order,
  Place,
  Selected,
  Selection,
  SortOf,
} from "../toolstack/lists.ts";
import { auditShape, projectShape, tokenShape } from "./access-records.ts";
import type { DomainCache } from "./domain-cache.ts";
import { imageShape, type Row, taskShape } from "./rows.ts";
import type { Statements } from "./statements.ts";

/** A condition, and the values of its question marks. */
type Condition = readonly [sql: string, ...values: unknown[]];

interface Listing<K extends Kind> {
  readonly table: string;
  /** Grows with every row. */
  readonly position: string;
  /** By what it is sorted; never null. */
  readonly keys: Readonly<Record<SortOf<K>, string>>;
  /** Names the project of a row; undefined: what is limited to some sees none. */
  readonly project?: string;
  readonly conditions: (filter: FilterOf<K>) => Condition[];
}

/** What has no time comes after all that has: the largest that JavaScript knows. */
const NEVER = 8_640_000_000_000_000;

/** Indexes of domains and tasks are in migrations/0010, of the log in migrations/0006; of the others there are few. */
const LISTINGS: { readonly [K in Kind]: Listing<K> } = {
  domains: {
    table: "domains",
    position: "position",
    keys: {
      created: "position",
      name: "name",
      state: "state",
      memoryMiB: "memory_mib",
      vcpus: "vcpus",
      changed: "changed_at",
    },
    project: "project",
    conditions: ({ state, name, kernel, project, text }) => [
      ...oneOf("state", state),
      ...like("name", name),
      ...equal("kernel", kernel),
      ...equal("project", project),
      ...holds("name || char(10) || description || char(10) || cmdline", text),
    ],
  },
  tasks: {
    table: "tasks",
    position: "position",
    keys: { created: "position" },
    project: "project",
    conditions: ({ state, operation, domain }) => [
      ...oneOf("state", state),
      ...equal("operation", operation),
      ...equal("domain", domain),
    ],
  },
  images: {
    table: "images",
    position: "position",
    keys: { created: "position", size: "size" },
    project: "project",
    conditions: ({ kind, sha256, project }) => [
      ...equal("kind", kind),
      ...equal("sha256", sha256?.toLowerCase()),
      ...equal("project", project),
    ],
  },
  projects: {
    table: "projects",
    position: "position",
    keys: { created: "position", name: "name" },
    project: "name",
    conditions: ({ name, text }) => [
      ["deleted_at IS NULL"],
      ...like("name", name),
      ...holds("name || char(10) || description", text),
    ],
  },
  tokens: {
    table: "tokens",
    position: "position",
    keys: {
      created: "position",
      name: "name",
      expires: `coalesce(expires_at, ${NEVER})`,
      lastUsed: `coalesce(last_used_at, ${NEVER})`,
    },
    conditions: ({ name, role, project }) => [
      ...like("name", name),
      ...equal("role", role),
      ...given("(projects = '\"all\"' OR ? IN (SELECT value FROM json_each(projects)))", project),
    ],
  },
  audit: {
    table: "audit",
    position: "number",
    keys: { written: "number" },
    conditions: ({ token, object, project, operation, problem, outcome, from, to }) => [
      ...equal("token", token),
      ...equal("object", object),
      ...equal("project", project),
      ...equal("operation", operation),
      ...equal("problem", problem),
      ...(outcome === undefined ? [] : [[OUTCOMES[outcome]] as const]),
      ...given("time >= ?", from),
      ...given("time < ?", to),
    ],
  },
};

const OUTCOMES = { done: "status < 400", refused: "status >= 400", unknown: "status IS NULL" } as const;

export class SqliteLists implements ListReader {
  readonly #statements: Statements;
  readonly #domains: DomainCache;

  constructor(statements: Statements, domains: DomainCache) {
    this.#statements = statements;
    this.#domains = domains;
  }

  select<K extends Kind>(kind: K, selection: Selection<K>): Selected<ItemOf<K>> {
    const { rows, next } = this.#rows(LISTINGS[kind], kind === "domains" ? "uuid" : "*", selection);
    const items = rows.map((row) => this.#item(kind, row) as ItemOf<K>);
    return next ? { items, next } : { items };
  }

  count<K extends Kind>(kind: K, filter: FilterOf<K>, projects?: readonly string[]): number {
    const { where, values } = whereOf(LISTINGS[kind], filter, projects);
    const sql = `SELECT count(*) AS count FROM ${LISTINGS[kind].table} WHERE ${where}`;
    return (this.#statements.prepare(sql).get(...values) as { count: number }).count;
  }

  #item(kind: Kind, row: Row): ItemOf<Kind> {
    switch (kind) {
      case "domains": {
        // Most of them have been read before: a row of all columns costs more than the search.
        const { uuid } = row as { uuid: string };
        return this.#domains.get(uuid) ?? this.#statements.one(this.#domains, "uuid = ?", uuid)!;
      }
      case "tasks":
        return taskShape.fromRow(row);
      case "images":
        return imageShape.fromRow(row);
      case "projects":
        return projectShape.fromRow(row);
      case "tokens":
        return tokenShape.fromRow(row);
      case "audit":
        return auditShape.fromRow(row);
    }
  }

  #rows<K extends Kind>(
    listing: Listing<K>,
    columns: string,
    { filter, order, after, limit, projects }: Selection<K>,
  ): { rows: readonly Row[]; next?: Place } {
    const { table, position } = listing;
    const key = listing.keys[order.by];
    const { where, values } = whereOf(listing, filter, projects, placeOf(key, position, order, after));
    const way = order.descending ? "DESC" : "ASC";
    const sql = `SELECT ${columns}, ${key} AS sort_key, ${position} AS place FROM ${table} WHERE ${where} ORDER BY ${key} ${way}, ${position} ${way} LIMIT ?`;
    const rows = this.#statements.prepare(sql).all(...values, limit + 1) as (Row & {
      sort_key: string | number;
      place: number;
    })[];
    if (rows.length <= limit) return { rows };
    const last = rows[limit - 1];
    return { rows: rows.slice(0, limit), next: { key: last.sort_key, position: last.place } };
  }
}

function placeOf(key: string, position: string, { descending }: Order<string>, after: Place | undefined): Condition[] {
  if (after === undefined) return [];
  return [[`(${key}, ${position}) ${descending ? "<" : ">"} (?, ?)`, after.key, after.position]];
}

function whereOf<K extends Kind>(
  { project, conditions }: Listing<K>,
  filter: FilterOf<K>,
  projects: readonly string[] | undefined,
  more: readonly Condition[] = [],
): { where: string; values: unknown[] } {
  const seen = projects === undefined ? [] : project === undefined ? [["0"] as const] : oneOf(project, projects);
  const all: readonly Condition[] = [...conditions(filter), ...seen, ...more];
  const where = all.map(([sql]) => sql).join(" AND ") || "1";
  return { where, values: all.flatMap(([, ...values]) => values) };
}

function given(sql: string, value: string | number | undefined): Condition[] {
  return value === undefined ? [] : [[sql, value]];
}

function equal(column: string, value: string | undefined): Condition[] {
  return given(`${column} = ?`, value);
}

/** By a pattern with `*`, `?` and `[ab]`. */
function like(column: string, pattern: string | undefined): Condition[] {
  return given(`${column} GLOB ?`, pattern);
}

/** Part of the text, whatever its case. */
function holds(text: string, part: string | undefined): Condition[] {
  return given(`instr(lower(${text}), lower(?)) > 0`, part);
}

/** One value is looked for by itself, so that an index on the column gives the order too. */
function oneOf(column: string, values: readonly string[] | undefined): Condition[] {
  if (values === undefined) return [];
  if (values.length === 1) return equal(column, values[0]);
  return [[`${column} IN (SELECT value FROM json_each(?))`, JSON.stringify(values)]];
}
