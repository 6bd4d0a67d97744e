/**
 * Every route by every role, on what is in the token's project and on what is in another: each cell of the table, as the OpenAPI
 * document has it.
 */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import openapi from "../../openapi/openapi.json" with { type: "json" };
import { ROLES, type Role } from "../../src/toolstack/access/caller.ts";
import { type Ask, ask, definition, problem, type Service, startService } from "./service.ts";

interface Route {
  readonly method: string;
  readonly path: string;
  readonly role: Role | "anyone";
  readonly allProjects: boolean;
  readonly operation: string;
  /** Answers with a stream, which does not end by itself. */
  readonly streams: boolean;
}

interface Operation {
  readonly operationId: string;
  readonly "x-required-role": Role | "anyone";
  readonly "x-all-projects"?: boolean;
  readonly responses: Record<string, { content?: object }>;
}

const routes: Route[] = Object.entries(openapi.paths).flatMap(([path, methods]) =>
  Object.entries(methods as unknown as Record<string, Operation>).map(([method, operation]) => ({
    method: method.toUpperCase(),
    path,
    role: operation["x-required-role"],
    allProjects: operation["x-all-projects"] ?? false,
    operation: operation.operationId,
    streams: Object.keys(operation.responses["200"]?.content ?? {}).join() === "text/event-stream",
  })),
);

/** One that strikes nothing here. */
const FAULT = { kind: "delay-request", operationId: "getHealth", delayMs: 1 };

/** What it takes to pass the schema of each route; bodies of actions may be left out. */
const REQUESTS: Readonly<Record<string, { query?: string; body?: unknown }>> = {
  createDomain: { body: definition("made", { project: "mine" }) },
  actOnDomains: { body: { operation: "start", domains: ["nobody"] } },
  changeDomain: { body: { description: "changed" } },
  uploadImage: { query: "?kind=ramdisk&project=mine", body: "bytes" },
  typeIntoConsole: { body: "x" },
  setHypercallTrace: { body: { enabled: true } },
  setMemoryTarget: { body: { memoryMiB: 8 } },
  setOnlineVcpus: { body: { online: 1 } },
  pressSysrq: { body: { key: "h" } },
  writeDomainXenstore: { query: "?path=data/a", body: { value: "x" } },
  writeXenstore: { query: "?path=/tool/a", body: { value: "x" } },
  readXenstore: { query: "?path=/" },
  removeXenstore: { query: "?path=/tool/b" },
  watchXenstore: { query: "?path=/tool" },
  createProject: { body: { name: "made" } },
  addFault: { body: FAULT },
  createToken: { body: { name: "made", role: "viewer" } },
  changeToken: { body: { rateLimit: null } },
};

interface Objects {
  readonly domain: string;
  readonly image: string;
  readonly task: string;
  readonly project: string;
  readonly token: string;
  readonly fault: string;
}

let service: Service;
const secrets = new Map<string, string>();

async function made(line: string, how: Ask): Promise<{ id: string; uuid: string; secret: string }> {
  const answer = await ask(service, line, how);
  expect(answer.status, answer.text).toBeLessThan(300);
  return answer.json;
}

/** Whatever an earlier cell has deleted is made again. */
async function objectsIn(project: string): Promise<Objects> {
  const name = `domain-of-${project}`;
  const { domains } = service.toolstack;
  if (!domains.find(name).ok) {
    await made("POST /v1/domains", { body: definition(name, { project }) });
    await made(`POST /v1/domains/${name}/start`, {});
  }
  const image = await made(`POST /v1/images?kind=ramdisk&project=${project}`, { body: project });
  const task = service.store.tasks({ after: 0, limit: 1, projects: [project] }).items[0].id;
  const order = { by: "created", descending: false } as const;
  const [victim] = service.store.lists.select("tokens", { filter: { name: "victim" }, order, limit: 1 }).items;
  const token = victim ?? (await made("POST /v1/tokens", { body: { name: "victim", role: "viewer" } }));
  const fault = service.toolstack.faults?.list()[0] ?? (await made("POST /v1/faults", { body: FAULT }));
  const found = domains.find(name);
  return {
    domain: found.ok ? found.value.uuid : name,
    image: image.id,
    task,
    project,
    token: token.id,
    fault: fault.id,
  };
}

