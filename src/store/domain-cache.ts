/**
 * Domains as they were last read or written: most requests look at one that nobody has changed since.
 *
 * Invariant: what is kept is committed. Of a domain that the transaction under way has touched nothing is kept until that has ended: then
 * what it wrote last is, if it was committed and nothing of it was taken back.
 */

import type { DomainRecord } from "../toolstack/model.ts";
import { domainShape, type Row, type Shape } from "./rows.ts";

/** Records kept; the ones that came first go first. */
const MOST = 20_000;

export class DomainCache implements Shape<DomainRecord> {
  readonly table = domainShape.table;
  readonly names = domainShape.names;
  readonly toRow = domainShape.toRow;
  readonly #kept = new Map<string, DomainRecord>();
  /** What the transaction under way wrote last; undefined where it removed it, or where that is not known. */
  readonly #touched = new Map<string, DomainRecord | undefined>();

  get(uuid: string): DomainRecord | undefined {
    return this.#kept.get(uuid);
  }

  fromRow(row: Row): DomainRecord {
    const { uuid } = row as { uuid: string };
    const kept = this.#kept.get(uuid);
    if (kept) return kept;
    const record = domainShape.fromRow(row);
    if (!this.#touched.has(uuid)) this.#keep(record);
    return record;
  }

  /** The transaction under way writes it, or removes it. */
  touch(uuid: string, record?: DomainRecord): void {
    this.#kept.delete(uuid);
    this.#touched.set(uuid, record);
  }

  /** Part of the transaction under way was taken back: what it wrote may not be what there is. */
  doubt(): void {
    for (const uuid of this.#touched.keys()) this.#touched.set(uuid, undefined);
  }

  /** The transaction has been committed, or rolled back. */
  settle(committed: boolean): void {
    if (committed) for (const record of this.#touched.values()) if (record) this.#keep(record);
    this.#touched.clear();
  }

  #keep(record: DomainRecord): void {
    if (this.#kept.size >= MOST) this.#kept.delete(this.#kept.keys().next().value as string);
    this.#kept.set(record.uuid, record);
  }
}
