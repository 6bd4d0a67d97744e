/**
 * Console logs on disk: append-only segment files, bounded for each domain.
 *
 * A byte is written to its file before anyone is told of it, so a killed process loses nothing that was announced, and the next
 * one finds the end by the files alone. Offsets go on for the life of a domain, across its boots. Whoever owns the logs is told what
 * was written, to have it synced (log-sync.ts).
 */
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { logFolder, removeStrays, segmentPath, segmentsOf } from "./segments.ts";

export interface LogLimits {
  /** A segment that has this many bytes is followed by another. */
  readonly segmentBytes: number;
  /** At least the last so many bytes are kept; at most one segment more. */
  readonly keepBytes: number;
  /** Files that are kept open for all logs together. */
  readonly openFiles: number;
}

export const LOG_LIMITS: LogLimits = { segmentBytes: 256 * 1024, keepBytes: 1024 * 1024, openFiles: 256 };

/** All logs of a folder; one `ConsoleLog` for each domain that writes. */
export class ConsoleLogs {
  readonly #dir: string;
  readonly #limits: LogLimits;
  readonly #onWritten: (path: string) => void;
  readonly #logs = new Map<string, ConsoleLog>();
  /** Logs with an open file, least recently opened first. */
  readonly #open = new Set<ConsoleLog>();

  /** `onWritten` is told of each file that was written to, and of each folder with a new file. */
  constructor(dir: string, limits: LogLimits = LOG_LIMITS, onWritten: (path: string) => void = () => {}) {
    this.#dir = dir;
    this.#limits = limits;
    this.#onWritten = onWritten;
  }

  /** Where a domain's log is. */
  folder(uuid: string): string {
    return logFolder(this.#dir, uuid);
  }

  /** The log of a domain, going on where it ended. Throws if the folder cannot be made or read. */
  open(uuid: string): ConsoleLog {
    let log = this.#logs.get(uuid);
    if (log === undefined) {
      const folder = this.folder(uuid);
      mkdirSync(folder, { recursive: true });
      log = new ConsoleLog(folder, this.#limits, (opened) => this.#opened(opened), this.#onWritten);
      this.#logs.set(uuid, log);
    }
    return log;
  }

  /** Closes a domain's log; it may be opened again. */
  close(uuid: string): void {
    const log = this.#logs.get(uuid);
    if (log === undefined) return;
    log.closeFile();
    this.#open.delete(log);
    this.#logs.delete(uuid);
  }

  #opened(log: ConsoleLog): void {
    this.#open.delete(log);
    this.#open.add(log);
    for (const oldest of this.#open) {
      if (this.#open.size <= this.#limits.openFiles) break;
      oldest.closeFile();
      this.#open.delete(oldest);
    }
  }
}

export class ConsoleLog {
  readonly #folder: string;
  readonly #limits: LogLimits;
  readonly #onOpen: (log: ConsoleLog) => void;
  readonly #onWritten: (path: string) => void;
  readonly #segments: { readonly path: string; readonly start: number; size: number }[];
  #file: number | undefined;

  constructor(folder: string, limits: LogLimits, onOpen: (log: ConsoleLog) => void, onWritten: (path: string) => void) {
    this.#folder = folder;
    this.#limits = limits;
    this.#onOpen = onOpen;
    this.#onWritten = onWritten;
    this.#segments = segmentsOf(folder).map(({ path, start, size }) => ({ path, start, size }));
    removeStrays(folder, this.#segments);
  }

  /** Absolute offset after the last byte. */
  get end(): number {
    const last = this.#segments.at(-1);
    return last === undefined ? 0 : last.start + last.size;
  }

  /** Writes bytes at the end. Throws what the file system says; then `end` tells how much of them is there. */
  append(bytes: Uint8Array): void {
    let done = 0;
    while (done < bytes.length) {
      const segment = this.#current();
      const room = this.#limits.segmentBytes - segment.size;
      const file = this.#fileOf(segment.path);
      const written = writeSync(file, bytes, done, Math.min(bytes.length - done, room));
      if (segment.start === 0 && segment.size === 0) this.#onWritten(dirname(this.#folder));
      if (segment.size === 0) this.#onWritten(this.#folder);
      this.#onWritten(segment.path);
      segment.size += written;
      done += written;
    }
  }

  closeFile(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  /** The segment that has room. */
  #current(): { readonly path: string; readonly start: number; size: number } {
    const last = this.#segments.at(-1);
    if (last !== undefined && last.size < this.#limits.segmentBytes) return last;
    this.closeFile();
    const start = this.end;
    const segment = { path: segmentPath(this.#folder, start), start, size: 0 };
    this.#segments.push(segment);
    while (this.#segments.length > 1 && start - this.#segments[1].start >= this.#limits.keepBytes) {
      rmSync(this.#segments[0].path, { force: true });
      this.#segments.shift();
    }
    return segment;
  }

  #fileOf(path: string): number {
    if (this.#file === undefined) {
      mkdirSync(this.#folder, { recursive: true });
      this.#file = openSync(path, "a", 0o600);
      this.#onOpen(this);
    }
    return this.#file;
  }
}
