/** Filtered and sorted lists as SQL. Every order ends with the position, so that it is total; each has an index (migrations/0010). */

import type {
  DomainFilter,
  DomainSort,
  ListReader,
  Order,
  Place,
  Selected,
  Selection,
  TaskFilter,
} from "../toolstack/lists.ts";
import type { DomainRecord, TaskRecord } from "../toolstack/model.ts";
import type { DomainCache } from "./domain-cache.ts";
import { type Row, taskShape } from "./rows.ts";
import type { Statements } from "./statements.ts";

/** A condition, and the values of its question marks. */
type Condition = readonly [sql: string, ...values: unknown[]];

const DOMAIN_COLUMNS: Readonly<Record<DomainSort, string>> = {
  created: "position",
  name: "name",
  state: "state",
  memoryMiB: "memory_mib",
  vcpus: "vcpus",
  changed: "changed_at",
};

export class SqliteLists implements ListReader {
  readonly #statements: Statements;
  readonly #domains: DomainCache;

  constructor(statements: Statements, domains: DomainCache) {
    this.#statements = statements;
    this.#domains = domains;
  }

  domains({ filter, order, ...rest }: Selection<DomainFilter, DomainSort>): Selected<DomainRecord> {
    const column = DOMAIN_COLUMNS[order.by];
    const { rows, next } = this.#rows(
      "domains",
      `uuid, ${column}`,
      column,
      order,
      ofDomains(filter, rest.projects),
      rest,
    );
    // Most of them have been read before: a row of all columns costs more than the search.
    const items = rows.map((row) => {
      const { uuid } = row as { uuid: string };
      return this.#domains.get(uuid) ?? this.#statements.one(this.#domains, "uuid = ?", uuid)!;
    });
    return next ? { items, next } : { items };
  }

  countDomains(filter: DomainFilter, projects?: readonly string[]): number {
    return this.#count("domains", ofDomains(filter, projects));
  }

  tasks({ filter, order, ...rest }: Selection<TaskFilter, "created">): Selected<TaskRecord> {
    const { rows, next } = this.#rows("tasks", "*", "position", order, ofTasks(filter, rest.projects), rest);
    const items = rows.map((row) => taskShape.fromRow(row));
    return next ? { items, next } : { items };
  }

  countTasks(filter: TaskFilter, projects?: readonly string[]): number {
    return this.#count("tasks", ofTasks(filter, projects));
  }

  #rows(
    table: string,
    columns: string,
    column: string,
    { descending }: Order<string>,
    conditions: readonly Condition[],
    { after, limit }: Pick<Selection<unknown, string>, "after" | "limit">,
  ): { rows: readonly Row[]; next?: Place } {
    const [way, beyond] = descending ? ["DESC", "<"] : ["ASC", ">"];
    const place: Condition[] = after ? [[`(${column}, position) ${beyond} (?, ?)`, after.key, after.position]] : [];
    const { where, values } = all([...conditions, ...place]);
    const sql = `SELECT ${columns}, position FROM ${table} WHERE ${where} ORDER BY ${column} ${way}, position ${way} LIMIT ?`;
    const rows = this.#statements.prepare(sql).all(...values, limit + 1) as (Row & { position: number })[];
    if (rows.length <= limit) return { rows };
    const last = rows[limit - 1];
    return {
      rows: rows.slice(0, limit),
      next: { key: last[column] as string | number, position: last.position },
    };
  }

  #count(table: string, conditions: readonly Condition[]): number {
    const { where, values } = all(conditions);
    const row = this.#statements.prepare(`SELECT count(*) AS count FROM ${table} WHERE ${where}`).get(...values);
    return (row as { count: number }).count;
  }
}

function all(conditions: readonly Condition[]): { where: string; values: unknown[] } {
  const where = conditions.map(([sql]) => sql).join(" AND ") || "1";
  return { where, values: conditions.flatMap(([, ...values]) => values) };
}

function ofDomains(filter: DomainFilter, projects?: readonly string[]): Condition[] {
  const { state, name, kernel, project, text } = filter;
  return [
    ...oneOf("state", state),
    ...oneOf("project", projects),
    ...(name === undefined ? [] : ([["name GLOB ?", name]] as const)),
    ...equal("kernel", kernel),
    ...equal("project", project),
    ...(text === undefined
      ? []
      : ([["instr(lower(name || char(10) || description || char(10) || cmdline), lower(?)) > 0", text]] as const)),
  ];
}

function ofTasks({ state, operation, domain }: TaskFilter, projects?: readonly string[]): Condition[] {
  return [
    ...oneOf("state", state),
    ...oneOf("project", projects),
    ...equal("operation", operation),
    ...equal("domain", domain),
  ];
}

function equal(column: string, value: string | undefined): Condition[] {
  return value === undefined ? [] : [[`${column} = ?`, value]];
}

/** One value is looked for by itself, so that an index on the column gives the order too. */
function oneOf(column: string, values: readonly string[] | undefined): Condition[] {
  if (values === undefined) return [];
  if (values.length === 1) return equal(column, values[0]);
  return [[`${column} IN (SELECT value FROM json_each(?))`, JSON.stringify(values)]];
}
