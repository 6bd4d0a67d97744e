/**
 * Requests drawn from the committed OpenAPI document, right ones and spoiled ones, against a service in use: every answer is one that the
 * document promises, none is the service's fault, and each comes in time.
 *
 * FUZZ_RUNS draws more of them, FUZZ_SEED others.
 */

import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { checkAnswer, type Operation, operations, type Parameter, resolve, type Schema } from "./contract.ts";
import { type Answer, type Ask, ask, definition, type Service, startService } from "./service.ts";

const SEED = Number(process.env.FUZZ_SEED ?? 20261125);
const RUNS = Number(process.env.FUZZ_RUNS ?? 2500);
const MOST_MS = 20_000;
/** No more than these exist at a time. */
const MOST_DOMAINS = 12;

let service: Service;
let kept = 0;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.close());

const junk = fc.oneof(
  fc.jsonValue({ maxDepth: 1 }),
  fc.constantFrom(-1, 0, 1, 1.5, 2 ** 53, "", "a", "-", "\0", "é".repeat(70), null, true, [], {}),
);

/** A value that the schema takes, or nearly: bounds that cut across fields are the toolstack's to refuse. */
function drawValue(schema: Schema): fc.Arbitrary<unknown> {
  const {
    type,
    enum: values,
    const: only,
    anyOf,
    items,
    pattern,
    format,
    minLength = 0,
    minItems = 0,
  } = resolve(schema);
  if (only !== undefined) return fc.constant(only);
  if (values) return fc.constantFrom(...values);
  if (anyOf) return fc.oneof(...anyOf.map(drawValue));
  if (Array.isArray(type)) return fc.oneof(...type.map((one: string) => drawValue({ ...resolve(schema), type: one })));
  switch (type) {
    case "integer":
      return fc.integer({
        min: resolve(schema).minimum ?? 0,
        max: Math.min(resolve(schema).maximum ?? 64, 2 ** 31 - 1),
      });
    case "number":
      return fc.double({ min: resolve(schema).minimum ?? 0, max: resolve(schema).maximum ?? 64, noNaN: true });
    case "boolean":
      return fc.boolean();
    case "null":
      return fc.constant(null);
    case "array":
      return fc.array(drawValue(items ?? {}), { minLength: minItems, maxLength: minItems + 2 });
    case "object":
      return objectOf(resolve(schema));
    case "string": {
      const maxLength = Math.min(resolve(schema).maxLength ?? 24, minLength + 24);
      if (format === "uuid") return fc.uuid();
      if (format === "date-time") return fc.date({ noInvalidDate: true }).map((date) => date.toISOString());
      if (!pattern) return fc.string({ minLength, maxLength });
      return fc.stringMatching(new RegExp(pattern)).map((text) => text.slice(0, maxLength));
    }
    default:
      return fc.jsonValue({ maxDepth: 1 });
  }
}

function objectOf({ properties = {}, required = [] }: Schema): fc.Arbitrary<Record<string, unknown>> {
  const fields = Object.fromEntries(Object.entries(properties).map(([name, field]) => [name, sensible(name, field)]));
  return fc.record(fields, { requiredKeys: [...required], noNullPrototype: true } as never);
}

/** Values that lead further in than a random one would. */
const SENSIBLE: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  kernel: fc.constant("builtin:demo"),
  ramdisk: fc.constant(null),
  memoryMiB: fc.integer({ min: 1, max: 64 }),
  vcpus: fc.integer({ min: 1, max: 4 }),
  maxMemoryMiB: fc.integer({ min: 1, max: 64 }),
  project: fc.constantFrom("default", "none"),
  path: fc.constantFrom("/", "/tool", "/tool/a", "/local", "data", "", "a//b"),
  since: fc.constantFrom("now", "first", "ff:1"),
  // A day's worth of waiting is no test of an answer.
  wait: fc.constant(0),
  follow: fc.constant(false),
  timeout: fc.constantFrom(1, 30),
};

function sensible(name: string, schema: Schema): fc.Arbitrary<unknown> {
  const known = SENSIBLE[name];
  if (name === "wait" || name === "follow") return known;
  return known
    ? fc.oneof({ arbitrary: known, weight: 4 }, { arbitrary: drawValue(schema), weight: 1 })
    : drawValue(schema);
}

interface Drawn {
  /** Its id. */
  readonly operation: string;
  /** Which of the objects there are; beyond them, something else. */
  readonly object: number;
  readonly query: Readonly<Record<string, unknown>>;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: unknown;
  readonly spoil: { readonly where: "query" | "body" | "none"; readonly field: number; readonly value: unknown } | null;
}

function fieldsOf(parameters: readonly Parameter[], place: Parameter["in"]): fc.Arbitrary<Record<string, unknown>> {
  const wanted = parameters.filter((parameter) => parameter.in === place);
  const properties = Object.fromEntries(wanted.map(({ name, schema }) => [name, schema]));
  return objectOf({ properties, required: wanted.filter(({ required }) => required).map(({ name }) => name) });
}

