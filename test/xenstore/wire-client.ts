/** A client for tests: speaks the wire protocol to a `Connection`, one request at a time or as raw bytes. */
import { XS } from "../../src/abi/io-xenstore.ts";
import { Connection } from "../../src/xenstore/connection.ts";
import type { Store } from "../../src/xenstore/store.ts";
import { decodeHeader, encodeMessage, HEADER_BYTES } from "../../src/xenstore/wire.ts";

export interface Message {
  readonly type: number;
  readonly reqId: number;
  readonly txId: number;
  readonly payload: string;
}

/** Splits whole messages; the bytes must end with one. */
export function messagesIn(bytes: Uint8Array): Message[] {
  const messages: Message[] = [];
  let at = 0;
  while (at < bytes.length) {
    const { type, reqId, txId, len } = decodeHeader(bytes.subarray(at));
    const end = at + HEADER_BYTES + len;
    if (end > bytes.length) throw new Error("a message is cut off");
    messages.push({
      type,
      reqId,
      txId,
      payload: Buffer.from(bytes.subarray(at + HEADER_BYTES, end)).toString("latin1"),
    });
    at = end;
  }
  return messages;
}

export class WireClient {
  readonly connection: Connection;
  /** Watch events seen so far, as `path token`. */
  events: string[] = [];
  #reqId = 0;

  constructor(store: Store, domid: number) {
    this.connection = new Connection(store, domid);
  }

  /** Everything the connection has to say. */
  output(): Uint8Array {
    const parts: Uint8Array[] = [];
    while (this.connection.hasOutput) {
      const part = new Uint8Array(1024);
      parts.push(part.subarray(0, this.connection.take(part)));
    }
    return Buffer.concat(parts);
  }

  /** Feeds bytes, as many at a time as are wanted; how many were taken. */
  feed(bytes: Uint8Array): number {
    let done = 0;
    for (let wanted = this.connection.wanted(); wanted > 0 && done < bytes.length; wanted = this.connection.wanted()) {
      const piece = bytes.subarray(done, done + wanted);
      this.connection.receive(piece);
      done += piece.length;
    }
    return done;
  }

  /** The answer's payload, or the name of the error. Strings in it are shown with `|` for each NUL. */
  ask(type: number, payload: string, txId = 0): string {
    const reqId = ++this.#reqId;
    this.feed(encodeMessage(type, reqId, txId, payload.replaceAll("|", "\0")));
    let answer: Message | undefined;
    for (const message of messagesIn(this.output())) {
      if (message.type === XS.watchEvent) this.events.push(message.payload.slice(0, -1).replace("\0", " "));
      else if (answer === undefined) answer = message;
      else throw new Error("two answers to one request");
    }
    if (answer === undefined) throw new Error("no answer");
    if (answer.reqId !== reqId || answer.txId !== txId) throw new Error("an answer to another request");
    if (answer.type !== type && answer.type !== XS.error) throw new Error(`an answer of type ${answer.type}`);
    const text = answer.payload.replaceAll("\0", "|");
    return answer.type === XS.error ? text.slice(0, -1) : text;
  }

  /** Events since last asked. */
  heard(): string[] {
    for (const { payload } of messagesIn(this.output())) this.events.push(payload.slice(0, -1).replace("\0", " "));
    const events = this.events;
    this.events = [];
    return events;
  }
}
