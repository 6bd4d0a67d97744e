/**
 * The rule for versions, as far as code can keep it: a route that is to go says so in its description and in every answer, from the
 * release that replaces it until the day after which it is gone.
 */

import type { FastifyInstance } from "fastify";

export interface Deprecated {
  /** Days, `2027-01-31`. */
  readonly since: string;
  /** At least half a year later. */
  readonly sunset: string;
  /** What to use instead: the operationId. */
  readonly instead: string;
}

declare module "fastify" {
  interface FastifyContextConfig {
    deprecated?: Deprecated;
  }
}

const HALF_A_YEAR_MS = 182 * 24 * 3600_000;

/** Before any route is added. */
export function announceDeprecations(app: FastifyInstance): void {
  app.addHook("onRoute", (route) => {
    const deprecated = route.config?.deprecated;
    if (!deprecated) return;
    if (Date.parse(deprecated.sunset) - Date.parse(deprecated.since) < HALF_A_YEAR_MS)
      throw new Error(`${route.url}: half a year at least between ${deprecated.since} and ${deprecated.sunset}`);
    const { description = "" } = (route.schema ?? {}) as { description?: string };
    const notice = `Deprecated: use ${deprecated.instead}; gone after ${deprecated.sunset}.`;
    route.schema = { ...route.schema, deprecated: true, description: `${description} ${notice}`.trim() } as never;
  });
  app.addHook("onRequest", (request, reply, done) => {
    const { deprecated } = request.routeOptions.config;
    if (deprecated) {
      // RFC 9745 and RFC 8594.
      reply.header("Deprecation", `@${Date.parse(deprecated.since) / 1000}`);
      reply.header("Sunset", new Date(deprecated.sunset).toUTCString());
    }
    done();
  });
}
