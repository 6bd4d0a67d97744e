/**
 * A consistent copy of a state folder, of one that a service works on too, as a folder with a manifest; and the way back.
 *
 * The database is copied first, as of one moment. What it refers to is immutable under its name but for suspend images: those are looked at
 * again when they are copied, and the copy is made anew where one has changed. A backup has its name when all of it is on the disk. Nothing
 * of it is believed that its manifest's digests do not confirm.
 */

import { createHash } from "node:crypto";
import {
  closeSync,
  constants,
  copyFileSync,
  createReadStream,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import Database from "better-sqlite3";

/** Why a backup cannot be made or loaded, in a sentence. */
export class BackupRefused extends Error {}

interface BackedUpFile {
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
}

interface Manifest {
  readonly format: number;
  /** `user_version` of the database. */
  readonly schema: number;
  readonly createdAt: string;
  readonly files: readonly BackedUpFile[];
}

const FORMAT = 1;
const DATABASE = "domzero.db";
const MANIFEST = "manifest.json";
const TRIES = 5;

/** Makes the folder `target`. Throws `BackupRefused`. */
export async function backUp(stateDir: string, target: string, now: Date): Promise<Manifest> {
  if (existsSync(target)) throw new BackupRefused(`${target} is there already`);
  if (!existsSync(join(stateDir, DATABASE))) throw new BackupRefused(`${stateDir} is no state folder`);
  const partial = `${target}.partial`;
  try {
    for (let tries = 0; tries < TRIES; tries++) {
      rmSync(partial, { recursive: true, force: true });
      mkdirSync(partial, { recursive: true, mode: 0o700 });
      if (!copyState(stateDir, partial)) continue;
      const manifest = await describe(partial, now);
      writeFileSync(join(partial, MANIFEST), `${JSON.stringify(manifest, null, 2)}\n`, { mode: 0o600 });
      syncTree(partial);
      renameSync(partial, target);
      syncPath(dirname(target));
      return manifest;
    }
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
  throw new BackupRefused(`domains were suspended and resumed faster than they could be copied, ${TRIES} times`);
}

/** Makes the folder `stateDir` of a backup. `newest` is the newest schema known. Throws `BackupRefused`. */
export async function restore(source: string, stateDir: string, newest: number): Promise<Manifest> {
  if (existsSync(stateDir) && readdirSync(stateDir).length > 0)
    throw new BackupRefused(`${stateDir} is not empty: a backup is loaded into a folder of its own`);
  const manifest = readManifest(source);
  if (manifest.format > FORMAT || manifest.schema > newest)
    throw new BackupRefused(
      `${source} was made by a newer domzero (format ${manifest.format}, schema ${manifest.schema}; this one knows ${FORMAT} and ${newest})`,
    );
  for (const file of manifest.files) {
    const found = await digest(source, file.path).catch(() => undefined);
    if (!found) throw new BackupRefused(`${join(source, file.path)} is missing`);
    if (found.sha256 !== file.sha256)
      throw new BackupRefused(
        `${join(source, file.path)} is damaged: ${found.bytes} bytes with SHA-256 ${found.sha256}, not ${file.bytes} with ${file.sha256}`,
      );
  }
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  for (const { path } of manifest.files) copy(join(source, path), join(stateDir, path));
  syncTree(stateDir);
  syncPath(dirname(stateDir));
  return manifest;
}

/** False when a suspend image changed under the copier's hands. */
function copyState(stateDir: string, target: string): boolean {
  const live = new Database(join(stateDir, DATABASE), { readonly: true });
  try {
    live.prepare("VACUUM INTO ?").run(join(target, DATABASE));
    const copied = new Database(join(target, DATABASE));
    try {
      copied.pragma("journal_mode = delete");
      const images = copied.prepare("SELECT DISTINCT sha256 FROM images").all() as { sha256: string }[];
      for (const { sha256 } of images) copy(join(stateDir, "images", sha256), join(target, "images", sha256));
      const asleep = copied
        .prepare("SELECT uuid, runtime_version AS version FROM domains WHERE state = 'suspended'")
        .all() as { uuid: string; version: number }[];
      for (const { uuid } of asleep) {
        const path = join("suspended", `${uuid}.suspended`);
        if (existsSync(join(stateDir, path))) copy(join(stateDir, path), join(target, path));
      }
      const now = live.prepare("SELECT runtime_version AS version FROM domains WHERE uuid = ?");
      if (asleep.some(({ uuid, version }) => (now.get(uuid) as { version: number } | undefined)?.version !== version))
        return false;
      for (const { uuid } of copied.prepare("SELECT uuid FROM domains").all() as { uuid: string }[])
        for (const file of filesOf(join(stateDir, "console", uuid)))
          copy(join(stateDir, "console", uuid, file), join(target, "console", uuid, file));
    } finally {
      copied.close();
    }
  } finally {
    live.close();
  }
  if (existsSync(join(stateDir, "token"))) copy(join(stateDir, "token"), join(target, "token"));
  return true;
}

function copy(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true, mode: 0o700 });
  try {
    copyFileSync(from, to, constants.COPYFILE_FICLONE);
  } catch (error) {
    // A log's oldest segment goes when a new one begins.
    if ((error as NodeJS.ErrnoException).code !== "ENOENT" || !from.includes("/console/")) throw error;
  }
}

/** Everything in a folder is on the disk, and the folder itself. */
function syncTree(folder: string): void {
  for (const path of readdirSync(folder, { recursive: true, encoding: "utf8" })) syncPath(join(folder, path));
  syncPath(folder);
}

/** A file's bytes, or a folder's names, are on the disk. */
function syncPath(path: string): void {
  const handle = openSync(path, "r");
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

function filesOf(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

async function describe(folder: string, now: Date): Promise<Manifest> {
  const database = new Database(join(folder, DATABASE), { readonly: true });
  const schema = database.pragma("user_version", { simple: true }) as number;
  database.close();
  const paths = readdirSync(folder, { recursive: true, encoding: "utf8" });
  const files = paths.filter((path) => statSync(join(folder, path)).isFile()).sort();
  const described: BackedUpFile[] = [];
  for (const path of files) described.push(await digest(folder, path));
  return { format: FORMAT, schema, createdAt: now.toISOString(), files: described };
}

async function digest(folder: string, path: string): Promise<BackedUpFile> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of createReadStream(join(folder, path))) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  return { path, bytes, sha256: hash.digest("hex") };
}

function readManifest(source: string): Manifest {
  try {
    const manifest = JSON.parse(readFileSync(join(source, MANIFEST), "utf8")) as Manifest;
    const named = manifest.files.every(({ path }) => !path.startsWith("/") && !path.split("/").includes(".."));
    if (named && Number.isInteger(manifest.format) && Number.isInteger(manifest.schema)) return manifest;
  } catch {
    // Said below.
  }
  throw new BackupRefused(`${join(source, MANIFEST)} is missing or damaged: ${source} is no backup`);
}
