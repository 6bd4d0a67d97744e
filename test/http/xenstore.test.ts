/** Xenstore by REST: nodes, their limits, the part of one domain, and watches as streams. */

import { get } from "node:http";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { listenTcp } from "../../src/http/server.ts";
import { ask, definition, problem, type Service, startService, TOKEN, until } from "./service.ts";

let service: Service;
async function start() {
  service = await startService();
  await ask(service, "POST /v1/domains", { body: definition("web", { start: true }) });
}
const stop = () => service.close();

describe("a node", () => {
  beforeEach(start);
  afterEach(stop);

  test("is read with its permissions and its children in order of names", async () => {
    const { status, json } = await ask(service, "GET /v1/xenstore?path=/local/domain/1/memory");
    expect([status, json]).toEqual([
      200,
      {
        path: "/local/domain/1/memory",
        value: "",
        encoding: "utf8",
        permissions: ["n0", "r1"],
        children: ["static-max", "target", "videoram"],
        next: null,
      },
    ]);
  });

  test("is made by a write, with its parents, and then changed", async () => {
    const made = await ask(service, "PUT /v1/xenstore?path=/tool/a/b", {
      body: { value: "één", permissions: ["n0", "r1"] },
    });
    expect([made.status, made.json.value, made.json.permissions]).toEqual([201, "één", ["n0", "r1"]]);
    const changed = await ask(service, "PUT /v1/xenstore?path=/tool/a/b", { body: { value: "2" } });
    expect([changed.status, changed.json.value, changed.json.permissions]).toEqual([200, "2", ["n0", "r1"]]);
    const granted = await ask(service, "PUT /v1/xenstore?path=/tool/a/b", { body: { permissions: ["b0"] } });
    expect([granted.json.value, granted.json.permissions]).toEqual(["2", ["b0"]]);
    expect((await ask(service, "GET /v1/xenstore?path=/tool/a")).json.children).toEqual(["b"]);
  });

  test("may have bytes that are no text: they travel as base64", async () => {
    const value = Buffer.from([0, 255, 128]).toString("base64");
    await ask(service, "PUT /v1/xenstore?path=/tool/bytes", { body: { value, encoding: "base64" } });
    const { json } = await ask(service, "GET /v1/xenstore?path=/tool/bytes");
    expect([json.value, json.encoding]).toEqual([value, "base64"]);
  });

  test("goes with all below it", async () => {
    await ask(service, "PUT /v1/xenstore?path=/tool/a/b", { body: { value: "1" } });
    expect((await ask(service, "DELETE /v1/xenstore?path=/tool/a")).status).toBe(204);
    expect((await ask(service, "GET /v1/xenstore?path=/tool/a/b")).status).toBe(404);
  });

  test("with many children names them in pages", async () => {
    const names = Array.from({ length: 5 }, (_, n) => `c${n}`);
    for (const name of names) await ask(service, `PUT /v1/xenstore?path=/tool/many/${name}`, { body: {} });
    const seen: string[] = [];
    let after: string | null = "";
    while (after !== null) {
      const { json }: { json: { children: string[]; next: string | null } } = await ask(
        service,
        `GET /v1/xenstore?path=/tool/many&limit=2&after=${after}`,
      );
      seen.push(...json.children);
      after = json.next;
    }
    expect(seen).toEqual(names);
  });
});

describe("a domain's part", () => {
  beforeEach(start);
  afterEach(stop);

  test("is its home, by relative paths", async () => {
    const home = await ask(service, "GET /v1/domains/web/xenstore");
    expect(home.json).toMatchObject({ path: "/local/domain/1", permissions: ["n0", "r1"] });
    expect(home.json.children).toContain("memory");
    const name = await ask(service, "GET /v1/domains/web/xenstore?path=name");
    expect(name.json).toMatchObject({ path: "/local/domain/1/name", value: "web" });
  });

  test("is written and removed", async () => {
    const made = await ask(service, "PUT /v1/domains/web/xenstore?path=data/note", { body: { value: "hi" } });
    expect([made.status, made.json.path, made.json.permissions]).toEqual([201, "/local/domain/1/data/note", ["n1"]]);
    expect((await ask(service, "DELETE /v1/domains/web/xenstore?path=data/note")).status).toBe(204);
    expect((await ask(service, "GET /v1/domains/web/xenstore?path=data/note")).status).toBe(404);
  });

  test.each([
    ["PUT /v1/domains/web/xenstore?path=data/note", { value: "hi" }],
    ["POST /v1/domains/web/memory-target", { memoryMiB: 8 }],
    ["POST /v1/domains/web/sysrq", { key: "h" }],
  ])("that went with its domain just now is not made again by %s", async (line, body) => {
    service.domctl.xenstore.removeDomain(1);
    const answer = await ask(service, line, { body });
    expect([answer.status, problem(answer)]).toEqual([409, "wrong-state"]);
    expect((await ask(service, "GET /v1/xenstore?path=/local/domain")).json.children).toEqual(["0"]);
  });
});

