/** Prepared statements, each prepared once, and the few forms of query that every table needs. */

import type Database from "better-sqlite3";
import type { Listed, Page } from "../toolstack/ports.ts";
import type { Row, Shape } from "./rows.ts";

export class Statements {
  readonly #database: Database.Database;
  readonly #prepared = new Map<string, Database.Statement>();

  constructor(database: Database.Database) {
    this.#database = database;
  }

  prepare(sql: string): Database.Statement {
    let statement = this.#prepared.get(sql);
    if (!statement) {
      statement = this.#database.prepare(sql);
      this.#prepared.set(sql, statement);
    }
    return statement;
  }

  one<T>(shape: Shape<T>, where: string, ...values: unknown[]): T | undefined {
    const row = this.prepare(`SELECT * FROM ${shape.table} WHERE ${where}`).get(...values);
    return row === undefined ? undefined : shape.fromRow(row as Row);
  }

  many<T>(shape: Shape<T>, where: string, ...values: unknown[]): T[] {
    const rows = this.prepare(`SELECT * FROM ${shape.table} WHERE ${where}`).all(...values);
    return rows.map((row) => shape.fromRow(row as Row));
  }

  /** One page in order of creation: the table has a `position`, and a `project` where the page is limited to some. */
  listed<T>(shape: Shape<T>, page: Page, where = "1", ...values: unknown[]): Listed<T> {
    const seen = page.projects ? "project IN (SELECT value FROM json_each(?))" : "1";
    const projects = page.projects ? [JSON.stringify(page.projects)] : [];
    const sql = `SELECT * FROM ${shape.table} WHERE ${where} AND ${seen} AND position > ? ORDER BY position LIMIT ?`;
    const rows = this.prepare(sql).all(...values, ...projects, page.after, page.limit + 1) as (Row & {
      position: number;
    })[];
    const items = rows.slice(0, page.limit).map((row) => shape.fromRow(row));
    return rows.length > page.limit ? { items, next: rows[page.limit - 1].position } : { items };
  }

  /** Inserts the record, or changes the one with the same `key`. */
  put<T>(shape: Shape<T>, record: T, key: string): void {
    const updates = shape.names.filter((name) => name !== key).map((name) => `${name} = excluded.${name}`);
    const sql = `INSERT INTO ${shape.table} (${shape.names.join(", ")}) VALUES (${shape.names.map((name) => `@${name}`).join(", ")}) ON CONFLICT (${key}) DO UPDATE SET ${updates.join(", ")}`;
    this.prepare(sql).run(shape.toRow(record));
  }
}
