/** Images, projects, tokens and the audit log are listed as domains and tasks are: filtered, sorted, page by page, with chosen fields. */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ask, definition, problem, type Service, startService, until } from "./service.ts";

let service: Service;
let imageOfRed: string;
beforeAll(async () => {
  service = await startService();
  const make = async (path: string, body: unknown) => {
    const made = await ask(service, `POST ${path}`, { body });
    expect(made.status, made.text).toBe(201);
    return made.json;
  };
  await make("/v1/projects", { name: "red", description: "The shop's" });
  await make("/v1/projects", { name: "blue" });
  await make("/v1/images?kind=ramdisk", "xxx");
  await make("/v1/images?kind=kernel", "x");
  imageOfRed = (await make("/v1/images?kind=ramdisk&project=red", "xx")).sha256;
  await make("/v1/tokens", { name: "robot", role: "operator", projects: ["red"], expiresAt: "2099-01-01T00:00:00Z" });
  await make("/v1/tokens", { name: "chief", role: "admin" });
  await make("/v1/tokens", { name: "reader", role: "viewer", projects: ["blue"], expiresAt: "2098-01-01T00:00:00Z" });
  await make("/v1/domains", definition("web", { project: "red" }));
  // What the last was about is added to its entry soon after its answer.
  await until(async () => (await page("/v1/audit?project=red")).items.length === 3);
});
afterAll(() => service.close());

interface Page {
  readonly items: readonly Record<string, unknown>[];
  readonly next: string | null;
  readonly total?: number;
}

const page = async (path: string): Promise<Page> => (await ask(service, `GET ${path}`)).json;
const join = (path: string, query: string) => `${path}${path.includes("?") ? "&" : "?"}${query}`;

/** A list, the field that stands for each of its items here, and what it has. */
const LISTS: readonly (readonly [path: string, field: string, wanted: readonly unknown[]])[] = [
  ["/v1/images", "size", [3, 1, 2]],
  ["/v1/images?sort=size", "size", [1, 2, 3]],
  ["/v1/images?sort=-size", "size", [3, 2, 1]],
  ["/v1/images?kind=ramdisk", "size", [3, 2]],
  ["/v1/images?project=red", "size", [2]],
  ["/v1/images?kind=kernel&project=red", "size", []],
  ["/v1/projects", "name", ["default", "red", "blue"]],
  ["/v1/projects?sort=name", "name", ["blue", "default", "red"]],
  ["/v1/projects?name=*e*&sort=-name", "name", ["red", "default", "blue"]],
  ["/v1/projects?text=SHOP", "name", ["red"]],
  ["/v1/tokens", "name", ["robot", "chief", "reader"]],
  ["/v1/tokens?sort=name", "name", ["chief", "reader", "robot"]],
  ["/v1/tokens?sort=expires", "name", ["reader", "robot", "chief"]],
  ["/v1/tokens?sort=-expires", "name", ["chief", "robot", "reader"]],
  ["/v1/tokens?sort=lastUsed", "name", ["robot", "chief", "reader"]],
  ["/v1/tokens?name=r*", "name", ["robot", "reader"]],
  ["/v1/tokens?role=admin", "name", ["chief"]],
  ["/v1/tokens?project=red", "name", ["robot", "chief"]],
  ["/v1/tokens?project=blue&sort=-created", "name", ["reader", "chief"]],
  ["/v1/audit?operation=createToken&outcome=done", "operation", ["createToken", "createToken", "createToken"]],
  ["/v1/audit?project=red&sort=written", "operation", ["createProject", "uploadImage", "createDomain"]],
  ["/v1/audit?project=red", "operation", ["createDomain", "uploadImage", "createProject"]],
];

describe.each(LISTS)("%s", (path, field, wanted) => {
  test("has what matches in its order, counts it, and shows the chosen field alone", async () => {
    const { items, next, total } = await page(join(path, `count=true&fields=${field}`));
    expect(items).toEqual(wanted.map((value) => ({ [field]: value })));
    expect([next, total]).toEqual([null, wanted.length]);
  });

  test("comes page by page as it comes at once", async () => {
    const seen: unknown[] = [];
    for (let after: string | null = ""; after !== null; ) {
      const some: Page = await page(join(path, `limit=1&fields=${field}${after && `&after=${after}`}`));
      seen.push(...some.items.map((item) => item[field]));
      after = some.next;
    }
    expect(seen).toEqual(wanted);
  });
});

test("an image is found by its SHA-256, in any case", async () => {
  for (const sha256 of [imageOfRed, imageOfRed.toUpperCase()])
    expect((await page(`/v1/images?sha256=${sha256}`)).items).toMatchObject([{ sha256: imageOfRed, project: "red" }]);
});

test("what is added and removed meanwhile moves no page", async () => {
  const first = await page("/v1/tokens?sort=name&limit=2&fields=name");
  const made = await ask(service, "POST /v1/tokens", { body: { name: "a", role: "viewer" } });
  const [rest] = [await page(`/v1/tokens?sort=name&limit=2&fields=name&after=${first.next}`)];
  expect([...first.items, ...rest.items].map(({ name }) => name)).toEqual(["chief", "reader", "robot"]);
  await ask(service, `DELETE /v1/tokens/${made.json.id}`);
});

test.each([
  [
    "a cursor of another list",
    async () => `/v1/projects?after=${(await page("/v1/tokens?limit=1")).next}`,
    "bad-value",
    "after",
  ],
  ["a field that there is not", async () => "/v1/tokens?fields=name,secret", "bad-value", "fields"],
  ["the digest of a secret", async () => "/v1/tokens?fields=digest", "bad-value", "fields"],
  ["an order that there is not", async () => "/v1/images?sort=name", "bad-request", "sort"],
  ["a filter that there is not", async () => "/v1/projects?state=halted", "bad-request", "state"],
])("%s is refused", async (_what, path, code, field) => {
  const refused = await ask(service, `GET ${await path()}`);
  expect([problem(refused), refused.json.field]).toEqual([code, field]);
});
