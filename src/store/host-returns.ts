/** When domains were brought back that the host had lost, in a table of its own; and who is due. */

import type { DomainRecord } from "../toolstack/model.ts";
import type { HostReturnsWriter } from "../toolstack/ports.ts";
import { domainShape } from "./rows.ts";
import type { Statements } from "./statements.ts";

export class HostReturnRecords implements HostReturnsWriter {
  readonly #statements: Statements;

  constructor(statements: Statements) {
    this.#statements = statements;
  }

  due(): readonly DomainRecord[] {
    const where =
      "domid IS NULL AND json_extract(last_stop, '$.returnsTo') IS NOT NULL ORDER BY stop_priority DESC, position";
    return this.#statements.many(domainShape, where);
  }

  count(domain: string, since: number): number {
    const sql = "SELECT count(*) AS count FROM host_returns WHERE domain = ? AND time > ?";
    return (this.#statements.prepare(sql).get(domain, since) as { count: number }).count;
  }

  put(domain: string, time: number): void {
    this.#statements.prepare("INSERT INTO host_returns (domain, time) VALUES (?, ?)").run(domain, time);
  }

  prune(time: number): void {
    this.#statements.prepare("DELETE FROM host_returns WHERE time < ?").run(time);
  }
}
