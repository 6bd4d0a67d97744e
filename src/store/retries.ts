/** Idempotency keys in SQLite. */

import type { RetryKey, RetryRecord, RetryWriter } from "../toolstack/retries.ts";
import { shape } from "./rows.ts";
import type { Statements } from "./statements.ts";

const retryShape = shape<RetryRecord>("retries", {
  caller: "plain",
  route: "plain",
  key: "plain",
  hash: "plain",
  bootEpoch: "plain",
  startedAt: "plain",
  accepted: "json",
  answer: "json",
});

const OF_KEY = "caller = ? AND route = ? AND key = ?";

export class SqliteRetries implements RetryWriter {
  readonly #statements: Statements;

  constructor(statements: Statements) {
    this.#statements = statements;
  }

  find({ caller, route, key }: RetryKey): RetryRecord | undefined {
    return this.#statements.one(retryShape, OF_KEY, caller, route, key);
  }

  count(): number {
    // Over the index: no answer is read.
    const sql = "SELECT count(*) AS count FROM retries INDEXED BY retries_started";
    return (this.#statements.prepare(sql).get() as { count: number }).count;
  }

  put(record: RetryRecord): void {
    this.#statements.put(retryShape, record, "caller, route, key");
  }

  remove({ caller, route, key }: RetryKey): void {
    this.#statements.prepare(`DELETE FROM retries WHERE ${OF_KEY}`).run(caller, route, key);
  }

  prune(time: number): void {
    this.#statements.prepare("DELETE FROM retries WHERE started_at < ?").run(time);
  }
}
