/** Projects, tokens and the audit log in SQLite. */

import type { AccessWriter, ProjectRecord, ProjectUse, TokenRecord, Usage } from "../toolstack/access-ports.ts";
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
    const sql =
      'SELECT count(*) AS domains, coalesce(sum(vcpus), 0) AS vcpus, coalesce(sum(max_memory_mib), 0) AS "memoryMiB" FROM domains WHERE created_by = ?';
    return this.#statements.prepare(sql).get(createdBy) as Usage;
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
}
