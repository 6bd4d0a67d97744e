/**
 * A watch on xenstore as Server-Sent Events: one with the watched path at once, then one for each path that changed at or below it.
 *
 * What a slow client has not taken yet is kept as a set of paths, so it costs a bounded buffer; when the set is full the watched path
 * alone stands for all below it, as everywhere on the way here.
 */

import type { ServerResponse } from "node:http";

const MOST_PATHS = 1024;
const PING_MS = 15_000;

export class XenstoreStream {
  readonly #raw: ServerResponse;
  /** Paths to tell when the client takes them. */
  readonly #waiting = new Set<string>();
  #path = "";
  #full = false;

  constructor(raw: ServerResponse) {
    this.#raw = raw;
  }

  /** Headers are sent; what was told before waits for this. `path`: the watched one, absolute. */
  start(path: string): void {
    this.#path = path;
    const ping = setInterval(() => {
      if (!this.#full) this.#write("event: ping\ndata: {}\n\n");
    }, PING_MS);
    ping.unref();
    this.#raw.on("drain", () => {
      this.#full = false;
      this.#writeAll();
    });
    this.#raw.once("close", () => clearInterval(ping));
    this.#raw.write("retry: 1000\n\n");
    this.#writeAll();
  }

  changed(paths: readonly string[]): void {
    for (const path of paths) this.#waiting.add(path);
    if (this.#path !== "") this.#writeAll();
  }

  /** What was watched is there no more: the client should ask again for what is there now. */
  gone(detail: string): void {
    if (!this.#raw.writableEnded) this.#raw.end(`event: gone\ndata: ${JSON.stringify({ detail })}\n\n`);
  }

  #writeAll(): void {
    if (this.#waiting.size > MOST_PATHS) {
      this.#waiting.clear();
      this.#waiting.add(this.#path);
    }
    for (const path of this.#waiting) {
      if (this.#full) return;
      this.#waiting.delete(path);
      this.#write(`event: changed\ndata: ${JSON.stringify({ path })}\n\n`);
    }
  }

  #write(text: string): void {
    const { destroyed, writableEnded } = this.#raw;
    if (!destroyed && !writableEnded && !this.#raw.write(text)) this.#full = true;
  }
}
