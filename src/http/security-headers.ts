/** What tells browsers to be careful: answers are data, to be shown in no frame, run as no script and kept in no cache. */

import type { FastifyReply } from "fastify";

const EVERYWHERE = {
  "X-Content-Type-Options": "nosniff",
  "X-Frame-Options": "DENY",
  "Referrer-Policy": "no-referrer",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
};

const DATA = {
  "Cache-Control": "no-store",
  "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
};

const TLS = { "Strict-Transport-Security": "max-age=31536000" };

/** `docs`: a page, which has a policy of its own and may be kept. */
export function setSecurityHeaders(reply: FastifyReply, { docs, tls }: { docs: boolean; tls: boolean }): void {
  reply.headers(EVERYWHERE);
  if (!docs) reply.headers(DATA);
  if (tls) reply.headers(TLS);
}
