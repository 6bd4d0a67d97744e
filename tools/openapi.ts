/**
 * Writes openapi/openapi.json, docs/roles.md and docs/problems.md from the routes; with --check it only says whether the committed ones are still
 * true.
 */

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import pino from "pino";
import { buildApp } from "../src/http/app.ts";
import { problemKinds } from "../src/http/problem-types.ts";
import { hasRole, ROLES, type Role } from "../src/toolstack/access/caller.ts";
import type { Toolstack } from "../src/toolstack/toolstack.ts";

const home = resolve(import.meta.dirname, "..");
const { version } = JSON.parse(readFileSync(resolve(home, "package.json"), "utf8"));

// No request is made, so nothing behind the routes is needed.
const app = await buildApp({
  toolstack: { bootEpoch: 0, onCommit() {} } as unknown as Toolstack,
  version,
  log: pino({ level: "silent" }),
  access: { token: "", listen: { host: "127.0.0.1", port: 0 }, trusted: () => false },
  now: () => 0,
});
const document = app.swagger();
await app.close();
const files = {
  "openapi/openapi.json": `${JSON.stringify(document, null, 2)}\n`,
  "docs/roles.md": rolesTable(document as never),
  "docs/problems.md": problemsTable(),
};

for (const [name, text] of Object.entries(files)) {
  const path = resolve(home, name);
  if (!process.argv.includes("--check")) writeFileSync(path, text);
  else if (!existsSync(path) || readFileSync(path, "utf8") !== text) {
    console.error(`${name} is not what the routes say: npm run openapi`);
    process.exitCode = 1;
  }
}

function problemsTable(): string {
  const rows = problemKinds().map(({ type, status, title }) => `| \`${type}\` | ${status} | ${title} |`);
  return `# Types of problems

Made from the code (\`npm run openapi\`); \`GET /v1/problems\` answers the same. Types are added to, never renamed. A problem has besides
them a \`detail\` that says what to do, and where there is one the \`field\` at fault, the \`limit\` that was passed, the \`task\` that
failed or stands in the way, and the \`token\` to go on with.

| type | status | title |
| --- | --- | --- |
${rows.join("\n")}
`;
}

interface Operation {
  readonly operationId: string;
  readonly "x-required-role": string;
  readonly "x-all-projects"?: boolean;
}

function rolesTable({ paths }: { paths: Readonly<Record<string, Readonly<Record<string, Operation>>>> }): string {
  const rows = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => {
      const { operationId, "x-required-role": role, "x-all-projects": all } = operation;
      const may = ROLES.map((each) => (role === "anyone" || hasRole(each, role as Role) ? "yes" : ""));
      const note = all && role !== "admin" ? "a token for all projects" : "";
      return [`\`${method.toUpperCase()} ${path}\``, operationId, role === "anyone" ? "yes" : "", ...may, note];
    }),
  );
  const head = ["route", "operationId", "no token", ...ROLES, "needs"];
  const lines = [head, head.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`);
  return `# Routes by roles

Made from the routes (\`npm run openapi\`); the description has the least role of each as \`x-required-role\`. A path that names an
object of a project that the token does not see is 404, whatever the role. \`/docs\` and \`/openapi.json\` are open.

${lines.join("\n")}
`;
}
