/** A guest's side of the xenstore and console rings, for tests: what a well-behaved kernel does, and ways not to behave. */
import { XENCONS_IN_SIZE, XENCONS_OUT_SIZE, XenconsInterface } from "../../src/abi/io-console.ts";
import { XENSTORE_RING_SIZE, XenstoreDomainInterface, XS } from "../../src/abi/io-xenstore.ts";
import { encodeMessage } from "../../src/xenstore/wire.ts";
import { type Message, messagesIn } from "../xenstore/wire-client.ts";

/** One direction as the guest sees it. */
class GuestRing {
  readonly data: Uint8Array;
  readonly consumer: Int32Array;
  readonly producer: Int32Array;

  constructor(buffer: ArrayBufferLike, data: number, size: number, consumer: number, producer: number) {
    this.data = new Uint8Array(buffer, data, size);
    this.consumer = new Int32Array(buffer, consumer, 1);
    this.producer = new Int32Array(buffer, producer, 1);
  }

  /** Puts in as much as fits. */
  put(bytes: Uint8Array): number {
    const at = this.producer[0];
    const room = this.data.length - ((at - this.consumer[0]) >>> 0);
    const count = Math.min(room, bytes.length);
    for (let i = 0; i < count; i++) this.data[((at + i) >>> 0) % this.data.length] = bytes[i];
    this.producer[0] = at + count;
    return count;
  }

  /** Takes out everything. */
  get(): Uint8Array {
    const at = this.consumer[0];
    const count = (this.producer[0] - at) >>> 0;
    const bytes = new Uint8Array(count);
    for (let i = 0; i < count; i++) bytes[i] = this.data[((at + i) >>> 0) % this.data.length];
    this.consumer[0] = at + count;
    return bytes;
  }
}

export class GuestXenstore {
  readonly requests: GuestRing;
  readonly replies: GuestRing;
  readonly features: Int32Array;
  readonly connection: Int32Array;
  readonly error: Int32Array;
  #unread = new Uint8Array(0);
  #reqId = 0;

  constructor(buffer: ArrayBufferLike, page: number) {
    const at = XenstoreDomainInterface.offsets;
    const ring = (data: number, consumer: number, producer: number) =>
      new GuestRing(buffer, page + data, XENSTORE_RING_SIZE, page + consumer, page + producer);
    this.requests = ring(at.req, at.reqCons, at.reqProd);
    this.replies = ring(at.rsp, at.rspCons, at.rspProd);
    this.features = new Int32Array(buffer, page + at.serverFeatures, 1);
    this.connection = new Int32Array(buffer, page + at.connection, 1);
    this.error = new Int32Array(buffer, page + at.error, 1);
  }

  /** All indices of both rings at a value, as after much use. */
  startAt(index: number): void {
    for (const ring of [this.requests, this.replies]) {
      ring.consumer[0] = index;
      ring.producer[0] = index;
    }
  }

  /** Whole messages that have arrived. */
  received(): Message[] {
    const bytes = Buffer.concat([this.#unread, this.replies.get()]);
    let end = 0;
    while (bytes.length - end >= 16 && bytes.length - end >= 16 + bytes.readUInt32LE(end + 12)) {
      end += 16 + bytes.readUInt32LE(end + 12);
    }
    this.#unread = new Uint8Array(bytes.subarray(end));
    return messagesIn(bytes.subarray(0, end));
  }

  /** Sends a request and waits for its answer, kicking Domain 0 by `kick` as it goes. `|` is a NUL. Events are skipped. */
  ask(kick: () => void, type: number, payload: string, txId = 0): string {
    const reqId = ++this.#reqId;
    const bytes = encodeMessage(type, reqId, txId, payload.replaceAll("|", "\0"));
    for (let sent = 0, turns = 0; turns < 100; turns++) {
      sent += this.requests.put(bytes.subarray(sent));
      kick();
      for (const message of this.received()) {
        if (message.type === XS.watchEvent || message.reqId !== reqId) continue;
        const text = message.payload.replaceAll("\0", "|");
        return message.type === XS.error ? text.slice(0, -1) : text;
      }
    }
    throw new Error("no answer");
  }
}

export class GuestConsoleSide {
  readonly input: GuestRing;
  readonly output: GuestRing;

  constructor(buffer: ArrayBufferLike, page: number) {
    const at = XenconsInterface.offsets;
    this.input = new GuestRing(buffer, page + at.in, XENCONS_IN_SIZE, page + at.inCons, page + at.inProd);
    this.output = new GuestRing(buffer, page + at.out, XENCONS_OUT_SIZE, page + at.outCons, page + at.outProd);
  }

  /** Prints as much as fits. */
  print(text: string): number {
    return this.output.put(Buffer.from(text, "latin1"));
  }

  typed(): string {
    return Buffer.from(this.input.get()).toString("latin1");
  }
}