const HEADERS: Readonly<Record<string, fc.Arbitrary<string>>> = {
  prefer: fc.constantFrom("respond-async", "wait=1", "wait=x", ""),
  "if-match": fc.constantFrom('"1"', '"2"', "*", "x"),
  "if-none-match": fc.constantFrom('"1"', '"2"', "*", "x"),
  "idempotency-key": fc.constantFrom("a", "b", "c", ""),
};

function drawOf(operation: Operation): fc.Arbitrary<Drawn> {
  const named = operation.parameters
    .filter((parameter) => parameter.in === "header")
    .map(({ name }) => name.toLowerCase());
  const headers = Object.fromEntries(Object.entries(HEADERS).filter(([name]) => named.includes(name)));
  return fc.record({
    operation: fc.constant(operation.id),
    object: fc.nat(MOST_DOMAINS + 2),
    query: fieldsOf(operation.parameters, "query"),
    headers: fc.record(headers, { requiredKeys: [], noNullPrototype: true }),
    body: operation.bytes
      ? fc.string({ maxLength: 20 })
      : operation.body
        ? drawValue(operation.body)
        : fc.constant(undefined),
    spoil: fc.option(fc.record({ where: fc.constantFrom("query", "body", "none"), field: fc.nat(8), value: junk }), {
      freq: 2,
    }),
  });
}

/** One field of `fields` gets another value, or a field that there is not is added. */
function spoiled(fields: Readonly<Record<string, unknown>>, field: number, value: unknown): Record<string, unknown> {
  const names = [...Object.keys(fields).filter((name) => name !== "wait" && name !== "follow"), "unheardOf"];
  return { ...fields, [names[field % names.length]]: value };
}

function ids(kind: string): readonly string[] {
  const page = { after: 0, limit: 100 };
  const all = { filter: {}, order: { by: "created", descending: false }, limit: 100 } as const;
  switch (kind) {
    case "domain":
      return [...service.store.domains(page).items].map(({ uuid, name }, index) => (index % 2 ? uuid : name));
    case "image":
      return service.store.lists.select("images", all).items.map(({ id }) => id);
    case "task":
      return service.store.tasks({ ...page, limit: 8 }).items.map(({ id }) => id);
    case "token":
      return service.store.lists.select("tokens", all).items.map(({ id }) => id);
    case "project":
      return service.store.lists.select("projects", all).items.map(({ name }) => name);
    default:
      return [];
  }
}

async function send(operation: Operation, { object, query, headers, body, spoil }: Drawn): Promise<Answer> {
  const path = operation.path.replaceAll(/\{(\w+)\}/g, (_, kind: string) => {
    return encodeURIComponent(ids(kind)[object] ?? (object % 2 ? "00000000-0000-0000-0000-000000000000" : "no such"));
  });
  const { where, field = 0, value } = spoil ?? { where: "none" };
  const asked = where === "query" ? spoiled(query, field, value) : query;
  const sent =
    where === "body" && typeof body === "object" ? spoiled(body as Record<string, unknown>, field, value) : body;
  const texts = Object.entries(asked).map(([name, given]) => [
    name,
    typeof given === "string" ? given : JSON.stringify(given),
  ]);
  const line = `${operation.streams ? "HEAD" : operation.method} ${path}?${new URLSearchParams(Object.fromEntries(texts))}`;
  const how: Ask = { headers: headers as Record<string, string>, ...(sent !== undefined && { body: sent }) };
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer to ${line} in ${MOST_MS} ms`)), MOST_MS);
  });
  return Promise.race([ask(service, line, how), late]).finally(() => clearTimeout(timer));
}

/** The service stays in use: there are domains to act on, and not too many of them. */
async function keepInUse(): Promise<void> {
  const known = ids("domain");
  const start = service.store.liveDomains().length < 4;
  if (known.length < 6 || start)
    expect((await ask(service, "POST /v1/domains", { body: definition(`kept-${++kept}`, { start }) })).status).toBe(
      201,
    );
  for (const domain of known.slice(MOST_DOMAINS)) await ask(service, `DELETE /v1/domains/${domain}?force=true`);
}

test(`requests drawn from the document (FUZZ_SEED=${SEED} FUZZ_RUNS=${RUNS})`, {
  timeout: 60_000 + RUNS * 40,
}, async () => {
  const seen = new Map<string, Set<number>>();
  const drawn = fc.oneof(...operations.filter(({ responses }) => !("101" in responses)).map(drawOf));
  await fc.assert(
    fc.asyncProperty(drawn, async (request) => {
      await keepInUse();
      const operation = operations.find(({ id }) => id === request.operation)!;
      const answer = await send(operation, request);
      expect(answer.status, `${operation.id}: ${answer.text}`).toBeLessThan(500);
      if (!operation.streams) checkAnswer(operation, answer);
      seen.set(operation.id, (seen.get(operation.id) ?? new Set()).add(Math.floor(answer.status / 100)));
    }),
    { seed: SEED, numRuns: RUNS },
  );
  // A fuzzer that is only ever refused would prove little.
  const succeeded = [...seen.values()].filter((kinds) => kinds.has(2)).length;
  if (RUNS >= 2500) expect(succeeded).toBeGreaterThan(operations.length * 0.7);
});
