/** What every route that lists does: asks for a page, and sends it as text. */

import type { FastifyReply } from "fastify";
import type { TSchema } from "typebox";
import { type Caller, sightOf } from "../toolstack/access/caller.ts";
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

/**
 * The page's text, for a handler to return. `filterOf` makes a filter of what else the query says. (`never` for the types, to which an
 * answer is an object.)
 */
export function sendPage<K extends Kind, Q extends PageQuery>(
  { lists }: Toolstack,
  { kind, view, schema, json }: Shown<K>,
  { query, caller }: { readonly query: Q; readonly caller: Caller },
  reply: FastifyReply,
  filterOf: (rest: Omit<Q, keyof PageQuery>) => FilterOf<K>,
): never {
  const { limit, after, count, sort, fields, ...rest } = query;
  const page = lists.of(kind, {
    filter: filterOf(rest),
    order: orderOf<SortOf<K>>(sort),
    limit,
    count,
    ...(after !== undefined && { after }),
    ...sightOf(caller),
  });
  if (!page.ok) throw problemOf(page);
  reply.type("application/json; charset=utf-8").serializer(String);
  return pageText(page.value, view, schema, fields, json) as never;
}
