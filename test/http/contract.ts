/** The committed OpenAPI document as tests read it: its operations, and whether an answer is one that it promises. */

import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import formats from "ajv-formats";
import { expect } from "vitest";
import openapi from "../../openapi/openapi.json" with { type: "json" };
import type { Answer } from "./service.ts";

export interface Schema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly Schema[];
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly pattern?: string;
  readonly format?: string;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
}

export interface Parameter {
  readonly name: string;
  readonly in: "path" | "query" | "header";
  readonly required?: boolean;
  readonly schema: Schema;
}

interface Content {
  readonly content?: Readonly<Record<string, { readonly schema?: Schema }>>;
}

export interface Operation {
  readonly id: string;
  readonly method: string;
  readonly path: string;
  readonly parameters: readonly Parameter[];
  readonly body: Schema | undefined;
  /** The body is bytes. */
  readonly bytes: boolean;
  readonly responses: Readonly<Record<string, Content>>;
  /** Its only success is a stream, which does not end by itself. */
  readonly streams: boolean;
}

interface Described {
  readonly operationId: string;
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: Content;
  readonly responses: Readonly<Record<string, Content>>;
}

export const operations: readonly Operation[] = Object.entries(openapi.paths).flatMap(([path, methods]) =>
  Object.entries(methods as unknown as Record<string, Described>).map(([method, described]) => {
    const { operationId: id, parameters = [], requestBody, responses } = described;
    const streams = Object.keys(responses["200"]?.content ?? {}).join() === "text/event-stream";
    const bytes = requestBody?.content?.["application/octet-stream"] !== undefined;
    const body = requestBody?.content?.["application/json"]?.schema;
    return { id, method: method.toUpperCase(), path, parameters, body, bytes, responses, streams };
  }),
);

export function resolve(schema: Schema): Schema {
  const name = schema.$ref?.split("/").at(-1);
  if (name === undefined) return schema;
  return resolve((openapi.components.schemas as Record<string, unknown>)[name] as Schema);
}

const ajv = new Ajv2020({ strict: false, allErrors: false });
formats.default(ajv);
ajv.addSchema(openapi, "document");
const validators = new Map<string, ValidateFunction>();

function validatorOf(pointer: readonly string[]): ValidateFunction {
  const escaped = pointer.map((part) => encodeURIComponent(part.replaceAll("~", "~0").replaceAll("/", "~1")));
  const $ref = `document#/${escaped.join("/")}`;
  const known = validators.get($ref) ?? ajv.compile({ $ref });
  validators.set($ref, known);
  return known;
}

/** Fails unless the document promises an answer of this status, of this content type and of this shape. */
export function checkAnswer(operation: Operation, answer: Answer, what = operation.id): void {
  const { responses, method, path } = operation;
  const status = [String(answer.status), `${String(answer.status)[0]}XX`].find((key) => key in responses);
  expect(status, `${what}: no answer ${answer.status} is described: ${answer.text}`).toBeDefined();
  const content = responses[status!].content ?? {};
  const type = String(answer.headers["content-type"] ?? "").split(";")[0];
  if (Object.keys(content).length === 0) {
    expect(answer.text, `${what}: a body where none is described`).toBe("");
    return;
  }
  expect(Object.keys(content), `${what}: ${answer.text}`).toContain(type);
  if (!/json/.test(type) || answer.text === "") return;
  const pointer = ["paths", path, method.toLowerCase(), "responses", status!, "content", type, "schema"];
  const validate = validatorOf(pointer);
  const valid = validate(answer.json);
  expect(valid, `${what}: ${ajv.errorsText(validate.errors)} in ${answer.text}`).toBe(true);
  if (answer.status >= 400) expect(answer.json.status, what).toBe(answer.status);
}
