/**
 * Who may speak to the service.
 *
 * - TCP: a bearer token, but for the open routes. The unix socket is its folder's owner's alone (mode 0600): no token.
 * - The Host header must name this service, so that a page elsewhere cannot rebind its DNS name to it.
 * - A WebSocket may come from no foreign Origin, and may bring a single-use ticket instead of the token, since a browser
 *   cannot set its headers. A token never stands in a URL.
 */

import { createHash, timingSafeEqual } from "node:crypto";
import type { FastifyRequest } from "fastify";
import { type Caller, NOBODY, ROOT, SOCKET } from "../toolstack/access/caller.ts";
import { type HostNamesOptions, isOwnName } from "./host-names.ts";
import { HttpProblem } from "./problem.ts";
import type { Tickets } from "./tickets.ts";

export interface AccessOptions extends HostNamesOptions {
  /** The token of the state folder, which is no record's. */
  readonly token: string;
  /** Whose another token is. */
  readonly callerOf: (secret: string) => Caller | undefined;
  /** Is a caller that `callerOf` gave still let in? */
  readonly stillHolds: (caller: Caller) => boolean;
  readonly tickets: Tickets;
  /** Connections that need no token. */
  readonly trusted: (request: FastifyRequest) => boolean;
  /** Further origins whose pages may speak to the service. */
  readonly origins?: readonly string[];
}

/** What a connection has shown: it shows the same with its next request, most times. */
interface Shown {
  readonly host: string;
  readonly authorization: string;
  readonly caller: Caller;
}

export class Access {
  readonly #options: AccessOptions;
  readonly #rootDigest: Buffer;
  readonly #shown = new WeakMap<object, Shown>();

  constructor(options: AccessOptions) {
    this.#options = options;
    this.#rootDigest = digest(options.token);
  }

  /** Who asks. Throws the problem for a request that may not go on. */
  check(request: FastifyRequest, open: boolean): Caller {
    // RFC 9112 section 3.2; Node would say so with an empty body.
    if (request.headers.host === undefined && request.raw.httpVersion === "1.1")
      throw new HttpProblem("bad-request", "host is missing from the headers.", { in: "headers", field: "host" });
    if (this.#options.trusted(request)) return SOCKET;
    const known = this.#known(request);
    if (known) return known;
    const host = request.headers.host ?? "";
    if (!isOwnName(host, this.#options))
      throw new HttpProblem(
        "host-refused",
        `This service is not ${host || "nameless"}; add the name to DOMZERO_HOSTS.`,
        {
          in: "headers",
          field: "host",
        },
      );
    const upgrade = asksForWebSocket(request);
    if (upgrade) this.#checkOrigin(request);
    const byToken = this.#byToken(request);
    if (byToken && !upgrade)
      this.#shown.set(request.raw.socket, {
        host,
        authorization: request.headers.authorization ?? "",
        caller: byToken,
      });
    const caller = byToken ?? (upgrade ? this.#byTicket(request) : undefined);
    if (caller) return caller;
    if (open) return NOBODY;
    throw new HttpProblem(
      "unauthorized",
      upgrade
        ? "Send Authorization: Bearer <token>, or ?ticket= from POST /v1/tickets."
        : "Send Authorization: Bearer <token>: one from POST /v1/tokens, or that in the state folder's file `token`.",
    );
  }

  /** Whose the connection was a request ago, where nothing that was looked at then has changed. */
  #known({ raw, headers }: FastifyRequest): Caller | undefined {
    const shown = this.#shown.get(raw.socket);
    if (!shown || headers.upgrade !== undefined) return undefined;
    if (shown.authorization !== headers.authorization || shown.host !== headers.host) return undefined;
    return shown.caller === ROOT || this.#options.stillHolds(shown.caller) ? shown.caller : undefined;
  }

  #checkOrigin(request: FastifyRequest): void {
    const { origin } = request.headers;
    if (origin === undefined || this.#options.origins?.includes(origin)) return;
    const host = URL.canParse(origin) ? new URL(origin).host : "";
    if (host && isOwnName(host, this.#options)) return;
    throw new HttpProblem("origin-refused", `WebSockets from ${origin} are not taken.`, {
      in: "headers",
      field: "origin",
    });
  }

  #byToken(request: FastifyRequest): Caller | undefined {
    const secret = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? "")?.[1];
    if (secret === undefined) return undefined;
    return timingSafeEqual(digest(secret), this.#rootDigest) ? ROOT : this.#options.callerOf(secret);
  }

  #byTicket(request: FastifyRequest): Caller | undefined {
    const { ticket } = request.query as { ticket?: unknown };
    return typeof ticket === "string" ? this.#options.tickets.redeem(ticket) : undefined;
  }
}

export function asksForWebSocket(request: FastifyRequest): boolean {
  return request.headers.upgrade?.toLowerCase() === "websocket";
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
