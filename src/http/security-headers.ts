/** What tells browsers to be careful: answers are data, to be shown in no frame, run as no script and kept in no cache. */

import type { FastifyReply } from "fastify";

const EVERYWHERE = {
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
};

const DATA = {
  ...EVERYWHERE,
  "cache-control": "no-store",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
};

const TLS = { "strict-transport-security": "max-age=31536000" };

/** `docs`: a page, which has a policy of its own and may be kept. */
export function setSecurityHeaders(reply: FastifyReply, { docs, tls }: { docs: boolean; tls: boolean }): void {
  reply.headers(docs ? EVERYWHERE : DATA);
  if (tls) reply.headers(TLS);
}
