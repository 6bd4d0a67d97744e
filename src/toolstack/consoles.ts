/** Console logs with followers: who reads them is told of growth, and of the end when a domain is deleted. */

import type { DomctlEvent } from "../machine/domctl.ts";
import type { ConsoleLog } from "./ports.ts";

/** `grown`: there is more to read. `gone`: the domain was deleted. */
type ConsoleListener = (what: "grown" | "gone") => void;

export interface ConsoleSlice {
  /** Absolute offset of the first byte given; later than asked when the log was cut before it. */
  readonly start: number;
  readonly bytes: Uint8Array;
  /** Absolute offset of the end of the log. */
  readonly end: number;
}

export class Consoles {
  readonly #log: ConsoleLog;
  readonly #listeners = new Map<string, Set<ConsoleListener>>();

  constructor(log: ConsoleLog) {
    this.#log = log;
  }

  read(uuid: string, offset: number, max: number): ConsoleSlice {
    return this.#log.read(uuid, offset, max);
  }

  /** Up to `max` bytes however many reads that takes: a read gives what is cheap to give at once. */
  readAll(uuid: string, offset: number, max: number): ConsoleSlice {
    const first = this.read(uuid, offset, max);
    const parts = [first.bytes];
    let at = first.start + first.bytes.length;
    while (at < first.end && at - first.start < max) {
      const next = this.read(uuid, at, max - (at - first.start));
      // Cut in between: what follows is not what came before.
      if (next.start !== at || next.bytes.length === 0) break;
      parts.push(next.bytes);
      at += next.bytes.length;
    }
    return { ...first, bytes: parts.length === 1 ? first.bytes : Buffer.concat(parts) };
  }

  /** The last `most` bytes as text, from the beginning of a line where there is one. */
  tail(uuid: string, most: number): string {
    const { end } = this.read(uuid, Number.MAX_SAFE_INTEGER, 1);
    const { start, bytes } = this.readAll(uuid, Math.max(0, end - most), most);
    const line = start > 0 ? bytes.indexOf(0x0a) + 1 : 0;
    return Buffer.from(bytes.subarray(line)).toString("utf8");
  }

  watch(uuid: string, listener: ConsoleListener): () => void {
    const listeners = this.#listeners.get(uuid) ?? new Set();
    this.#listeners.set(uuid, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0) this.#listeners.delete(uuid);
    };
  }

  handle(event: DomctlEvent): void {
    if (event.kind === "console") this.#tell(event.uuid, "grown");
  }

  forget(uuid: string): void {
    this.#log.remove(uuid);
    this.#tell(uuid, "gone");
  }

  /** Drops logs whose domain is not there any more. */
  recover(exists: (uuid: string) => boolean): void {
    for (const uuid of this.#log.list()) if (!exists(uuid)) this.#log.remove(uuid);
  }

  #tell(uuid: string, what: "grown" | "gone"): void {
    for (const listener of [...(this.#listeners.get(uuid) ?? [])]) listener(what);
  }
}
