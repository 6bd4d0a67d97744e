/** Queries and answers of lists that are filtered and sorted. */

import { type TProperties, type TSchema, Type } from "typebox";
import type { ListPage, Order } from "../../toolstack/lists.ts";
import { HttpProblem } from "../problem.ts";
import { Count, list, named, ref } from "./shapes.ts";

/** `a,b` of some words. */
export function words(values: readonly string[], description: string) {
  const word = `(?:${values.join("|")})`;
  return Type.String({ pattern: `^${word}(?:,${word})*$`, maxLength: 256, description });
}

export const cursorQuery = {
  limit: Type.Integer({ minimum: 1, maximum: 1000, default: 1000, description: "Most items to give." }),
  after: Type.Optional(
    Type.String({ maxLength: 512, description: "`next` of the page before, with the same filter and order." }),
  ),
  count: Type.Boolean({ default: false, description: "Say in `total` how many there are in all." }),
  fields: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 512,
      description: "The fields to give of each item, with commas; all unless said.",
    }),
  ),
};

/** What names are filtered by. */
export const namePattern = Type.String({
  minLength: 1,
  maxLength: 128,
  description: "`*` is any text, `?` any character, `[ab]` one of those.",
});

/** `-name` is by name, from the end. */
export function sortQuery(keys: readonly string[], descending = false) {
  return Type.Unsafe<string>({
    type: "string",
    enum: keys.flatMap((key) => [key, `-${key}`]),
    default: `${descending ? "-" : ""}${keys[0]}`,
    description: "The order; with `-` the other way round. Equal ones are in order of creation.",
  });
}

export function orderOf<Key extends string>(sort: string): Order<Key> {
  return { by: sort.replace("-", "") as Key, descending: sort.startsWith("-") };
}

const answer = {
  next: Type.Unsafe<string | null>({
    type: ["string", "null"],
    description: "`after` of the next page; null at the end.",
  }),
  total: Type.Optional(Count),
};

/** A list's answer, and the same with chosen fields. */
export function pages<T extends TSchema, const Id extends string>($id: Id, item: T & { readonly $id: string }) {
  const whole = named($id, `A page of ${item.$id} objects.`, { items: list(ref(item)), ...answer });
  const chosen = Type.Partial(Type.Object((item as unknown as { properties: TProperties }).properties));
  const some = named(`${$id}Fields`, `A page of ${item.$id} objects with the fields that were asked for.`, {
    items: list(Type.Object(chosen.properties, { minProperties: 1, additionalProperties: false })),
    ...answer,
  });
  const response = {
    description: "Items in order.",
    content: {
      "application/json": { schema: Type.Unsafe({ anyOf: [{ $ref: `${$id}#` }, { $ref: `${$id}Fields#` }] }) },
    },
  };
  return { schemas: [whole, some], response };
}

/** JSON text of a page whose items `view` shows, and `json` as text, with the fields that were asked for. */
export function pageText<T>(
  page: ListPage<T>,
  view: (item: T) => object,
  known: TSchema,
  fields: string | undefined,
  json = (item: T) => JSON.stringify(view(item)),
): string {
  const { properties } = known as unknown as { properties: TProperties };
  const chosen = fields?.split(",");
  const unknown = chosen?.find((field) => !Object.hasOwn(properties, field));
  if (unknown !== undefined)
    throw new HttpProblem(
      "bad-value",
      `There is no field ${unknown}; there are ${Object.keys(properties).join(", ")}.`,
      {
        in: "query",
        field: "fields",
      },
    );
  const show = (item: T) => {
    if (!chosen) return json(item);
    const whole = view(item) as Record<string, unknown>;
    return JSON.stringify(Object.fromEntries(chosen.map((field) => [field, whole[field]])));
  };
  const { items, ...rest } = page;
  return `{"items":[${items.map(show).join(",")}],${JSON.stringify(rest).slice(1)}`;
}