const long = "a".repeat(2049);
const refused: [string, string, unknown, number, string, string?][] = [
  ["no path", "GET /v1/xenstore", undefined, 400, "bad-request", "path"],
  ["an empty path", "GET /v1/xenstore?path=", undefined, 400, "bad-request", "path"],
  ["a relative path", "GET /v1/xenstore?path=relative", undefined, 422, "bad-path", "path"],
  ["two slashes in a row", "GET /v1/xenstore?path=/a//b", undefined, 422, "bad-path", "path"],
  ["a slash at the end", "GET /v1/xenstore?path=/a/", undefined, 422, "bad-path", "path"],
  ["a space in the path", "GET /v1/xenstore?path=/a%20b", undefined, 422, "bad-path", "path"],
  ["a NUL in the path", "GET /v1/xenstore?path=/a%00b", undefined, 422, "bad-path", "path"],
  ["dots in the path", "GET /v1/xenstore?path=/local/domain/1/../2", undefined, 422, "bad-path", "path"],
  ["a path that no guest could ask for", `GET /v1/xenstore?path=/${long}`, undefined, 422, "bad-path", "path"],
  ["a path above every limit", `GET /v1/xenstore?path=/${long}${long}`, undefined, 400, "bad-request", "path"],
  ["a node that is not there", "GET /v1/xenstore?path=/nothing", undefined, 404, "node-not-found", "path"],
  [
    "a special name, which only watches take",
    "GET /v1/xenstore?path=@releaseDomain",
    undefined,
    422,
    "bad-path",
    "path",
  ],
  ["no children at all to name", "GET /v1/xenstore?path=/&limit=0", undefined, 400, "bad-request", "limit"],
  ["a value that is no text", "PUT /v1/xenstore?path=/a", { value: 1 }, 400, "bad-request", "value"],
  ["an unknown field", "PUT /v1/xenstore?path=/a", { wert: "1" }, 400, "bad-request", "wert"],
  [
    "a value that does not fit in a message",
    "PUT /v1/xenstore?path=/a",
    { value: "x".repeat(4094) },
    422,
    "value-too-large",
    "value",
  ],
  ["a value above every limit", "PUT /v1/xenstore?path=/a", { value: "x".repeat(9000) }, 400, "bad-request", "value"],
  ["what is not base64", "PUT /v1/xenstore?path=/a", { value: "?", encoding: "base64" }, 422, "bad-value", "value"],
  [
    "rights that there are not",
    "PUT /v1/xenstore?path=/a",
    { permissions: ["x0"] },
    400,
    "bad-request",
    "permissions/0",
  ],
  [
    "a domid that there is not",
    "PUT /v1/xenstore?path=/a",
    { permissions: ["n99999"] },
    422,
    "bad-value",
    "permissions",
  ],
  ["nobody as owner", "PUT /v1/xenstore?path=/a", { permissions: [] }, 400, "bad-request", "permissions"],
  ["the removal of the root", "DELETE /v1/xenstore?path=/", undefined, 422, "bad-path", "path"],
  [
    "the removal of what is not there",
    "DELETE /v1/xenstore?path=/local/nothing",
    undefined,
    404,
    "node-not-found",
    "path",
  ],
  ["a watch on a relative path", "GET /v1/xenstore/watch?path=relative", undefined, 422, "bad-path", "path"],
  [
    "an absolute path in a domain's part",
    "GET /v1/domains/web/xenstore?path=/local/domain/0",
    undefined,
    422,
    "bad-path",
    "path",
  ],
  ["a path out of a domain's part", "GET /v1/domains/web/xenstore?path=../0", undefined, 422, "bad-path", "path"],
  [
    "a special name in a domain's part",
    "GET /v1/domains/web/xenstore?path=@releaseDomain",
    undefined,
    422,
    "bad-path",
    "path",
  ],
  ["a part of a halted domain", "GET /v1/domains/halted/xenstore", undefined, 409, "wrong-state"],
  ["a part of no domain", "GET /v1/domains/nobody/xenstore", undefined, 404, "domain-not-found"],
];
describe("is refused:", () => {
  let shared: Service;
  beforeAll(async () => {
    shared = await startService();
    await ask(shared, "POST /v1/domains", { body: definition("web", { start: true }) });
    await ask(shared, "POST /v1/domains", { body: definition("halted") });
  });
  afterAll(() => shared.close());

  test.each(refused)("%s", async (_what, line, body, status, type, field) => {
    const answer = await ask(shared, line, { ...(body !== undefined && { body }) });
    expect([answer.status, problem(answer), answer.json.field]).toEqual([status, type, field]);
    expect((await ask(shared, "GET /v1/xenstore?path=/a")).status).toBe(404);
  });
});

