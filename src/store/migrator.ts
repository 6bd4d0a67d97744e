/**
 * Brings a database to the schema that this version knows, by `migrations/NNNN-*.sql` in order, each in a transaction that
 * also sets `user_version`.
 *
 * An existing database is copied aside first. One that is newer than this version is refused untouched.
 */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Database } from "better-sqlite3";

export class SchemaTooNew extends Error {}

interface Migration {
  readonly version: number;
  readonly file: string;
}

/** Where the backup was made, when one was. */
export function migrate(
  database: Database,
  migrationsDir: string,
  backupPath: (version: number) => string,
): string | undefined {
  const migrations = list(migrationsDir);
  const newest = migrations.at(-1)?.version ?? 0;
  const current = database.pragma("user_version", { simple: true }) as number;
  if (current > newest)
    throw new SchemaTooNew(
      `the state was written by a newer domzero (schema ${current}; this version knows ${newest}): run that version, or restore a backup`,
    );
  if (current === newest) return undefined;
  let backup: string | undefined;
  if (current > 0) {
    backup = backupPath(current);
    database.prepare("VACUUM INTO ?").run(backup);
  }
  for (const { version, file } of migrations) {
    if (version <= current) continue;
    const sql = readFileSync(join(migrationsDir, file), "utf8");
    database.transaction(() => {
      database.exec(sql);
      database.pragma(`user_version = ${version}`);
    })();
  }
  return backup;
}

function list(folder: string): Migration[] {
  const found = readdirSync(folder)
    .filter((file) => /^\d{4}-[a-z0-9-]+\.sql$/.test(file))
    .sort()
    .map((file) => ({ version: Number(file.slice(0, 4)), file }));
  found.forEach(({ version, file }, index) => {
    if (version !== index + 1) throw new Error(`migrations are not numbered in a row: ${file}`);
  });
  return found;
}
