/** Whatever is sent, the answer is the right kind of answer: no 5xx, a problem for what is refused, and the service goes on. */

import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { PROBLEMS } from "../../src/http/problem-types.ts";
import { type Answer, ask, definition, problem, type Service, startService } from "./service.ts";

let service: Service;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.close());

const SEED = Number(process.env.FUZZ_SEED ?? 20261123);
const options = { seed: SEED, numRuns: 300 };

function check(answer: Answer): void {
  expect(answer.status).toBeLessThan(500);
  if (answer.status < 400) return;
  expect(answer.headers["content-type"]).toContain("application/problem+json");
  expect(answer.json.status).toBe(answer.status);
  expect(Object.keys(PROBLEMS)).toContain(problem(answer));
}

const value = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }),
  fc.constantFrom(-1, 0, 1, 16, 33, 3073, 1e9, 2 ** 53, "builtin:demo", "destroy", "", "a", "1", null, true),
);
const field = fc.constantFrom(
  "name",
  "kernel",
  "ramdisk",
  "cmdline",
  "memoryMiB",
  "maxMemoryMiB",
  "vcpus",
  "onCrash",
  "description",
  "start",
  "uuid",
  "__proto__",
  "constructor",
);
const spoiled = fc.dictionary(field, value, { maxKeys: 3, noNullPrototype: true });

test(`definitions, spoiled (FUZZ_SEED=${SEED})`, async () => {
  let index = 0;
  await fc.assert(
    fc.asyncProperty(spoiled, async (fields) => {
      const body = { ...definition(`d${index++}`), ...fields };
      const answer = await ask(service, "POST /v1/domains", { body: JSON.stringify(body) });
      check(answer);
      if (answer.status !== 201) return;
      check(await ask(service, `PATCH /v1/domains/${answer.json.uuid}`, { body: JSON.stringify(fields) }));
      expect((await ask(service, `DELETE /v1/domains/${answer.json.uuid}?force=true`)).status).toBe(204);
    }),
    options,
  );
  expect((await ask(service, "GET /v1/domains")).json.items).toEqual([]);
  expect(service.domctl.domains.size).toBe(0);
});

test(`paths, queries and bodies of any text (FUZZ_SEED=${SEED})`, async () => {
  const method = fc.constantFrom("GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS");
  const part = fc.oneof(
    fc.constantFrom("v1", "domains", "images", "tasks", "events", "console", "hypercalls", "start", "destroy", "host"),
    fc.string({ maxLength: 12 }).map(encodeURIComponent),
    fc.constantFrom("%", "%zz", "%00", "..", "*", ":domain"),
  );
  const query = fc.dictionary(
    fc.constantFrom("limit", "after", "offset", "since", "kind", "force", "wait", "x"),
    fc.oneof(fc.string({ maxLength: 8 }), fc.constantFrom("0", "1", "-1", "1e3", "true", "now", "kernel")),
    { maxKeys: 2 },
  );
  const body = fc.option(fc.oneof(fc.string(), fc.json()), { nil: undefined });
  await fc.assert(
    fc.asyncProperty(method, fc.array(part, { maxLength: 5 }), query, body, async (verb, parts, asked, sent) => {
      const url = `/${parts.join("/")}?${new URLSearchParams({ ...asked, ...(asked.wait && { wait: "0" }) })}`;
      const answer = await ask(service, `${verb} ${url}`, { ...(sent !== undefined && { body: sent }) });
      if (verb !== "HEAD") check(answer);
    }),
    options,
  );
});
