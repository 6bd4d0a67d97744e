/**
 * A guest's console (xen/io/console.h): what it prints goes to its log, what is typed goes to its input ring.
 *
 * A flooding guest is slowed down, not cut: when its bucket is empty its bytes stay in its own ring. Input waits in a bounded queue for
 * room in the ring; some guests take input without saying so, so while any waits the ring is looked at again.
 */
import { XENCONS_IN_SIZE, XENCONS_OUT_SIZE, XenconsInterface } from "../../abi/io-console.ts";
import { ConsumerRing, HOSTILE, ProducerRing } from "../ring.ts";
import type { ConsoleLog } from "./log.ts";
import { TokenBucket } from "./token-bucket.ts";

export interface ConsoleRate {
  readonly bytesPerSecond: number;
  /** Bytes that pass at once after silence. */
  readonly burst: number;
}

export const CONSOLE_RATE: ConsoleRate = { bytesPerSecond: 8 * 1024 * 1024, burst: 2 * 1024 * 1024 };

/** Bytes that may wait to be typed. */
export const INPUT_QUEUE_BYTES = 64 * 1024;

const INPUT_RETRY_NS = 20e6;

export interface ConsoleService {
  /** The guest has something to see: send its event. */
  readonly notify: boolean;
  /** When to come again without an event, ns; Infinity if only an event matters. */
  readonly again: number;
}

const layout = XenconsInterface.offsets;

export class GuestConsole {
  readonly #log: ConsoleLog;
  readonly #output: ConsumerRing;
  readonly #input: ProducerRing;
  readonly #bucket: TokenBucket;
  readonly #rate: ConsoleRate;
  readonly #chunk = new Uint8Array(XENCONS_OUT_SIZE);
  readonly #queue: Uint8Array[] = [];
  #queued = 0;
  #fault: string | undefined;
  #logFault: string | undefined;

  /** `page` is the byte offset of the interface page in the guest's memory. */
  constructor(buffer: ArrayBufferLike, page: number, log: ConsoleLog, rate: ConsoleRate, now: number) {
    this.#log = log;
    this.#rate = rate;
    this.#bucket = new TokenBucket(rate.bytesPerSecond, rate.burst, now);
    this.#output = new ConsumerRing(buffer, {
      data: page + layout.out,
      size: XENCONS_OUT_SIZE,
      consumer: page + layout.outCons,
      producer: page + layout.outProd,
    });
    this.#input = new ProducerRing(buffer, {
      data: page + layout.in,
      size: XENCONS_IN_SIZE,
      consumer: page + layout.inCons,
      producer: page + layout.inProd,
    });
  }

  /** Why the console has stopped for good, if it has. */
  get fault(): string | undefined {
    return this.#fault;
  }

  /** Why output could not be kept, if the last could not: the file system's words. */
  get logFault(): string | undefined {
    return this.#logFault;
  }

  /** Absolute end of the log. */
  get end(): number {
    return this.#log.end;
  }

  /** Queues bytes to be typed; how many had room. */
  type(bytes: Uint8Array): number {
    const accepted = this.#fault === undefined ? Math.min(bytes.length, INPUT_QUEUE_BYTES - this.#queued) : 0;
    if (accepted === 0) return 0;
    this.#queue.push(bytes.slice(0, accepted));
    this.#queued += accepted;
    return accepted;
  }

  /** What was typed and has not been in the ring yet; it stays queued. */
  waiting(): Uint8Array {
    return Buffer.concat(this.#queue, this.#queued);
  }

  /** Moves what can be moved, both ways. */
  service(now: number): ConsoleService {
    if (this.#fault !== undefined) return { notify: false, again: Number.POSITIVE_INFINITY };
    const typed = this.#feed();
    const available = this.#output.available();
    if (available === HOSTILE) this.#fault = "the output ring's indices claim more than it holds";
    const taken = available > 0 ? this.#bucket.take(available, now) : 0;
    this.#print(taken);
    let again = Number.POSITIVE_INFINITY;
    if (this.#fault === undefined) {
      if (taken < available) again = this.#bucket.readyAt(this.#rate.burst / 8, now);
      else if (taken > 0 && this.#output.available() !== 0) again = now;
      if (this.#queued > 0) again = Math.min(again, now + INPUT_RETRY_NS);
    }
    return { notify: typed || taken > 0, again };
  }

  /** Takes the last of the output, at whatever rate, when the guest has ended. */
  drain(): void {
    if (this.#fault === undefined) this.#print(Math.max(0, this.#output.available()));
  }

  #print(count: number): void {
    if (count === 0) return;
    const bytes = this.#chunk.subarray(0, count);
    this.#output.read(bytes);
    try {
      this.#log.append(bytes);
      this.#logFault = undefined;
    } catch (error) {
      this.#logFault = (error as Error).message;
    }
  }

  /** Moves queued input into the ring. */
  #feed(): boolean {
    let fed = false;
    while (this.#queued > 0) {
      const space = this.#input.space();
      if (space === HOSTILE) this.#fault = "the input ring's indices claim more than it holds";
      if (space <= 0) break;
      const head = this.#queue[0];
      const piece = head.subarray(0, space);
      this.#input.write(piece);
      this.#queued -= piece.length;
      if (piece.length === head.length) this.#queue.shift();
      else this.#queue[0] = head.subarray(piece.length);
      fed = true;
    }
    return fed;
  }
}
