/** Building blocks of schemas: references by name, closed objects, values that may be null. */

import { type Static, type TProperties, type TSchema, type TSchemaOptions, Type } from "typebox";

/** A closed object: fields that it does not name are refused. */
export function closed<T extends TProperties>(properties: T, options: TSchemaOptions = {}) {
  return Type.Object(properties, { additionalProperties: false, ...options });
}

/** A closed object with a name, to be registered once and referred to everywhere else. */
export function named<T extends TProperties, const Id extends string>($id: Id, description: string, properties: T) {
  return Type.Object(properties, { $id, title: $id, description, additionalProperties: false }) as ReturnType<
    typeof Type.Object<T>
  > & { readonly $id: Id };
}

export function ref<T extends TSchema>(schema: T & { readonly $id: string }) {
  return Type.Unsafe<Static<T>>({ $ref: `${schema.$id}#` });
}

export function maybeRef<T extends TSchema>(schema: T & { readonly $id: string }) {
  return Type.Unsafe<Static<T> | null>({ anyOf: [{ $ref: `${schema.$id}#` }, { type: "null" }] });
}

export function oneOf<const T extends readonly string[]>(values: T, description?: string) {
  return Type.Unsafe<T[number]>({ type: "string", enum: [...values], ...(description && { description }) });
}

export function maybe<T extends TSchema>(schema: T, description?: string) {
  const { type } = schema as unknown as { type: string };
  return Type.Unsafe<Static<T> | null>({ ...schema, type: [type, "null"], ...(description && { description }) });
}

/** An array, read-only as everything that is answered. */
export function list<T extends TSchema>(items: T, options: TSchemaOptions = {}) {
  return Type.Unsafe<readonly Static<T>[]>(Type.Array(items, options));
}

export const Uuid = Type.String({ format: "uuid" });
export const Time = Type.String({ format: "date-time" });
export const Count = Type.Integer({ minimum: 0 });
export const Domid = Type.Integer({ minimum: 0, maximum: 0x7fef });
