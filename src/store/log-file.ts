/** The write-ahead log of a database as a file: only to put on the disk what SQLite has written to it. */

import { closeSync, fdatasync, fdatasyncSync, openSync } from "node:fs";
import type { LogSync } from "./group-commit.ts";

export class LogFile implements LogSync {
  readonly #handle: number;

  /** The log is there as soon as something was written to the database, and until its last connection closes. */
  constructor(databasePath: string) {
    this.#handle = openSync(`${databasePath}-wal`, "r");
  }

  later(done: (error: Error | null) => void): void {
    fdatasync(this.#handle, done);
  }

  now(): void {
    fdatasyncSync(this.#handle);
  }

  close(): void {
    closeSync(this.#handle);
  }
}
