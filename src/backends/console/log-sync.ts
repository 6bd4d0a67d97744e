/**
 * Puts on the disk what was written to console logs, behind the back of whoever writes.
 *
 * A file that was written to is synced a second later at the latest, or as soon as those before it have been: one at a time, off the
 * thread, and once however often it was written to meanwhile. So a power failure costs about the last second of output, and the disk sees a
 * bounded rate whatever guests print. `flush` is for moments after which nothing may be missing.
 */
import { open } from "node:fs/promises";

/** How long a written file may wait, in ns. */
export const SYNC_INTERVAL_NS = 1e9;

export interface LogSyncOptions {
  /** Resolves when the file, or the folder's list of files, is on the disk. */
  readonly sync?: (path: string) => Promise<void>;
  /** A file could not be synced: the file system's words. */
  readonly onFault: (text: string) => void;
}

export class LogSync {
  readonly #sync: (path: string) => Promise<void>;
  readonly #onFault: (text: string) => void;
  /** Written and not synced since, with the time that their wait began; the longest wait first. */
  readonly #written = new Map<string, number>();
  #underWay: Promise<void> | undefined;

  constructor({ sync = syncFile, onFault }: LogSyncOptions) {
    this.#sync = sync;
    this.#onFault = onFault;
  }

  /** A file or a folder has changed. */
  written(path: string, now: number): void {
    if (!this.#written.has(path)) this.#written.set(path, now);
  }

  /** Begins to sync what has waited long enough. When to call again, ns; Infinity when nothing waits. */
  run(now: number): number {
    const [first] = this.#written;
    if (first === undefined) return Number.POSITIVE_INFINITY;
    const due = first[1] + SYNC_INTERVAL_NS;
    if (this.#underWay !== undefined) return Math.max(due, now + SYNC_INTERVAL_NS);
    if (due > now) return due;
    const paths = [...this.#written].filter(([, since]) => since + SYNC_INTERVAL_NS <= now).map(([path]) => path);
    this.#begin(paths);
    return this.#written.size > 0 ? now + SYNC_INTERVAL_NS : Number.POSITIVE_INFINITY;
  }

  /** Resolves when all that was written up to now is on the disk; with a folder, when it, what is in it and its own place are. */
  async flush(folder = ""): Promise<void> {
    await this.#underWay;
    const paths = [...this.#written.keys()].filter((path) => path.startsWith(folder) || folder.startsWith(path));
    if (paths.length > 0) await this.#begin(paths);
  }

  #begin(paths: readonly string[]): Promise<void> {
    // What is written from here on waits for the next time.
    for (const path of paths) this.#written.delete(path);
    const before = this.#underWay;
    const work = (async () => {
      await before;
      for (const path of paths) {
        try {
          await this.#sync(path);
        } catch (error) {
          this.#onFault((error as Error).message);
        }
      }
    })();
    this.#underWay = work;
    void work.then(() => {
      if (this.#underWay === work) this.#underWay = undefined;
    });
    return work;
  }
}

/** One that is gone meanwhile needs no syncing. */
async function syncFile(path: string): Promise<void> {
  try {
    const file = await open(path, "r");
    try {
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}
