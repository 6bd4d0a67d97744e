/**
 * One service on a state folder, whatever ends the one before.
 *
 * The lock is the operating system's own lock on a file, which goes with its process, `kill -9` included: nothing can be
 * stale, and nobody has to guess from a pid. Node has no call for it; SQLite has, so an empty database that is never written
 * stands in as the lock file, held by an exclusive transaction that is never ended. It is not the state's database, which is
 * opened only by the holder of this lock.
 */

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";

export class StateLocked extends Error {}

export interface StateLock {
  release(): void;
}

/** Locks that are held. A database that nobody refers to is closed by the garbage collector, and its lock with it. */
const held = new Set<Database.Database>();

/** Makes the folder (mode 0700) where it is missing. Throws `StateLocked` when another process has it. */
export function lockState(stateDir: string): StateLock {
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  const pidFile = join(stateDir, "pid");
  const file = new Database(join(stateDir, "lock"), { timeout: 0 });
  try {
    // No journal: nothing is written, and a killed holder must leave nothing to recover.
    file.pragma("journal_mode = off");
    file.exec("BEGIN EXCLUSIVE");
  } catch (error) {
    file.close();
    if (!(error instanceof Database.SqliteError) || !error.code.startsWith("SQLITE_BUSY")) throw error;
    throw new StateLocked(`the state folder ${stateDir} is in use${holder(pidFile)}`);
  }
  writeFileSync(pidFile, `${process.pid}\n`, { mode: 0o600 });
  held.add(file);
  return {
    release() {
      held.delete(file);
      file.close();
    },
  };
}

/** Only for the message: the lock itself does not depend on it. */
function holder(pidFile: string): string {
  try {
    return ` by process ${readFileSync(pidFile, "utf8").trim()}`;
  } catch {
    return "";
  }
}
