/** Projects, tokens and the audit log in SQLite. */

import type {
  AccessWriter,
  AuditEntry,
  AuditQuery,
  AuditResult,
  ProjectRecord,
  ProjectUse,
  TokenRecord,
  Usage,
} from "../toolstack/access/access-ports.ts";
import type { Listed, Page } from "../toolstack/ports.ts";
import { shape } from "./rows.ts";
import type { Statements } from "./statements.ts";

const projectShape = shape<ProjectRecord>("projects", {
  name: "plain",
  description: "plain",
  createdAt: "plain",
  deletedAt: "plain",
});

const tokenShape = shape<TokenRecord>("tokens", {
  id: "plain",
  name: "plain",
  digest: "plain",
  role: "plain",
  projects: "json",
  rateLimit: "json",
  quotas: "json",
  createdAt: "plain",
  createdBy: "plain",
  expiresAt: "plain",
  lastUsedAt: "plain",
});

const auditShape = shape<AuditEntry & { readonly number: number }>("audit", {
  number: "plain",
  time: "plain",
  token: "plain",
  name: "plain",
  address: "plain",
  operation: "plain",
  object: "plain",
  project: "plain",
  status: "plain",
  problem: "plain",
  task: "plain",
});

const OUTCOME_SQL = { done: "status < 400", refused: "status >= 400", unknown: "status IS NULL" } as const;

export class AccessRecords implements AccessWriter {
  readonly #statements: Statements;

  constructor(statements: Statements) {
    this.#statements = statements;
  }

  project(name: string): ProjectRecord | undefined {
    return this.#statements.one(projectShape, "name = ?", name);
  }

  projects({ projects, ...page }: Page): Listed<ProjectRecord> {
    const there = "deleted_at IS NULL";
    if (!projects) return this.#statements.listed(projectShape, page, there);
    const named = `${there} AND name IN (SELECT value FROM json_each(?))`;
    return this.#statements.listed(projectShape, page, named, JSON.stringify(projects));
  }

  projectUse(name: string): ProjectUse {
    const sql = `SELECT (SELECT count(*) FROM domains WHERE project = @name) AS domains,
      (SELECT count(*) FROM images WHERE project = @name) AS images,
      (SELECT count(*) FROM tokens, json_each(tokens.projects) WHERE json_each.value = @name AND tokens.projects <> '"all"') AS tokens`;
    return this.#statements.prepare(sql).get({ name }) as ProjectUse;
  }

  token(id: string): TokenRecord | undefined {
    return this.#statements.one(tokenShape, "id = ?", id);
  }

  tokenByName(name: string): TokenRecord | undefined {
    return this.#statements.one(tokenShape, "name = ?", name);
  }

  tokens(page: Page): Listed<TokenRecord> {
    return this.#statements.listed(tokenShape, page);
  }

  allTokens(): readonly TokenRecord[] {
    return this.#statements.many(tokenShape, "1 ORDER BY position");
  }

  usage(createdBy: string): Usage {
    const sql = 'SELECT domains, vcpus, memory_mib AS "memoryMiB" FROM usage WHERE created_by = ?';
    const usage = this.#statements.prepare(sql).get(createdBy) as Usage | undefined;
    return usage ?? { domains: 0, vcpus: 0, memoryMiB: 0 };
  }

  audit({ after, limit, from, to, outcome, ...same }: AuditQuery): Listed<AuditEntry & { readonly number: number }> {
    const terms: string[] = [];
    const values: unknown[] = [];
    const where = (term: string, ...given: unknown[]) => {
      terms.push(term);
      values.push(...given);
    };
    for (const [column, value] of Object.entries(same)) where(`${column} = ?`, value);
    if (outcome !== undefined) where(OUTCOME_SQL[outcome]);
    if (from !== undefined) where("time >= ?", from);
    if (to !== undefined) where("time < ?", to);
    if (after > 0) where("number < ?", after);
    const wanted = terms.length > 0 ? terms.join(" AND ") : "1";
    const rows = this.#statements.many(auditShape, `${wanted} ORDER BY number DESC LIMIT ?`, ...values, limit + 1);
    const items = rows.slice(0, limit);
    return rows.length > limit ? { items, next: items[limit - 1].number } : { items };
  }

  putProject(record: ProjectRecord): void {
    this.#statements.put(projectShape, record, "name");
  }

  putToken(record: TokenRecord): void {
    this.#statements.put(tokenShape, record, "id");
  }

  removeToken(id: string): void {
    this.#statements.prepare("DELETE FROM tokens WHERE id = ?").run(id);
  }

  appendAudit(entry: AuditEntry): number {
    const sql = `INSERT INTO audit (time, token, name, address, operation, object, project, status, problem, task)
      VALUES (@time, @token, @name, @address, @operation, @object, @project, @status, @problem, @task)`;
    return Number(this.#statements.prepare(sql).run(entry).lastInsertRowid);
  }

  finishAudit(number: number, result: AuditResult): void {
    const sql =
      "UPDATE audit SET object = @object, project = @project, status = @status, problem = @problem, task = @task WHERE number = @number";
    this.#statements.prepare(sql).run({ ...result, number });
  }

  pruneAudit(time: number, most: number): number {
    const sql = "DELETE FROM audit WHERE number IN (SELECT number FROM audit WHERE time < ? ORDER BY time LIMIT ?)";
    return this.#statements.prepare(sql).run(time, most).changes;
  }
}
