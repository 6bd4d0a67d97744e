/**
 * A consistent copy of a state folder, made by a process of its own, whether a service works on it or not.
 *
 * The database is copied first, as of one moment: a read transaction of a write-ahead log, which no writer waits for and which waits for
 * none, so that the service goes on. What that copy refers to is immutable under its name, but may be deleted, and suspend images are
 * written anew: those are looked at again when they are copied, and all is copied anew where something has changed. Logs of consoles may
 * have more than the moment had. The history of figures is a database of its own, copied last in the same way; it knows of no object that
 * the service would miss. A backup has its name when all of it is whole, and on the disk.
 */

import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import Database from "better-sqlite3";
import {
  BackupRefused,
  copyFile,
  DATABASE,
  describe,
  FORMAT,
  filesBelow,
  HISTORY,
  MANIFEST,
  type Manifest,
  type OnProgress,
  sizeOf,
  syncPath,
  syncTree,
} from "./backup-folder.ts";

export interface BackUpOptions {
  readonly stateDir: string;
  /** The folder to make. */
  readonly target: string;
  /** The newest schema known. */
  readonly newest: number;
  readonly now: Date;
  readonly onProgress?: OnProgress | undefined;
}

export interface BackedUp {
  readonly manifest: Manifest;
  /** Why the history of figures is not in it, where there is one. */
  readonly withoutHistory: string | undefined;
}

const TRIES = 5;

/** Throws `BackupRefused`, and what the system says; then there is nothing of `target`. */
export async function backUp({ stateDir, target, newest, now, onProgress }: BackUpOptions): Promise<BackedUp> {
  const progress = onProgress ?? (() => undefined);
  if (existsSync(target))
    throw new BackupRefused(`${target} is there already: a backup is made in a folder of its own`);
  if (!existsSync(stateDir)) throw new BackupRefused(`there is no state folder ${stateDir}`);
  if (!existsSync(join(stateDir, DATABASE)))
    throw new BackupRefused(`${stateDir} is no state folder: it has no ${DATABASE}`);
  if (!relative(stateDir, target).startsWith(".."))
    throw new BackupRefused(`${target} is in the state folder: a backup goes elsewhere`);
  const partial = `${target}.partial`;
  try {
    for (let tries = 0; tries < TRIES; tries++) {
      rmSync(partial, { recursive: true, force: true });
      mkdirSync(partial, { recursive: true, mode: 0o700 });
      const schema = copyDatabase(stateDir, partial, newest);
      if (!copyFiles(stateDir, partial, progress)) continue;
      const withoutHistory = copyHistory(stateDir, partial);
      const files = await describe(partial, filesBelow(partial), progress);
      const manifest: Manifest = { format: FORMAT, schema, createdAt: now.toISOString(), files };
      writeFileSync(join(partial, MANIFEST), `${JSON.stringify(manifest, null, 2)}\n`, { mode: 0o600 });
      syncTree(partial);
      renameSync(partial, target);
      syncPath(dirname(target));
      return { manifest, withoutHistory };
    }
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
  throw new BackupRefused(`what domains were suspended to changed faster than it could be copied, ${TRIES} times`);
}

/** Gives its schema. */
function copyDatabase(stateDir: string, target: string, newest: number): number {
  const path = join(stateDir, DATABASE);
  try {
    copySqlite(path, join(target, DATABASE));
    return withDatabase(join(target, DATABASE), (copied) => {
      const schema = copied.pragma("user_version", { simple: true }) as number;
      if (schema > newest)
        throw new BackupRefused(
          `${stateDir} was written by a newer domzero (schema ${schema}; this one knows ${newest}): back it up with that one`,
        );
      checkIntegrity(copied);
      return schema;
    });
  } catch (error) {
    throw isDamage(error) ? new BackupRefused(`${path} is damaged (${error.message}): restore a backup`) : error;
  }
}

/** False when something changed under the copier's hands. */
function copyFiles(stateDir: string, target: string, onProgress: OnProgress): boolean {
  const { images, domains } = withDatabase(join(target, DATABASE), (copied) => ({
    images: copied.prepare("SELECT DISTINCT sha256 FROM images").pluck().all() as string[],
    domains: copied.prepare("SELECT uuid, state, runtime_version AS version FROM domains").all() as DomainRow[],
  }));
  const suspended = domains.filter(({ uuid, state }) => state === "suspended" || existsSync(imageOf(stateDir, uuid)));
  const logs = domains
    .map(({ uuid }) => join("console", uuid))
    .filter((folder) => existsSync(join(stateDir, folder)))
    .flatMap((folder) => readdirSync(join(stateDir, folder)).map((name) => join(folder, name)));
  const parts = [
    ...images.map((sha256) => join("images", sha256)),
    ...suspended.map(({ uuid }) => relative(stateDir, imageOf(stateDir, uuid))),
    ...logs,
    "token",
  ];
  const total = sizeOf(stateDir, parts);
  const missing = new Set<string>();
  let bytes = 0;
  for (const path of parts) {
    try {
      copyFile(join(stateDir, path), join(target, path));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      missing.add(path);
      continue;
    }
    bytes += statSync(join(target, path)).size;
    onProgress("copied", bytes, total);
  }
  return withDatabase(join(stateDir, DATABASE), (live) => {
    const version = live.prepare("SELECT runtime_version FROM domains WHERE uuid = ?").pluck();
    const wanted = live.prepare("SELECT 1 FROM images WHERE sha256 = ?").pluck();
    const gone = images.filter((sha256) => missing.has(join("images", sha256)));
    for (const sha256 of gone)
      if (wanted.get(sha256) !== undefined)
        throw new BackupRefused(`${join(stateDir, "images", sha256)} is missing: the state folder is damaged`);
    return gone.length === 0 && suspended.every((domain) => version.get(domain.uuid) === domain.version);
  });
}

/** Nothing of it is vital: one that cannot be copied is left out, and why is said. */
function copyHistory(stateDir: string, target: string): string | undefined {
  if (!existsSync(join(stateDir, HISTORY))) return undefined;
  try {
    copySqlite(join(stateDir, HISTORY), join(target, HISTORY));
    withDatabase(join(target, HISTORY), checkIntegrity);
    return undefined;
  } catch (error) {
    if (!isDamage(error)) throw error;
    rmSync(join(target, HISTORY), { force: true });
    return error.message;
  }
}

interface DomainRow {
  readonly uuid: string;
  readonly state: string;
  readonly version: number;
}

function imageOf(stateDir: string, uuid: string): string {
  return join(stateDir, "suspended", `${uuid}.suspended`);
}

/** As of one moment, whoever writes it. */
function copySqlite(from: string, to: string): void {
  withDatabase(from, (live) => live.prepare("VACUUM INTO ?").run(to));
}

function checkIntegrity(database: Database.Database): void {
  const found = database.pragma("integrity_check(1)", { simple: true });
  if (found !== "ok") throw new Damaged(String(found));
}

class Damaged extends Error {}

function isDamage(error: unknown): error is Error {
  return error instanceof Damaged || (error instanceof Database.SqliteError && /CORRUPT|NOTADB/.test(error.code));
}

function withDatabase<T>(path: string, use: (database: Database.Database) => T): T {
  const database = new Database(path, { readonly: true, fileMustExist: true });
  try {
    return use(database);
  } finally {
    database.close();
  }
}
