/**
 * Bodies are taken as they are: a wrong type or an unknown field is an error. Queries and paths are text, so numbers and
 * booleans are read from it; unknown names are errors there too.
 */

import { AjvCompiler } from "@fastify/ajv-compiler";
import type { FastifySchemaCompiler } from "fastify";

const strict = { coerceTypes: false, removeAdditional: false, useDefaults: true, allErrors: false } as const;
const reading = { ...strict, coerceTypes: true } as const;

/** Shared: it keeps one Ajv for each set of options, however many scopes of routes ask. */
const factory = AjvCompiler();

/** For Fastify's `schemaController.compilersFactory.buildValidator`. */
export function buildValidator(externalSchemas: Parameters<typeof factory>[0]): FastifySchemaCompiler<unknown> {
  const compilerFor = (customOptions: typeof strict | typeof reading) =>
    factory(externalSchemas, { customOptions, plugins: [] } as never) as unknown as FastifySchemaCompiler<unknown>;
  const body = compilerFor(strict);
  const text = compilerFor(reading);
  return (route) => (route.httpPart === "body" ? body(route) : text(route));
}
