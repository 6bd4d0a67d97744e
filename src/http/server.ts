/** The application on its two doors: TCP, and a unix socket that only the owner of the state folder can open. */

import { once } from "node:events";
import { chmodSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { Server as TlsServer } from "node:tls";
import type { FastifyInstance, FastifyRequest } from "fastify";

export class PortTaken extends Error {}

/** Connections of the unix socket, which need no token. */
export class TrustedSockets {
  readonly #sockets = new WeakSet<object>();

  add(socket: Socket): void {
    this.#sockets.add(socket);
  }

  readonly has = (request: FastifyRequest): boolean => this.#sockets.has(request.raw.socket);
}

/** Throws `PortTaken`. Resolves to the port, which `port` 0 leaves to the system. */
export async function listenTcp(app: FastifyInstance, host: string, port: number): Promise<number> {
  try {
    await app.listen({ host, port });
  } catch (error) {
    throw explain(error as Error, host, port);
  }
  const address = app.server.address();
  return typeof address === "object" && address ? address.port : port;
}

/** Hands connections of `path` to the application's own server. The caller holds the state lock, so an old file is stale. */
export async function listenUnix(app: FastifyInstance, path: string, trusted: TrustedSockets): Promise<Server> {
  // A file with this mode is its own protection: the socket speaks plain HTTP where TCP speaks TLS.
  const tls = app.server instanceof TlsServer;
  rmSync(path, { force: true });
  const server = createServer({ noDelay: true }, (socket) => {
    trusted.add(socket);
    app.server.emit(tls ? "secureConnection" : "connection", socket);
  });
  // The file is made by listen itself: under this mask it is never open to others, not even before the chmod.
  const mask = process.umask(0o177);
  try {
    server.listen(path);
  } finally {
    process.umask(mask);
  }
  await once(server, "listening");
  chmodSync(path, 0o600);
  return server;
}

function explain(error: NodeJS.ErrnoException, host: string, port: number): Error {
  if (error.code === "EADDRINUSE") return new PortTaken(`${host}:${port} is taken by another process`);
  if (["EACCES", "EADDRNOTAVAIL", "ENOTFOUND", "EAI_AGAIN"].includes(error.code ?? ""))
    return new PortTaken(`cannot listen on ${host}:${port}: ${error.message}`);
  return error;
}

/** Throws `PortTaken` before anything is started; `listenTcp` says so too if it is taken in between. */
export async function checkPortFree(host: string, port: number): Promise<void> {
  const probe = createServer();
  probe.listen({ host, port });
  try {
    await once(probe, "listening");
  } catch (error) {
    throw explain(error as Error, host, port);
  }
  await new Promise((resolve) => probe.close(resolve));
}
