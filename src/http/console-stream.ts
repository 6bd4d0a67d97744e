/**
 * A console log as a stream that goes on as the guest prints.
 *
 * It pulls: nothing is read before the client has taken what was read before, so a client that never reads costs one chunk.
 * One that falls so far behind that the log was cut after its place is cut off, never silently skipped ahead.
 */

import { Readable } from "node:stream";
import type { Consoles } from "../toolstack/consoles.ts";

export const CONSOLE_CHUNK = 64 * 1024;

export class ConsoleStream extends Readable {
  readonly #consoles: Consoles;
  readonly #uuid: string;
  readonly #unwatch: () => void;
  #offset: number;
  #wanted = false;
  #gone = false;

  /** `offset` is a place that is in the log now. */
  constructor(consoles: Consoles, uuid: string, offset: number) {
    super({ highWaterMark: CONSOLE_CHUNK });
    this.#consoles = consoles;
    this.#uuid = uuid;
    this.#offset = offset;
    this.#unwatch = consoles.watch(uuid, (what) => {
      if (what === "gone") this.#gone = true;
      if (this.#wanted) this.#pull();
    });
  }

  override _read(): void {
    this.#pull();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#unwatch();
    callback(error);
  }

  #pull(): void {
    this.#wanted = false;
    if (this.#gone) {
      this.push(null);
      return;
    }
    const { start, bytes } = this.#consoles.read(this.#uuid, this.#offset, CONSOLE_CHUNK);
    if (bytes.length === 0) {
      this.#wanted = true;
      return;
    }
    if (start > this.#offset) {
      this.destroy(new Error(`the reader fell behind: bytes ${this.#offset} to ${start} are cut from the log`));
      return;
    }
    this.#offset = start + bytes.length;
    this.push(bytes);
  }
}
