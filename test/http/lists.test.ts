/** Lists: filtered, sorted, page by page while things change, with chosen fields; and how long 10,000 definitions make them. */

import { join } from "node:path";
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { SORTS } from "../../src/toolstack/lists.ts";
import { ask, definition, problem, type Service, startService } from "./service.ts";

interface Item {
  readonly name: string;
  readonly [field: string]: unknown;
}

let service: Service;
beforeAll(async () => {
  service = await startService();
  const make = (name: string, more: object) => ask(service, "POST /v1/domains", { body: definition(name, more) });
  await make("web-1", { memoryMiB: 32, vcpus: 2, start: true, description: "The shop's front" });
  await make("db-1", { memoryMiB: 64, cmdline: "console=hvc0 quiet" });
  await make("web-2", { memoryMiB: 16, vcpus: 2 });
  await make("a[b]", {}); // Refused: no such name.
  await make("mail", { memoryMiB: 16, start: true });
  await ask(service, "POST /v1/domains/mail/pause");
  await ask(service, "PATCH /v1/domains/web-1", { body: { description: "The shop's face" } });
});
afterAll(() => service.close());

const list = async (query = "") => (await ask(service, `GET /v1/domains${query}`)).json;
const names = (page: { items: readonly Item[] }) => page.items.map(({ name }) => name);

describe("a filter of domains:", () => {
  test.each([
    ["", ["web-1", "db-1", "web-2", "mail"]],
    ["?state=running", ["web-1"]],
    ["?state=running,paused", ["web-1", "mail"]],
    ["?name=web-*", ["web-1", "web-2"]],
    ["?name=%3Fb-1", ["db-1"]],
    ["?name=%5Bdm%5D*", ["db-1", "mail"]],
    ["?name=WEB-*", []],
    ["?kernel=builtin:demo", ["web-1", "db-1", "web-2", "mail"]],
    ["?kernel=none", []],
    ["?project=default", ["web-1", "db-1", "web-2", "mail"]],
    ["?project=other", []],
    ["?text=QUIET", ["db-1"]],
    ["?text=shop", ["web-1"]],
    ["?text=%25", []],
    ["?name=web-*&state=halted", ["web-2"]],
  ])("%s", async (query, wanted) => {
    const page = await list(`${query}${query ? "&" : "?"}count=true`);
    expect(names(page)).toEqual(wanted);
    expect(page).toMatchObject({ total: wanted.length, next: null });
  });
});

describe("an order of domains:", () => {
  test.each([
    ["created", ["web-1", "db-1", "web-2", "mail"]],
    ["-created", ["mail", "web-2", "db-1", "web-1"]],
    ["name", ["db-1", "mail", "web-1", "web-2"]],
    ["memoryMiB", ["web-2", "mail", "web-1", "db-1"]],
    ["-memoryMiB", ["db-1", "web-1", "mail", "web-2"]],
    ["-vcpus", ["web-2", "web-1", "mail", "db-1"]],
    ["state", ["db-1", "web-2", "mail", "web-1"]],
    ["-changed", ["web-1", "mail", "web-2", "db-1"]],
  ])("%s", async (sort, wanted) => {
    expect(names(await list(`?sort=${sort}`))).toEqual(wanted);
    const paged: string[] = [];
    for (let next: string | null = ""; next !== null; ) {
      const page: { items: Item[]; next: string | null } = await list(
        `?sort=${sort}&limit=1${next && `&after=${next}`}`,
      );
      paged.push(...names(page));
      next = page.next;
    }
    expect(paged).toEqual(wanted);
  });
});

test("chosen fields are all that is said, in a page like any other", async () => {
  const page = await list("?fields=name,state&limit=2&sort=name");
  expect(page.items).toEqual([
    { name: "db-1", state: "halted" },
    { name: "mail", state: "paused" },
  ]);
  expect(names(await list(`?limit=2&sort=name&after=${page.next}`))).toEqual(["web-1", "web-2"]);
});

describe("refused:", () => {
  test.each([
    ["a field that there is not", "?fields=name,color", 422, "bad-value", "fields"],
    ["a state that there is not", "?state=asleep", 400, "bad-request", "state"],
    ["an order that there is not", "?sort=color", 400, "bad-request", "sort"],
    ["what is no cursor", "?after=xyz", 422, "bad-value", "after"],
  ])("%s", async (_what, query, status, type, field) => {
    const answer = await ask(service, `GET /v1/domains${query}`);
    expect([answer.status, problem(answer), answer.json.field]).toEqual([status, type, field]);
  });

  test.each(["?limit=1&sort=name", "?limit=1&state=halted"])("a cursor of another list than %s", async (query) => {
    const { next } = await list("?limit=1");
    const answer = await ask(service, `GET /v1/domains${query}&after=${next}`);
    expect([answer.status, answer.json.field]).toEqual([422, "after"]);
  });
});

test("pages stay put while rows come and go: none is given twice, none that stays is left out", async () => {
  const own = await startService();
  const make = (name: string) => ask(own, "POST /v1/domains", { body: definition(name) });
  for (const name of ["b", "d", "f", "h", "j"]) await make(name);
  const page = async (after = "") =>
    (await ask(own, `GET /v1/domains?sort=name&limit=2${after && `&after=${after}`}`)).json;
  const first = await page();
  await ask(own, "DELETE /v1/domains/d"); // The row that the cursor names.
  await make("a"); // Before it: not seen any more.
  await make("g");
  const second = await page(first.next);
  await ask(own, "DELETE /v1/domains/b");
  const third = await page(second.next);
  expect([first, second, third].flatMap(names)).toEqual(["b", "d", "f", "g", "h", "j"]);
  expect(third.next).toBeNull();
  await own.close();
});

describe("tasks", () => {
  const tasks = async (query: string) => (await ask(service, `GET /v1/tasks${query}`)).json;

  test("by state, operation and domain, the newest first where asked", async () => {
    const all = await tasks("?count=true");
    expect(all.items.map(({ operation }: Item) => operation)).toEqual(["create", "create", "pause"]);
    expect(all.total).toBe(3);
    expect((await tasks("?operation=pause")).items).toHaveLength(1);
    expect((await tasks("?state=failed,cancelled")).items).toEqual([]);
    const { domain } = all.items[0];
    expect((await tasks(`?domain=${domain}`)).items).toHaveLength(1);
    const newest = await tasks("?sort=-created&limit=1&fields=operation,state");
    expect(newest.items).toEqual([{ operation: "pause", state: "succeeded" }]);
    expect((await tasks(`?sort=-created&limit=1&after=${newest.next}`)).items[0].operation).toBe("create");
  });
});

test("every order and every filter that selects has an index: no page sorts the whole table", () => {
  const database = new Database(join(service.stateDir, "domzero.db"), { readonly: true });
  const columns = { created: "position", memoryMiB: "memory_mib", changed: "changed_at" } as Record<string, string>;
  for (const sort of SORTS.domains)
    for (const way of ["ASC", "DESC"]) {
      const column = columns[sort] ?? sort;
      const sql = `EXPLAIN QUERY PLAN SELECT * FROM domains WHERE 1 ORDER BY ${column} ${way}, position ${way} LIMIT 10`;
      const plan = (database.prepare(sql).all() as { detail: string }[]).map(({ detail }) => detail).join("; ");
      expect(plan, sort).not.toContain("B-TREE FOR ORDER BY");
    }
  database.close();
});
