/**
 * The objects that a path names: each is looked up once, before the handler, and one in a project that the caller does not see is
 * not there. Handlers find its id in the place of whatever names it, so that no rename in between gives them another.
 */

import type { FastifyRequest, RouteOptions } from "fastify";
import { sees } from "../toolstack/access/caller.ts";
import { FAULTS_OFF } from "../toolstack/faults.ts";
import type { Result } from "../toolstack/refusal.ts";
import type { Toolstack } from "../toolstack/toolstack.ts";
import { HttpProblem, problemOf } from "./problem.ts";
import type { ProblemCode } from "./problem-types.ts";

export interface NamedObject {
  readonly id: string;
  readonly project: string | null;
}

declare module "fastify" {
  interface FastifyRequest {
    /** What the path names, if it names something, as soon as that is known. */
    object: NamedObject | null;
    /** It is there, but not for this caller. */
    foreign: boolean;
  }
}

type Lookup = (toolstack: Toolstack, reference: string) => Result<NamedObject>;

/** By the name of the path's parameter. */
const LOOKUPS: Readonly<Record<string, Lookup>> = {
  domain: ({ domains }, reference) => named(domains.find(reference), ({ uuid, project }) => ({ id: uuid, project })),
  image: ({ images }, reference) => named(images.find(reference), ({ id, project }) => ({ id, project })),
  task: (toolstack, reference) => named(toolstack.task(reference), ({ id, project }) => ({ id, project })),
  project: ({ projects }, reference) => named(projects.find(reference), ({ name }) => ({ id: name, project: name })),
  fault: ({ faults }, reference) => named(faults?.find(reference) ?? FAULTS_OFF, ({ id }) => ({ id, project: null })),
  token: ({ tokens }, reference) => named(tokens.find(reference), ({ id }) => ({ id, project: null })),
};

/** For Fastify's onRoute hook: a path that names what nobody here can look up would be open to everybody. */
export function checkPath({ url, method }: RouteOptions): void {
  if (!url.startsWith("/v1/")) return;
  for (const [, name] of url.matchAll(/:([A-Za-z]+)/g))
    if (!Object.hasOwn(LOOKUPS, name)) throw new Error(`${method} ${url}: nothing looks up a ${name}`);
}

/** Throws the problem for what is not there, in the same words for what is not there for this caller. */
export function findObject(request: FastifyRequest, toolstack: Toolstack): void {
  const params = request.params as Record<string, string>;
  for (const [name, reference] of Object.entries(params)) {
    const lookup = Object.hasOwn(LOOKUPS, name) ? LOOKUPS[name] : undefined;
    if (!lookup) continue;
    const found = lookup(toolstack, reference);
    if (!found.ok) throw problemOf(found);
    request.object = found.value;
    if (!sees(request.caller, found.value.project)) {
      request.foreign = true;
      throw new HttpProblem(`${name}-not-found` as ProblemCode, `There is no ${name} ${reference}.`);
    }
    params[name] = found.value.id;
  }
}

function named<T>(found: Result<T>, name: (value: T) => NamedObject): Result<NamedObject> {
  return found.ok ? { ok: true, value: name(found.value) } : found;
}
