/**
 * One connection over which one request at a time is asked, with as little work as HTTP/1.1 takes: what a benchmark waits for should be the
 * server. Both sides of a comparison are asked by this.
 */
import { connect, type Socket } from "node:net";

export interface Answered {
  readonly status: number;
  /** The head, as it came. */
  readonly head: string;
  readonly text: string;
}

const END_OF_HEAD = "\r\n\r\n";

export class Connection {
  readonly #socket: Socket;
  readonly #host: string;
  #parts: Buffer[] = [];
  #waiting: PromiseWithResolvers<Answered> | undefined;

  constructor(origin: string) {
    const { hostname, port, host } = new URL(origin);
    this.#host = host;
    this.#socket = connect(Number(port), hostname);
    this.#socket.setNoDelay(true);
    this.#socket.on("data", (part: Buffer) => this.#take(part));
    const gone = (error?: Error) => this.#waiting?.reject(error ?? new Error("the connection was closed"));
    this.#socket.on("error", gone);
    this.#socket.on("close", () => gone());
  }

  /** `headers` are lines, each with its end. */
  ask(method: string, path: string, headers: string, body = ""): Promise<Answered> {
    const waiting = Promise.withResolvers<Answered>();
    this.#waiting = waiting;
    const length = method === "GET" ? "" : `Content-Length: ${Buffer.byteLength(body)}\r\n`;
    this.#socket.write(`${method} ${path} HTTP/1.1\r\nHost: ${this.#host}\r\n${headers}${length}\r\n${body}`);
    return waiting.promise;
  }

  async close(): Promise<void> {
    this.#waiting = undefined;
    this.#socket.destroy();
  }

  #take(part: Buffer): void {
    this.#parts.push(part);
    const bytes = this.#parts.length === 1 ? part : Buffer.concat(this.#parts);
    this.#parts = [bytes];
    const end = bytes.indexOf(END_OF_HEAD);
    if (end < 0) return;
    const head = bytes.toString("latin1", 0, end);
    const body = bodyOf(head, bytes, end + END_OF_HEAD.length);
    if (body === undefined) return;
    this.#parts = [];
    this.#waiting?.resolve({ status: Number(head.slice(9, 12)), head, text: body });
  }
}

/** Undefined while some of it is to come. */
function bodyOf(head: string, bytes: Buffer, from: number): string | undefined {
  const length = /\r\ncontent-length: *(\d+)/i.exec(head);
  if (length) return bytes.length - from < Number(length[1]) ? undefined : bytes.toString("utf8", from);
  if (!/\r\ntransfer-encoding: *chunked/i.test(head)) return "";
  const chunks: Buffer[] = [];
  for (let at = from; ; ) {
    const line = bytes.indexOf("\r\n", at);
    if (line < 0) return undefined;
    const size = Number.parseInt(bytes.toString("latin1", at, line), 16);
    if (bytes.length < line + 2 + size + 2) return undefined;
    if (size === 0) return Buffer.concat(chunks).toString();
    chunks.push(bytes.subarray(line + 2, line + 2 + size));
    at = line + 2 + size + 2;
  }
}
