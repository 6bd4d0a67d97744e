/**
 * Domains as they were last read: most requests look at one that nobody has changed since.
 *
 * Invariant: what is kept is committed. A domain that the transaction under way has touched is read from the database until that has
 * ended, however it ends.
 */

import type { DomainRecord } from "../toolstack/model.ts";
import { domainShape, type Row, type Shape } from "./rows.ts";

/** Records kept; the ones that were read first go first. */
const MOST = 20_000;

export class DomainCache implements Shape<DomainRecord> {
  readonly table = domainShape.table;
  readonly names = domainShape.names;
  readonly toRow = domainShape.toRow;
  readonly #kept = new Map<string, DomainRecord>();
  readonly #touched = new Set<string>();

  get(uuid: string): DomainRecord | undefined {
    return this.#kept.get(uuid);
  }

  fromRow(row: Row): DomainRecord {
    const { uuid } = row as { uuid: string };
    const kept = this.#kept.get(uuid);
    if (kept) return kept;
    const record = domainShape.fromRow(row);
    if (this.#touched.has(uuid)) return record;
    if (this.#kept.size >= MOST) this.#kept.delete(this.#kept.keys().next().value as string);
    this.#kept.set(uuid, record);
    return record;
  }

  /** The transaction under way changes or removes it. */
  touch(uuid: string): void {
    this.#kept.delete(uuid);
    this.#touched.add(uuid);
  }

  /** The transaction has been committed, or rolled back. */
  settle(): void {
    this.#touched.clear();
  }
}
