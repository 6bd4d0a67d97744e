/** Where requests meet the faults that were asked for. Registered only where there can be any. */

import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { FastifyInstance, FastifyRequest } from "fastify";
import type { Faults } from "../toolstack/faults.ts";
import { asksForWebSocket } from "./access.ts";
import { FAULT_HEADER, problemOf } from "./problem.ts";

export function addFaultHooks(app: FastifyInstance, faults: Faults, stopping: AbortSignal): void {
  const streams = new Set<Socket>();
  faults.dropStreams = () => {
    const { size } = streams;
    for (const socket of streams) socket.destroy();
    return size;
  };

  app.addHook("preHandler", async (request, reply) => {
    const { url, schema } = request.routeOptions;
    if (isStream(request)) {
      const { socket } = request.raw;
      streams.add(socket);
      socket.once("close", () => streams.delete(socket));
    }
    // Whoever made a fault can always take it back.
    if (url === undefined || url.startsWith("/v1/faults")) return;
    const { domain } = (request.params ?? {}) as { domain?: string };
    const fault = await faults.onRequest((schema as { operationId?: string } | undefined)?.operationId, domain);
    if (!fault) return;
    reply.header(FAULT_HEADER, fault.id);
    if (fault.delayMs > 0) await sleep(fault.delayMs, undefined, { signal: stopping }).catch(() => undefined);
    if (fault.refusal) throw problemOf(fault.refusal);
  });
}

/** Events, a console that is followed, a watch, or a WebSocket. */
function isStream(request: FastifyRequest): boolean {
  const { follow } = (request.query ?? {}) as { follow?: unknown };
  if (follow === true || request.routeOptions.url?.endsWith("/watch")) return true;
  return asksForWebSocket(request) || /\btext\/event-stream\b/.test(request.headers.accept ?? "");
}
