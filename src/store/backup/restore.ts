/**
 * Makes a state folder of a backup.
 *
 * The backup is checked whole before anything is written. The folder is locked meanwhile, as by a service, and its database comes last: without
 * it, no service starts on what is there.
 */

import { existsSync, readdirSync, renameSync, rmdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { lockState } from "../state-lock.ts";
import {
  BackupRefused,
  copyFile,
  DATABASE,
  describe,
  FORMAT,
  type Manifest,
  type OnProgress,
  readManifest,
  syncPath,
  syncTree,
} from "./backup-folder.ts";

export interface RestoreOptions {
  readonly source: string;
  /** The folder to make: it is not there, or empty. */
  readonly stateDir: string;
  /** The newest schema known. */
  readonly newest: number;
  readonly onProgress?: OnProgress | undefined;
}

/** Throws `BackupRefused`, `StateLocked`, and what the system says; then the folder is as it was. */
export async function restore(options: RestoreOptions): Promise<Manifest> {
  const { source, stateDir, newest, onProgress = () => undefined } = options;
  if (!existsSync(source)) throw new BackupRefused(`there is no folder ${source}`);
  const manifest = readManifest(source);
  if (manifest.format > FORMAT || manifest.schema > newest)
    throw new BackupRefused(
      `${source} was made by a newer domzero (format ${manifest.format}, schema ${manifest.schema}; this one knows ${FORMAT} and ${newest})`,
    );
  await check(source, manifest, onProgress);
  const made = !existsSync(stateDir);
  const empty = made || readdirSync(stateDir).length === 0;
  const lock = lockState(stateDir);
  try {
    if (!empty || existsSync(join(stateDir, DATABASE)))
      throw new BackupRefused(
        `${stateDir} is not empty: a backup is loaded into a folder of its own; move this one away, or name another in DOMZERO_STATE_DIR`,
      );
    write(source, stateDir, manifest, onProgress);
  } catch (error) {
    if (empty) clear(stateDir);
    if (made) rmdirSync(stateDir);
    throw error;
  } finally {
    lock.release();
  }
  return manifest;
}

function clear(folder: string): void {
  for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true, force: true });
}

/** Every file is as the manifest says, and the database is among them. */
async function check(source: string, { files }: Manifest, onProgress: OnProgress): Promise<void> {
  const missing = [DATABASE, ...files.map(({ path }) => path)].find((path) => !existsSync(join(source, path)));
  if (missing !== undefined) throw new BackupRefused(`${join(source, missing)} is missing: the backup is damaged`);
  const paths = files.map(({ path }) => path);
  if (!paths.includes(DATABASE)) throw new BackupRefused(`${source} is damaged: its manifest names no ${DATABASE}`);
  for (const [index, { path, bytes, sha256 }] of (await describe(source, paths, onProgress)).entries()) {
    const file = files[index];
    if (file.sha256 === sha256) continue;
    throw new BackupRefused(
      `${join(source, path)} is damaged: ${bytes} bytes with SHA-256 ${sha256}, not ${file.bytes} with ${file.sha256}`,
    );
  }
}

function write(source: string, stateDir: string, { files }: Manifest, onProgress: OnProgress): void {
  const total = files.reduce((sum, file) => sum + file.bytes, 0);
  const unnamed = join(stateDir, `${DATABASE}.restored`);
  let written = 0;
  for (const { path, bytes } of files) {
    copyFile(join(source, path), path === DATABASE ? unnamed : join(stateDir, path));
    written += bytes;
    onProgress("copied", written, total);
  }
  syncTree(stateDir);
  renameSync(unnamed, join(stateDir, DATABASE));
  syncPath(stateDir);
  syncPath(dirname(stateDir));
}
