/**
 * One WebSocket attached to a console, both ways, each with backpressure.
 *
 * Out: one chunk of the log is on its way at a time; a client that falls behind the log's oldest byte, or takes nothing for
 * half a minute, is told why (close code 4008) and cut. In: the socket is not read while the guest's input queue is full.
 */

import type { WebSocket } from "ws";
import type { Consoles } from "../toolstack/consoles.ts";
import type { Result } from "../toolstack/refusal.ts";
import { CONSOLE_CHUNK } from "./console-stream.ts";

export const CLOSE = { goingAway: 1001, accessEnded: 4003, domainGone: 4004, notRunning: 4009, tooSlow: 4008 } as const;

const STALL_MS = 30_000;
const RETRY_MS = 50;

interface ConsoleSocketOptions {
  readonly socket: WebSocket;
  readonly consoles: Consoles;
  readonly uuid: string;
  readonly offset: number;
  type(bytes: Uint8Array): Promise<Result<{ accepted: number }>>;
}

export class ConsoleSocket {
  readonly #options: ConsoleSocketOptions;
  readonly #unwatch: () => void;
  #offset: number;
  #sending = false;
  #input: Promise<void> = Promise.resolve();

  constructor(options: ConsoleSocketOptions) {
    const { socket, consoles, uuid } = options;
    this.#options = options;
    this.#offset = options.offset;
    this.#unwatch = consoles.watch(uuid, (what) => {
      if (what === "grown") this.#send();
      else this.#close(CLOSE.domainGone, "the domain was deleted");
    });
    socket.on("message", (data, binary) => this.#receive(data as Buffer, binary));
    socket.on("close", () => this.#unwatch());
    socket.on("error", () => socket.terminate());
    this.#send();
  }

  /** Its client may not have it any longer. */
  end(why: string): void {
    this.#close(CLOSE.accessEnded, why);
  }

  #send(): void {
    const { socket, consoles, uuid } = this.#options;
    if (this.#sending || socket.readyState !== socket.OPEN) return;
    const { start, bytes } = consoles.read(uuid, this.#offset, CONSOLE_CHUNK);
    if (bytes.length === 0) return;
    if (start > this.#offset) {
      this.#close(CLOSE.tooSlow, `fell behind: bytes ${this.#offset} to ${start} are cut from the log`);
      return;
    }
    this.#sending = true;
    const stalled = setTimeout(() => this.#close(CLOSE.tooSlow, "nothing was read for 30 s"), STALL_MS);
    socket.send(bytes, { binary: true }, (error) => {
      clearTimeout(stalled);
      this.#sending = false;
      if (error) return;
      this.#offset = start + bytes.length;
      this.#send();
    });
  }

  #receive(data: Buffer, binary: boolean): void {
    const { socket } = this.#options;
    // Text or binary, it is bytes for the guest.
    const bytes = binary ? data : Buffer.from(data);
    socket.pause();
    this.#input = this.#input.then(() => this.#type(bytes)).then(() => socket.resume());
  }

  async #type(bytes: Uint8Array): Promise<void> {
    const { socket, type } = this.#options;
    let rest = bytes;
    while (rest.length > 0 && socket.readyState === socket.OPEN) {
      const typed = await type(rest);
      if (!typed.ok && typed.code !== "console-full") {
        this.#close(CLOSE.notRunning, typed.detail);
        return;
      }
      rest = rest.subarray(typed.ok ? typed.value.accepted : (typed.accepted ?? 0));
      if (rest.length > 0) await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  /** A client that does not read does not see the reason either; a second later it is cut all the same. */
  #close(code: number, reason: string): void {
    const { socket } = this.#options;
    this.#unwatch();
    // A control frame carries 123 bytes of reason.
    socket.close(code, Buffer.from(reason).subarray(0, 123).toString());
    setTimeout(() => socket.terminate(), 1000).unref();
  }
}
