/**
 * Names of console log segments: `<consoleDir>/<uuid>/<absolute start offset, 16 digits>.log`.
 *
 * A log is the run of its last segments in which each begins where the one before it ends. Anything older than a gap is not
 * part of it.
 */
import { readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";

export interface Segment {
  readonly path: string;
  /** Absolute offset of its first byte. */
  readonly start: number;
  readonly size: number;
}

const NAME = /^(\d{16})\.log$/;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** The folder of a domain's log. The uuid must be one, in lower case: it becomes a name of a file. */
export function logFolder(consoleDir: string, uuid: string): string {
  if (!UUID.test(uuid)) throw new RangeError(`not a uuid: ${JSON.stringify(uuid)}`);
  return join(consoleDir, uuid);
}

export function isUuid(text: string): boolean {
  return UUID.test(text);
}

export function segmentPath(folder: string, start: number): string {
  return join(folder, `${String(start).padStart(16, "0")}.log`);
}

/** The segments of a log, oldest first; none if there is no folder. A segment that goes away meanwhile is not listed. */
export function segmentsOf(folder: string): Segment[] {
  const found: Segment[] = [];
  for (const name of namesIn(folder)) {
    const match = NAME.exec(name);
    if (match === null) continue;
    const path = join(folder, name);
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat?.isFile()) found.push({ path, start: Number(match[1]), size: stat.size });
  }
  found.sort((a, b) => a.start - b.start);
  let first = found.length - 1;
  while (first > 0 && found[first - 1].start + found[first - 1].size === found[first].start) first--;
  return found.slice(Math.max(first, 0));
}

/** Removes segments that are not among those of the log: what a gap has cut off. */
export function removeStrays(folder: string, segments: readonly { readonly path: string }[]): void {
  const kept = new Set(segments.map(({ path }) => path));
  for (const name of namesIn(folder)) {
    const path = join(folder, name);
    if (NAME.test(name) && !kept.has(path)) rmSync(path, { force: true });
  }
}

/** Removes a domain's log, if there is one. */
export function removeLog(consoleDir: string, uuid: string): void {
  rmSync(logFolder(consoleDir, uuid), { recursive: true, force: true });
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}
