/**
 * The least role that each route takes. Every route names one, or the service does not start; the OpenAPI document shows it as
 * `x-required-role`.
 */

import type { FastifyContextConfig, FastifyRequest, RouteOptions } from "fastify";
import { type Caller, hasRole, type Role } from "../toolstack/access/caller.ts";
import { HttpProblem } from "./problem.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** The least role that is let in; `anyone` needs no token. */
    role?: Role | "anyone";
    /** Shows things of all projects at once: a token that is limited to some is refused. */
    allProjects?: boolean;
  }
}

/** Part of a route that this service does not write itself. */
const DOCS = /^\/docs(\/|$)/;

/** For Fastify's onRoute hook. */
export function checkRoute(route: RouteOptions): void {
  // Preflights are answered before anybody is asked who they are.
  if (route.method === "OPTIONS" && route.url === "*") route.config = { ...route.config, role: "anyone" };
  if (DOCS.test(route.url)) route.config = { ...route.config, role: "anyone" };
  if (!route.config?.role) throw new Error(`${route.method} ${route.url} names no role: set config.role`);
}

export function isDocs(request: FastifyRequest): boolean {
  return DOCS.test(request.routeOptions.url ?? "");
}

export function isOpen({ routeOptions }: FastifyRequest): boolean {
  return routeOptions.config.role === "anyone";
}

/** Throws the problem for a caller who may not use the route. */
export function checkRole(caller: Caller, { role = "viewer", allProjects }: FastifyContextConfig): void {
  if (role === "anyone") return;
  if (!hasRole(caller.role, role))
    throw new HttpProblem("role-too-low", `This needs the role ${role}; token ${caller.name} is a ${caller.role}'s.`);
  if (allProjects && caller.projects !== "all")
    throw new HttpProblem(
      "all-projects-needed",
      `This shows all projects; token ${caller.name} is limited to ${caller.projects.join(", ")}.`,
    );
}

/** For the OpenAPI document. */
export function describeAccess({ role, allProjects }: FastifyContextConfig): object {
  return { "x-required-role": role, ...(allProjects && { "x-all-projects": true }) };
}
