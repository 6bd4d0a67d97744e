/**
 * A backup as it lies on the disk: a folder with a manifest that names every other file with its size and SHA-256. Nothing in it is believed
 * that its manifest's digests do not confirm.
 */

import { createHash } from "node:crypto";
import {
  closeSync,
  constants,
  copyFileSync,
  createReadStream,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
} from "node:fs";
import { dirname, join } from "node:path";

/** Why a backup cannot be made or loaded, in a sentence. */
export class BackupRefused extends Error {}

export interface BackedUpFile {
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
}

export interface Manifest {
  readonly format: number;
  /** `user_version` of the database. */
  readonly schema: number;
  readonly createdAt: string;
  readonly files: readonly BackedUpFile[];
}

/** Told now and then how much of the work is done, in bytes read. */
export type OnProgress = (doing: "checked" | "copied", bytes: number, ofBytes: number) => void;

export const FORMAT = 1;
export const DATABASE = "domzero.db";
export const HISTORY = "metrics.db";
export const MANIFEST = "manifest.json";

/** Throws `BackupRefused` for a folder that is none. */
export function readManifest(source: string): Manifest {
  const path = join(source, MANIFEST);
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const why = { ENOENT: "is missing", ENOTDIR: "is missing" }[(error as NodeJS.ErrnoException).code ?? ""];
    throw new BackupRefused(why ? `${source} is no backup: ${path} ${why}` : (error as Error).message);
  }
  try {
    const manifest = JSON.parse(text) as Manifest;
    const named = manifest.files.every(({ path }) => !path.startsWith("/") && !path.split("/").includes(".."));
    if (named && Number.isInteger(manifest.format) && Number.isInteger(manifest.schema)) return manifest;
  } catch {
    // Said below.
  }
  throw new BackupRefused(`${path} is damaged: it is no list of files`);
}

/** Sizes and digests of `paths` in `folder`, in order. */
export async function describe(
  folder: string,
  paths: readonly string[],
  onProgress: OnProgress,
): Promise<BackedUpFile[]> {
  const total = sizeOf(folder, paths);
  const described: BackedUpFile[] = [];
  let before = 0;
  for (const path of paths) {
    const file = await digest(folder, path, (bytes) => onProgress("checked", before + bytes, total));
    described.push(file);
    before += file.bytes;
  }
  return described;
}

async function digest(folder: string, path: string, onBytes: (bytes: number) => void): Promise<BackedUpFile> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of createReadStream(join(folder, path), { highWaterMark: 2 ** 20 })) {
    hash.update(chunk);
    bytes += chunk.length;
    onBytes(bytes);
  }
  return { path, bytes, sha256: hash.digest("hex") };
}

/** Bytes of those of `paths` that are there. */
export function sizeOf(folder: string, paths: readonly string[]): number {
  return paths.reduce((sum, path) => sum + (statSync(join(folder, path), { throwIfNoEntry: false })?.size ?? 0), 0);
}

/** Every file below a folder, in order. */
export function filesBelow(folder: string): string[] {
  const paths = readdirSync(folder, { recursive: true, encoding: "utf8" });
  return paths.filter((path) => statSync(join(folder, path)).isFile()).sort();
}

/** A file with its folders; shares its blocks where the file system can. Throws what the system says. */
export function copyFile(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true, mode: 0o700 });
  copyFileSync(from, to, constants.COPYFILE_FICLONE);
}

/** Everything in a folder is on the disk, and the folder itself. */
export function syncTree(folder: string): void {
  for (const path of readdirSync(folder, { recursive: true, encoding: "utf8" })) syncPath(join(folder, path));
  syncPath(folder);
}

/** A file's bytes, or a folder's names, are on the disk. */
export function syncPath(path: string): void {
  const handle = openSync(path, "r");
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}
