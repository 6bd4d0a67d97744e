/** Filtered and sorted lists as SQL. Every order ends with the position, so that it is total; each has an index (migrations/0010). */

import type {
  DomainFilter,
  DomainSort,
  ListReader,
  Order,
  Selected,
  Selection,
  TaskFilter,
} from "../toolstack/lists.ts";
import type { DomainRecord, TaskRecord } from "../toolstack/model.ts";
import { type Row, type Shape, taskShape } from "./rows.ts";
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
  readonly #domains: Shape<DomainRecord>;

  constructor(statements: Statements, domains: Shape<DomainRecord>) {
    this.#statements = statements;
    this.#domains = domains;
  }

  domains({ filter, order, ...rest }: Selection<DomainFilter, DomainSort>): Selected<DomainRecord> {
    const column = DOMAIN_COLUMNS[order.by];
    return this.#page(this.#domains, column, order, ofDomains(filter, rest.projects), rest);
  }

  countDomains(filter: DomainFilter, projects?: readonly string[]): number {
    return this.#count("domains", ofDomains(filter, projects));
  }

  tasks({ filter, order, ...rest }: Selection<TaskFilter, "created">): Selected<TaskRecord> {
    return this.#page(taskShape, "position", order, ofTasks(filter, rest.projects), rest);
  }

  countTasks(filter: TaskFilter, projects?: readonly string[]): number {
    return this.#count("tasks", ofTasks(filter, projects));
  }

  #page<T>(
    shape: Shape<T>,
    column: string,
    { descending }: Order<string>,
    conditions: readonly Condition[],
    { after, limit }: Pick<Selection<unknown, string>, "after" | "limit">,
  ): Selected<T> {
    const [way, beyond] = descending ? ["DESC", "<"] : ["ASC", ">"];
    const place: Condition[] = after ? [[`(${column}, position) ${beyond} (?, ?)`, after.key, after.position]] : [];
    const { where, values } = all([...conditions, ...place]);
    const sql = `SELECT * FROM ${shape.table} WHERE ${where} ORDER BY ${column} ${way}, position ${way} LIMIT ?`;
    const rows = this.#statements.prepare(sql).all(...values, limit + 1) as (Row & { position: number })[];
    const items = rows.slice(0, limit).map((row) => shape.fromRow(row));
    if (rows.length <= limit) return { items };
    const last = rows[limit - 1];
    return { items, next: { key: last[column] as string | number, position: last.position } };
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
