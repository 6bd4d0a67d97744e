/** What browsers are told: whose pages may ask, and what to be careful about. */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ask, type Service, startService } from "./service.ts";

const OURS = "https://console.example";
let service: Service;
let closed: Service;
beforeAll(async () => {
  service = await startService({ origins: [OURS, "http://localhost:3000"] });
  closed = await startService();
});
afterAll(async () => {
  await service.close();
  await closed.close();
});

const preflight = (origin: string, method = "PATCH") => ({
  token: null,
  headers: {
    origin,
    "access-control-request-method": method,
    "access-control-request-headers": "authorization,if-match",
  },
});

describe("a page of an origin that is named", () => {
  test("may ask with any method and header, without a token for the question itself", async () => {
    const answer = await ask(service, "OPTIONS /v1/domains/web", preflight(OURS));
    expect(answer.status).toBe(204);
    expect(answer.headers["access-control-allow-origin"]).toBe(OURS);
    expect(answer.headers["access-control-allow-methods"]).toBe("GET, HEAD, POST, PUT, PATCH, DELETE");
    expect(answer.headers["access-control-allow-headers"]).toBe("authorization,if-match");
    expect(answer.headers["access-control-allow-credentials"]).toBeUndefined();
  });

  test.each([
    ["an answer", "GET /v1/domains", {}, 200],
    ["a refusal", "GET /v1/domains", { token: null }, 401],
    ["a problem", "GET /v1/domains/none", {}, 404],
  ])("may read %s", async (_what, line, how, status) => {
    const answer = await ask(service, line, { ...how, headers: { origin: OURS } });
    expect([answer.status, answer.headers["access-control-allow-origin"]]).toEqual([status, OURS]);
    expect(answer.headers["access-control-expose-headers"]).toContain("ETag");
    expect(answer.headers.vary).toContain("Origin");
  });

  test("still needs a token for all but the question", async () => {
    expect((await ask(service, "OPTIONS /v1/domains", { token: null, headers: { origin: OURS } })).status).toBe(204);
    expect((await ask(service, "POST /v1/domains", { token: null, headers: { origin: OURS } })).status).toBe(401);
  });
});

test.each(["https://evil.example", "https://console.example.evil.example", "http://console.example", "null"])(
  "a page of %s may read nothing",
  async (origin) => {
    expect(
      (await ask(service, "GET /v1/domains", { headers: { origin } })).headers["access-control-allow-origin"],
    ).toBe(undefined);
    const asked = await ask(service, "OPTIONS /v1/domains", preflight(origin));
    expect(asked.headers["access-control-allow-origin"]).toBeUndefined();
  },
);

test("without origins that are named nobody's page may read anything, and preflights are refused", async () => {
  const answer = await ask(closed, "GET /v1/domains", { headers: { origin: OURS } });
  expect(Object.keys(answer.headers).filter((name) => name.startsWith("access-control"))).toEqual([]);
  expect((await ask(closed, "OPTIONS /v1/domains", preflight(OURS))).status).toBe(401);
});

describe("headers", () => {
  const careful = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
  };

  test.each(["GET /v1/domains", "GET /v1/domains/none", "GET /nothing", "GET /healthz", "GET /openapi.json"])(
    "of %s say that it is data",
    async (line) => {
      expect((await ask(service, line)).headers).toMatchObject({
        ...careful,
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
      });
    },
  );

  test("of the documentation let its own scripts and styles run, and no others", async () => {
    const { headers, text } = await ask(service, "GET /docs", { token: null });
    expect(headers).toMatchObject(careful);
    const policy = String(headers["content-security-policy"]);
    expect(policy).toMatch(/script-src 'self'/);
    expect(policy).not.toMatch(/script-src[^;]*'unsafe-inline'/);
    for (const [, path] of text.matchAll(/(?:src|href)="\.?\/?(docs\/[^"]+|static\/[^"]+)"/g)) {
      const file = await ask(service, `GET /${path.startsWith("docs/") ? path : `docs/${path}`}`, { token: null });
      expect(file.status, path).toBe(200);
    }
    expect(text).toContain("swagger-ui");
  });

  test("of plain HTTP promise no TLS", async () => {
    expect((await ask(service, "GET /healthz")).headers["strict-transport-security"]).toBeUndefined();
  });
});
