/**
 * Answers what the HTTP parser itself refuses: garbage, contradicting headers, headers too large or too slow. There is no
 * request to route then, so the problem is written to the connection as it is, and the connection ends.
 *
 * An answer never comes in the midst of another one, nor before the answer to a request that came whole.
 */

import { maxHeaderSize, STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import type { FastifyBaseLogger, FastifyReply } from "fastify";
import { HttpProblem, problemBody } from "./problem.ts";

/** How long a refused client has to read why; meanwhile what it sends is read and dropped, lest a reset eats the answer. */
const LINGER_MS = 1000;

interface ClientErrorsOptions {
  readonly log: FastifyBaseLogger;
  readonly newId: () => string;
}

/** An error of the parser has its code (`HPE_...`) and its words; one of the socket has neither. */
type ClientError = Error & { readonly code?: string; readonly reason?: string };

export class ClientErrors {
  readonly #options: ClientErrorsOptions;
  readonly #replies = new WeakMap<Socket, FastifyReply>();
  readonly #refused = new WeakSet<Socket>();

  constructor(options: ClientErrorsOptions) {
    this.#options = options;
  }

  /** Tells of the latest request on a connection, before its body is read. */
  began(reply: FastifyReply): void {
    this.#replies.set(reply.request.raw.socket, reply);
  }

  /** For Fastify's `clientErrorHandler`. Called again for every chunk that follows what was not understood. */
  readonly answer = (error: ClientError, socket: Socket): void => {
    // A handshake that failed: there is no TLS to answer in.
    if (error.code?.startsWith("ERR_SSL_")) {
      socket.destroy();
      return;
    }
    if (!socket.writable || this.#refused.has(socket)) return;
    this.#refused.add(socket);
    const reply = this.#replies.get(socket);
    const refuse = (id: string) => this.#refuse(error, socket, id);
    if (reply === undefined) refuse(this.#options.newId());
    else if (!reply.request.raw.complete) {
      if (reply.raw.headersSent) socket.destroySoon();
      else refuse(reply.request.id);
    } else if (reply.raw.writableFinished) refuse(this.#options.newId());
    else reply.raw.once("close", () => refuse(this.#options.newId()));
  };

  #refuse(error: ClientError, socket: Socket, requestId: string): void {
    if (!socket.writable) return;
    const problem = problemOf(error);
    const body = problemBody(problem, requestId);
    const text = `${JSON.stringify(body)}\n`;
    this.#options.log.info({ reqId: requestId, status: body.status, code: error.code }, "request not understood");
    const head = [
      `HTTP/1.1 ${body.status} ${STATUS_CODES[body.status]}`,
      `Date: ${new Date().toUTCString()}`,
      "Content-Type: application/problem+json",
      `Content-Length: ${Buffer.byteLength(text)}`,
      "Cache-Control: no-store",
      "X-Content-Type-Options: nosniff",
      `X-Request-Id: ${requestId}`,
      "Connection: close",
    ];
    socket.end(`${head.join("\r\n")}\r\n\r\n${text}`);
    setTimeout(() => socket.destroy(), LINGER_MS).unref();
  }
}

function problemOf(error: ClientError): HttpProblem {
  switch (error.code) {
    case "HPE_HEADER_OVERFLOW":
      return new HttpProblem(
        "header-too-large",
        `The request line and the headers have at most ${maxHeaderSize} bytes together.`,
        { in: "headers", limit: maxHeaderSize },
      );
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return new HttpProblem("request-timeout", "The request did not come whole in the time that it has.");
    default:
      return new HttpProblem("bad-request", `This is not HTTP/1.1: ${error.reason ?? error.message}.`);
  }
}
