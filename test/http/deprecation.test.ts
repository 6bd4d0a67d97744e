/** A route that is to go says so in every answer, refusals included, and in its description. */

import Fastify from "fastify";
import { expect, test } from "vitest";
import { announceDeprecations } from "../../src/http/deprecation.ts";

const config = { deprecated: { since: "2027-01-31", sunset: "2027-08-31", instead: "newThing" } };

test("a deprecated route has both headers, and a notice in its description", async () => {
  const app = Fastify();
  announceDeprecations(app);
  const described: unknown[] = [];
  app.addHook("onRoute", ({ schema }) => void described.push(schema));
  app.get("/old", { config, exposeHeadRoute: false, schema: { description: "Old." } as never }, async () => "old");
  app.get("/new", { exposeHeadRoute: false }, async () => "new");
  const old = await app.inject("/old");
  expect(old.headers).toMatchObject({ deprecation: "@1801353600", sunset: "Tue, 31 Aug 2027 00:00:00 GMT" });
  expect((await app.inject("/new")).headers).not.toHaveProperty("deprecation");
  expect(described[0]).toMatchObject({
    deprecated: true,
    description: "Old. Deprecated: use newThing; gone after 2027-08-31.",
  });
  await app.close();
});

test("one that would be gone too soon cannot be added", async () => {
  const app = Fastify();
  announceDeprecations(app);
  const soon = { deprecated: { ...config.deprecated, sunset: "2027-02-28" } };
  expect(() => app.get("/old", { config: soon }, async () => "old")).toThrow("half a year");
  await app.close();
});
