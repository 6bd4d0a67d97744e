/** Projects, tokens and the audit log in SQLite. */

import type {
  AccessWriter,
  AuditEntry,
  AuditRecord,
  AuditResult,
  ProjectRecord,
  ProjectUse,
  TokenRecord,
  Usage,
} from "../toolstack/access/access-ports.ts";
import { shape } from "./rows.ts";
import type { Statements } from "./statements.ts";

export const projectShape = shape<ProjectRecord>("projects", {
  name: "plain",
  description: "plain",
  createdAt: "plain",
  deletedAt: "plain",
});

export const tokenShape = shape<TokenRecord>("tokens", {
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

export const auditShape = shape<AuditRecord>("audit", {
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

export class AccessRecords implements AccessWriter {
  readonly #statements: Statements;

  constructor(statements: Statements) {
    this.#statements = statements;
  }

  project(name: string): ProjectRecord | undefined {
    return this.#statements.one(projectShape, "name = ?", name);
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

  allTokens(): readonly TokenRecord[] {
    return this.#statements.many(tokenShape, "1 ORDER BY position");
  }

  usage(createdBy: string): Usage {
    const sql = 'SELECT domains, vcpus, memory_mib AS "memoryMiB" FROM usage WHERE created_by = ?';
    const usage = this.#statements.prepare(sql).get(createdBy) as Usage | undefined;
    return usage ?? { domains: 0, vcpus: 0, memoryMiB: 0 };
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