beforeAll(async () => {
  service = await startService({ faults: true });
  for (const name of ["mine", "theirs"]) await made("POST /v1/projects", { body: { name } });
  for (const role of ROLES)
    for (const [who, projects] of Object.entries({ limited: ["mine"], wide: "all" })) {
      if (role === "admin" && who === "limited") continue;
      const { secret } = await made("POST /v1/tokens", { body: { name: `${who}-${role}`, role, projects } });
      secrets.set(`${who} ${role}`, secret);
    }
});
afterAll(() => service.close());

test("the committed document has every route that the service has", async () => {
  const { json } = await ask(service, "GET /openapi.json");
  expect(Object.keys(json.paths).sort()).toEqual(Object.keys(openapi.paths).sort());
  expect(routes.every(({ role }) => role === "anyone" || ROLES.includes(role))).toBe(true);
});

/** What the table says of a cell: the problem that it is refused with; undefined lets it in. */
function refusal(route: Route, who: string, role: Role | undefined, foreign: boolean): string | undefined {
  if (route.role === "anyone") return undefined;
  if (role === undefined) return "401 unauthorized";
  if (ROLES.indexOf(role) < ROLES.indexOf(route.role)) return "403 role-too-low";
  if (who === "wide") return undefined;
  if (route.allProjects) return "403 all-projects-needed";
  const kind = /\{(\w+)\}/.exec(route.path)?.[1];
  return foreign && kind !== undefined ? `404 ${kind}-not-found` : undefined;
}

async function cell(route: Route, project: string, token: string | null) {
  const objects = await objectsIn(project);
  const path = route.path.replaceAll(/\{(\w+)\}/g, (_, kind: keyof Objects) => objects[kind] ?? `no-${kind}`);
  const { query = "", body } = REQUESTS[route.operation] ?? {};
  const method = route.streams ? "HEAD" : route.method;
  return ask(service, `${method} ${path}${query}`, { token, ...(body !== undefined && { body }) });
}

describe.each(routes)("$method $path takes $role", (route) => {
  const named = /\{(\w+)\}/.test(route.path);
  test.each([
    ["no", undefined],
    ["limited", "viewer"],
    ["limited", "operator"],
    ["wide", "viewer"],
    ["wide", "operator"],
    ["wide", "admin"],
  ] as const)("from %s %s", async (who, role) => {
    const token = role === undefined ? null : (secrets.get(`${who} ${role}`) ?? "");
    for (const project of named ? ["mine", "theirs"] : ["mine"]) {
      const wanted = refusal(route, who, role, project === "theirs");
      const answer = await cell(route, project, token);
      const got = `${answer.status} ${route.streams ? wanted?.split(" ")[1] : problem(answer)}`;
      if (wanted !== undefined) expect(got, `in ${project}`).toBe(wanted);
      else {
        expect(answer.status, `${answer.text} in ${project}`).toBeLessThan(500);
        expect([400, 401, 403], `${answer.text} in ${project}`).not.toContain(answer.status);
        expect(got, `in ${project}`).not.toMatch(/^404 (domain|image|task|project|token)-not-found/);
      }
    }
  });
});

const lists = routes.filter(({ method, path, streams }) => method === "GET" && !path.includes("{") && !streams);

test.each(lists)(
  "$path shows a limited token nothing of another project, in no page and under no filter",
  async (route) => {
    const theirs = await objectsIn("theirs");
    await objectsIn("mine");
    const token = secrets.get("limited operator") ?? "";
    const hidden = [theirs.domain, "domain-of-theirs", theirs.image, theirs.task, '"theirs"'];
    const queries = ["", ...hidden.flatMap((id) => ["domain", "id", "project"].map((name) => `?${name}=${id}`))];
    for (const query of queries) {
      const { text } = await ask(service, `GET ${route.path}${encodeURI(query)}`, { token });
      // A refusal may say what was asked for.
      const answer = query === "" ? text : text.replaceAll(query.split("=")[1], "");
      for (const secret of hidden) expect(answer.includes(secret), `${secret} in ${route.path}${query}`).toBe(false);
    }
    const { text } = await ask(service, `GET ${route.path}`, { token: secrets.get("wide operator") ?? "" });
    if (/domains$|images$|tasks$|events$|projects$/.test(route.path)) expect(text).toContain("theirs");
  },
);
