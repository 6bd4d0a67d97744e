/**
 * Reads console logs that another thread writes, without talking to it: the files say all.
 *
 * Calls are synchronous and short: a listing of a few segments and at most `MAX_READ` bytes from the page cache.
 */
import { closeSync, openSync, readdirSync, readSync } from "node:fs";
import { isUuid, logFolder, removeLog, type Segment, segmentsOf } from "./segments.ts";

/** The most that one call reads. */
const MAX_READ = 256 * 1024;

export interface ConsoleRead {
  /** Absolute offset of the first byte of `bytes`: what was asked for, or the oldest byte kept if that is later, or the end. */
  readonly start: number;
  readonly bytes: Uint8Array;
  /** Absolute end of the log as it was when read. */
  readonly end: number;
}

export class ConsoleLogReader {
  readonly #dir: string;

  constructor(consoleDir: string) {
    this.#dir = consoleDir;
  }

  /**
   * Up to `max` bytes from an absolute offset. A log that does not exist is empty. An offset beyond the end answers no bytes
   * and the end as start.
   */
  read(uuid: string, offset: number, max: number): ConsoleRead {
    const folder = logFolder(this.#dir, uuid);
    // A segment may go between listing and opening; then the listing has changed and is made again.
    for (let attempt = 0; ; attempt++) {
      const segments = segmentsOf(folder);
      if (segments.length === 0) return { start: 0, bytes: new Uint8Array(0), end: 0 };
      const last = segments[segments.length - 1];
      const end = last.start + last.size;
      const start = Math.min(Math.max(offset, segments[0].start), end);
      try {
        return { start, bytes: readFrom(segments, start, Math.min(max, MAX_READ, end - start)), end };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOENT" || attempt >= 5) throw error;
      }
    }
  }

  /** Drops the log of a domain. */
  remove(uuid: string): void {
    removeLog(this.#dir, uuid);
  }

  /** Uuids of the domains that have a log. */
  list(): readonly string[] {
    try {
      return readdirSync(this.#dir).filter(isUuid);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
      throw error;
    }
  }
}

/** Exactly `length` bytes from an offset within the segments. */
function readFrom(segments: readonly Segment[], start: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let done = 0;
  for (const segment of segments) {
    const at = start + done - segment.start;
    if (done === length) break;
    if (at >= segment.size) continue;
    const file = openSync(segment.path, "r");
    try {
      const wanted = Math.min(length - done, segment.size - at);
      for (let got = 0; got < wanted; ) {
        const some = readSync(file, bytes, done + got, wanted - got, at + got);
        if (some === 0) return bytes.subarray(0, done + got);
        got += some;
      }
      done += wanted;
    } finally {
      closeSync(file);
    }
  }
  return bytes;
}
