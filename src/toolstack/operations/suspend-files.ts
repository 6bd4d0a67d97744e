/**
 * The files of suspended domains: `<folder>/<uuid>.suspended`.
 *
 * A file is spent before its domain runs again: an instance that has run and its file never exist together after a restart, so no guest
 * is run twice from the same moment. Where a domain's `onHostCrash` asks for just that, the file stays: its restore point.
 */

import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { renameDurably } from "../durable-files.ts";

const SUFFIX = ".suspended";

export class SuspendFiles {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  }

  path(uuid: string): string {
    return join(this.#folder, `${uuid}${SUFFIX}`);
  }

  exists(uuid: string): boolean {
    return existsSync(this.path(uuid));
  }

  /** Bytes of a file that is being written; 0 when there is none. */
  bytesWritten(uuid: string): number {
    const path = [this.path(uuid), `${this.path(uuid)}.tmp`].find(existsSync);
    return (path && statSync(path, { throwIfNoEntry: false })?.size) || 0;
  }

  /** When this resolves the file counts for nothing, whatever becomes of the machine, unless it is unspent. */
  async spend(uuid: string): Promise<void> {
    await renameDurably(this.path(uuid), this.#spent(uuid));
  }

  /** Takes `spend` back; nothing when the file is not spent. */
  async unspend(uuid: string): Promise<void> {
    if (existsSync(this.#spent(uuid))) await renameDurably(this.#spent(uuid), this.path(uuid));
  }

  /** Drops what was spent. */
  removeSpent(uuid: string): void {
    rmSync(this.#spent(uuid), { force: true });
  }

  /** Drops what there is of a domain. */
  remove(uuid: string): void {
    rmSync(this.path(uuid), { force: true });
    rmSync(this.#spent(uuid), { force: true });
  }

  /** After a restart: keeps the files that `suspended` wants, drops all others, half-made and spent ones too. */
  recover(suspended: (uuid: string) => boolean): void {
    for (const file of readdirSync(this.#folder)) {
      const uuid = file.endsWith(SUFFIX) ? file.slice(0, -SUFFIX.length) : undefined;
      if (uuid === undefined || !suspended(uuid)) rmSync(join(this.#folder, file), { force: true });
    }
  }

  #spent(uuid: string): string {
    return `${this.path(uuid)}.spent`;
  }
}
