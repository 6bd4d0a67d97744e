/** What every route that lists does: asks for a page, and sends it as text. */

import type { FastifyReply, FastifyRequest } from "fastify";
import type { TSchema } from "typebox";
import { sightOf } from "../toolstack/access/caller.ts";
import type { FilterOf, ItemOf, Kind, SortOf } from "../toolstack/lists.ts";
import type { Toolstack } from "../toolstack/toolstack.ts";
import { problemOf } from "./problem.ts";
import { orderOf, pageText } from "./schemas/lists.ts";

/** How a kind of object is shown. */
export interface Shown<K extends Kind> {
  readonly kind: K;
  readonly view: (item: ItemOf<K>) => object;
  /** Names the fields that can be chosen. */
  readonly schema: TSchema;
  /** JSON text of the view, where there is a quicker way to it. */
  readonly json?: (item: ItemOf<K>) => string;
}

/** What of a query is the same for every kind: the schemas' `cursorQuery` and `sortQuery`. */
export interface PageQuery {
  readonly limit: number;
  readonly after?: string;
  readonly count: boolean;
  readonly sort: string;
  readonly fields?: string;
}

/** The page's text, for a handler to return. (`never` for the types, to which an answer is an object.) */
export function sendPage<K extends Kind>(
  { lists }: Toolstack,
  { kind, view, schema, json }: Shown<K>,
  { limit, after, count, sort, fields }: PageQuery,
  filter: FilterOf<K>,
  { caller }: FastifyRequest,
  reply: FastifyReply,
): never {
  const order = orderOf<SortOf<K>>(sort);
  const page = lists.of(kind, {
    filter,
    order,
    limit,
    count,
    ...(after !== undefined && { after }),
    ...sightOf(caller),
  });
  if (!page.ok) throw problemOf(page);
  reply.type("application/json; charset=utf-8").serializer(String);
  return pageText(page.value, view, schema, fields, json) as never;
}