describe("a watch", () => {
  beforeEach(start);
  afterEach(stop);

  /** Paths as they are told, and what else the stream says. */
  async function watch(path: string): Promise<{ paths: string[]; events: string[]; close(): void }> {
    service.listen.port =
      service.listen.port === 80 ? await listenTcp(service.app, "127.0.0.1", 0) : service.listen.port;
    const paths: string[] = [];
    const events: string[] = [];
    const headers = { authorization: `Bearer ${TOKEN}` };
    const request = get({ host: "127.0.0.1", port: service.listen.port, path, headers }, (response) => {
      response.setEncoding("utf8").on("data", (text: string) => {
        for (const [, event, data] of text.matchAll(/event: (\w+)\ndata: (.*)\n/g)) {
          events.push(event);
          if (event === "changed") paths.push(JSON.parse(data).path);
        }
      });
      response.once("end", () => events.push("end"));
      response.on("error", () => undefined);
    });
    request.on("error", () => undefined);
    await until(() => paths.length > 0);
    return { paths, events, close: () => request.destroy() };
  }

  test("tells its path at once, then what changes at or below it", async () => {
    const { paths, close } = await watch("/v1/xenstore/watch?path=/tool");
    expect(paths).toEqual(["/tool"]);
    await ask(service, "PUT /v1/xenstore?path=/tool/a", { body: { value: "1" } });
    await ask(service, "PUT /v1/xenstore?path=/elsewhere", { body: { value: "1" } });
    await ask(service, "DELETE /v1/xenstore?path=/tool/a");
    await until(() => paths.length === 3);
    expect(paths).toEqual(["/tool", "/tool/a", "/tool/a"]);
    expect(service.domctl.xenstore.watches).toBe(1);
    close();
    await until(() => service.domctl.xenstore.watches === 0);
  });

  test("tells the watched path alone when too many nodes change at once", async () => {
    const { paths } = await watch("/v1/xenstore/watch?path=/tool");
    service.domctl.xenstore.local.transaction((store) => {
      for (let n = 0; n < 1000; n++) store.write(`/tool/n${n}`, "");
    });
    service.domctl.xenstore.tell();
    await until(() => paths.length > 1);
    expect(paths).toEqual(["/tool", "/tool"]);
  });

  test("of a domain ends when the domain stops", async () => {
    const { paths, events } = await watch("/v1/domains/web/xenstore/watch?path=data");
    await ask(service, "PUT /v1/domains/web/xenstore?path=data/x", { body: { value: "1" } });
    await until(() => paths.length === 2);
    expect(paths).toEqual(["/local/domain/1/data", "/local/domain/1/data/x"]);
    await ask(service, "POST /v1/domains/web/destroy");
    await until(() => events.includes("end"));
    expect(events.at(-2)).toBe("gone");
    await until(() => service.domctl.xenstore.watches === 0);
  });

  test("sees domains come and go by the special names", async () => {
    const { paths } = await watch("/v1/xenstore/watch?path=@releaseDomain");
    expect(paths).toEqual(["@releaseDomain"]);
  });

  test("of no more than 1024 at a time", async () => {
    for (let n = 0; n < 1024; n++) await service.domctl.xenstore.watch("/tool", () => undefined);
    const answer = await ask(service, "GET /v1/xenstore/watch?path=/tool");
    expect([answer.status, problem(answer), answer.json.limit]).toEqual([429, "too-many-watches", 1024]);
  });
});
