/**
 * Who may speak to the service.
 *
 * - TCP: a bearer token, but for the open routes. The unix socket is its folder's owner's alone (mode 0600): no token.
 * - The Host header must name this service, so that a page elsewhere cannot rebind its DNS name to it.
 * - A WebSocket may come from no foreign Origin, and may bring a single-use ticket instead of the token, since a browser
 *   cannot set its headers. A token never stands in a URL.
 */

import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { isIP } from "node:net";
import type { FastifyRequest } from "fastify";
import { type Caller, NOBODY, ROOT, SOCKET } from "../toolstack/caller.ts";
import { HttpProblem } from "./problem.ts";

const TICKET_MS = 30_000;
const MOST_TICKETS = 10_000;

export class Tickets {
  readonly #issued = new Map<string, { caller: Caller; expiresAt: number }>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** A ticket is its caller's: it opens what the caller may. */
  issue(caller: Caller): { ticket: string; expiresAt: number } {
    // In order of issue, so the first that has not expired ends the sweep.
    for (const [ticket, { expiresAt }] of this.#issued) {
      if (expiresAt > this.#now() && this.#issued.size < MOST_TICKETS) break;
      this.#issued.delete(ticket);
    }
    const ticket = randomBytes(24).toString("base64url");
    const expiresAt = this.#now() + TICKET_MS;
    this.#issued.set(ticket, { caller, expiresAt });
    return { ticket, expiresAt };
  }

  /** Whose it is, once at most for a ticket. */
  redeem(ticket: string): Caller | undefined {
    const issued = this.#issued.get(ticket);
    this.#issued.delete(ticket);
    return issued && issued.expiresAt > this.#now() ? issued.caller : undefined;
  }
}

export interface AccessOptions {
  readonly token: string;
  readonly tickets: Tickets;
  /** host:port that the service listens on. */
  readonly listen: { readonly host: string; readonly port: number };
  /** Further host names to answer to, with or without a port. */
  readonly hosts?: readonly string[];
  /** Connections that need no token. */
  readonly trusted: (request: FastifyRequest) => boolean;
}

export class Access {
  readonly #options: AccessOptions;
  readonly #tokenDigest: Buffer;

  constructor(options: AccessOptions) {
    this.#options = options;
    this.#tokenDigest = digest(options.token);
  }

  /** Who asks. Throws the problem for a request that may not go on. */
  check(request: FastifyRequest, open: boolean): Caller {
    // RFC 9112 section 3.2; Node would say so with an empty body.
    if (request.headers.host === undefined && request.raw.httpVersion === "1.1")
      throw new HttpProblem("bad-request", "host is missing from the headers.", { in: "headers", field: "host" });
    if (this.#options.trusted(request)) return SOCKET;
    const host = request.headers.host ?? "";
    if (!this.knowsHost(host))
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
    const caller =
      this.#byToken(request) ?? (upgrade ? this.#byTicket(request) : undefined) ?? (open ? NOBODY : undefined);
    if (caller) return caller;
    throw new HttpProblem(
      "unauthorized",
      upgrade
        ? "Send Authorization: Bearer <token>, or ?ticket= from POST /v1/tickets."
        : "Send Authorization: Bearer <token>; the token is in the state folder's file `token`.",
    );
  }

  /** Is `host` (a Host header, or an Origin's host) one of this service's names? */
  knowsHost(host: string): boolean {
    const { listen, hosts = [] } = this.#options;
    const { name, port } = splitHost(host);
    if (hosts.some((known) => known === host || known === name)) return true;
    if (port !== undefined && port !== listen.port) return false;
    if (name === listen.host) return true;
    const bare = name.replace(/^\[|\]$/g, "");
    if (bare === listen.host) return true;
    if (isWildcard(listen.host)) return name === "localhost" || isIP(bare) !== 0;
    return isLoopback(listen.host) && (name === "localhost" || isLoopback(bare));
  }

  #checkOrigin(request: FastifyRequest): void {
    const { origin } = request.headers;
    if (origin === undefined) return;
    const host = URL.canParse(origin) ? new URL(origin).host : "";
    if (host && this.knowsHost(host)) return;
    throw new HttpProblem("origin-refused", `WebSockets from ${origin} are not taken.`, {
      in: "headers",
      field: "origin",
    });
  }

  #byToken(request: FastifyRequest): Caller | undefined {
    const match = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? "");
    return match && timingSafeEqual(digest(match[1]), this.#tokenDigest) ? ROOT : undefined;
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

function splitHost(host: string): { name: string; port: number | undefined } {
  const match = /^(.*?)(?::(\d{1,5}))?$/.exec(host.includes("]") || host.split(":").length < 3 ? host : `[${host}]`);
  return { name: (match?.[1] ?? "").toLowerCase(), port: match?.[2] === undefined ? undefined : Number(match[2]) };
}

function isLoopback(address: string): boolean {
  return address === "localhost" || address === "::1" || (isIP(address) === 4 && address.startsWith("127."));
}

function isWildcard(address: string): boolean {
  return address === "0.0.0.0" || address === "::";
}
