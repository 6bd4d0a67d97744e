/**
 * How one thread reaches another that may be asleep in `Atomics.wait`.
 *
 * The payload travels by MessagePort; a sleeping worker gets no MessagePort events, so each sleeper has a kick word: the sender
 * posts first and bumps the word after, the sleeper reads the word, drains its ports, and sleeps only while the word is unchanged.
 * So no message is ever left lying while its reader sleeps.
 */
import { type MessagePort, receiveMessageOnPort, type Transferable } from "node:worker_threads";

/** Wakes one worker. Shared by everyone who may write to it. */
export class KickWord {
  readonly #word: Int32Array;

  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(4)) {
    this.#word = new Int32Array(buffer);
  }

  get buffer(): SharedArrayBuffer {
    return this.#word.buffer as SharedArrayBuffer;
  }

  kick(): void {
    Atomics.add(this.#word, 0, 1);
    Atomics.notify(this.#word, 0);
  }

  /** The value to hand to `sleep`; read it before draining the ports. */
  read(): number {
    return Atomics.load(this.#word, 0);
  }

  /** Sleeps until kicked since `seen` was read, or for `ms` at most. */
  sleep(seen: number, ms: number): void {
    Atomics.wait(this.#word, 0, seen, ms);
  }
}

/** The sending side of a mailbox whose reader sleeps on `kick`. */
export class Outbox {
  readonly #port: MessagePort;
  readonly #kick: KickWord;

  constructor(port: MessagePort, kick: SharedArrayBuffer) {
    this.#port = port;
    this.#kick = new KickWord(kick);
  }

  post(message: unknown, transfer: readonly Transferable[] = []): void {
    this.#port.postMessage(message, [...transfer]);
    this.#kick.kick();
  }
}

/** Hands every message that waits on `port` to `handle`, in order. Returns how many there were. */
export function drain(port: MessagePort, handle: (message: unknown) => void): number {
  let count = 0;
  for (let next = receiveMessageOnPort(port); next !== undefined; next = receiveMessageOnPort(port)) {
    handle(next.message);
    count++;
  }
  return count;
}
