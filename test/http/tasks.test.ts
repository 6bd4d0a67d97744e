/** Tasks: what they made, how far they are, and how they are ended before they are done. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ask, definition, problem, type Service, startService, until } from "./service.ts";

let service: Service;
beforeEach(async () => {
  service = await startService();
});
afterEach(() => service.close());

const async202 = { headers: { prefer: "respond-async" } };
const begin = async (line: string, body?: object) =>
  (await ask(service, line, { ...async202, ...(body && { body }) })).json as { id: string; domain: string };
const task = async (id: string) => (await ask(service, `GET /v1/tasks/${id}`)).json;
const web = async () => (await ask(service, "GET /v1/domains/web")).json;
const cancel = (id: string) => ask(service, `POST /v1/tasks/${id}/cancel`);

/** Cancels a task whose step is held up, and lets the step go on: it ends cancelled. */
async function cancelAt(id: string, open: () => void): Promise<void> {
  expect((await ask(service, `POST /v1/tasks/${id}/cancel`, async202)).status).toBe(202);
  open();
  await until(async () => (await task(id)).finishedAt !== null);
  expect((await task(id)).state).toBe("cancelled");
}

/** Lets nothing of `method` through until the returned function is called. */
function gate(method: "create" | "suspend" | "destroy"): () => void {
  const { promise, resolve } = Promise.withResolvers<void>();
  service.domctl.gates.set(method, promise);
  return () => {
    service.domctl.gates.delete(method);
    resolve();
  };
}
const called = (what: string) => until(() => service.domctl.calls.some((call) => call.startsWith(what)));

describe("a task that succeeded says what it made:", () => {
  test("a domain and its domid", async () => {
    const { id, domain } = await begin("POST /v1/domains", definition("web", { start: true }));
    await until(async () => (await task(id)).state === "succeeded");
    expect((await task(id)).result).toEqual({ domain, domid: 1 });
  });

  test("a file of so many bytes", async () => {
    await ask(service, "POST /v1/domains", { body: definition("web", { start: true }) });
    const { id, domain } = await begin("POST /v1/domains/web/suspend");
    await until(async () => (await task(id)).state === "succeeded");
    expect((await task(id)).result).toEqual({ domain, bytes: 36, frames: 1 });
  });

  test("one that failed made nothing", async () => {
    service.domctl.refusals.set("create", { ok: false, code: "bad-kernel", detail: "It is all zeros." });
    const { id } = await begin("POST /v1/domains", definition("web", { start: true }));
    await until(async () => (await task(id)).state === "failed");
    expect((await task(id)).result).toBeNull();
  });
});

test("progress is steps of steps, and bytes while a file is written", async () => {
  await ask(service, "POST /v1/domains", { body: definition("web", { start: true }) });
  const open = gate("suspend");
  const { id, domain } = await begin("POST /v1/domains/web/suspend");
  await called("suspend");
  writeFileSync(join(service.stateDir, "suspended", `${domain}.suspended.tmp`), "x".repeat(1000));
  const seen = await task(id);
  expect(seen).toMatchObject({ state: "running", step: "save", stepsDone: 2, stepsTotal: 4 });
  expect(seen.progress).toEqual({ bytes: 1000, mostBytes: 16 * 2 ** 20 });
  expect((await web()).task.progress).toEqual(seen.progress);
  open();
  await until(async () => (await task(id)).state === "succeeded");
  expect((await task(id)).progress).toBeNull();
});

describe("cancelling", () => {
  test("a start while it builds leaves the domain halted, and nothing alive", async () => {
    await ask(service, "POST /v1/domains", { body: definition("web") });
    const open = gate("create");
    const { id } = await begin("POST /v1/domains/web/start");
    await called("create");
    await cancelAt(id, open);
    expect(await task(id)).toMatchObject({ state: "cancelled", refusal: { code: "cancelled" }, result: null });
    expect((await web()).state).toBe("halted");
    expect(service.domctl.domains.size).toBe(0);
  });

  test("a creation takes the definition back", async () => {
    const open = gate("create");
    const { id } = await begin("POST /v1/domains", definition("web", { start: true }));
    await called("create");
    await cancelAt(id, open);
    expect((await ask(service, "GET /v1/domains/web")).status).toBe(404);
    expect(service.domctl.domains.size).toBe(0);
  });

  test("a creation that ends for the service stops takes the definition back too", async () => {
    const open = gate("create");
    const created = ask(service, "POST /v1/domains", { body: definition("web", { start: true }) });
    await called("create");
    const stopped = service.toolstack.stop();
    open();
    await stopped;
    expect(problem(await created)).toBe("cancelled");
    expect((await ask(service, "GET /v1/domains/web")).status).toBe(404);
    expect(service.domctl.domains.size).toBe(0);
  });

  test("a clean shutdown that waits for its guest withdraws the request, and the guest runs on", async () => {
    service.domctl.obeys = undefined;
    await ask(service, "POST /v1/domains", { body: definition("web", { start: true }) });
    const { id } = await begin("POST /v1/domains/web/shutdown");
    await called("requestShutdown poweroff");
    expect((await cancel(id)).json.state).toBe("cancelled");
    expect(service.domctl.calls).toContain("withdrawShutdown 1");
    expect(await web()).toMatchObject({ state: "running", task: null });
    service.domctl.guestStops(1, "poweroff");
    await until(async () => (await web()).state === "halted");
  });

  test("a suspension while its file is written lets the guest go on in place", async () => {
    await ask(service, "POST /v1/domains", { body: definition("web", { start: true }) });
    const open = gate("suspend");
    const { id } = await begin("POST /v1/domains/web/suspend");
    await called("suspend");
    await cancelAt(id, open);
    expect(service.domctl.calls).toContain("resume 1");
    expect((await web()).state).toBe("running");
  });

  test("one that waits for its turn ends it at once, whatever runs before it", async () => {
    await ask(service, "POST /v1/domains", { body: definition("web") });
    const open = gate("create");
    const first = await begin("POST /v1/domains/web/start");
    await called("create");
    const waiting = await begin("POST /v1/domains/web/pause");
    expect((await task(waiting.id)).state).toBe("queued");
    expect((await cancel(waiting.id)).json).toMatchObject({ state: "cancelled", startedAt: null });
    expect((await task(first.id)).state).toBe("running");
    open();
    await until(async () => (await task(first.id)).state === "succeeded");
    expect((await web()).state).toBe("running");
  });

  test("what can no longer be taken back is refused, and ends by itself", async () => {
    await ask(service, "POST /v1/domains", { body: definition("web", { start: true }) });
    const open = gate("destroy");
    const { id } = await begin("POST /v1/domains/web/destroy");
    await called("destroy");
    const answer = await cancel(id);
    expect([answer.status, problem(answer), answer.json.task]).toEqual([409, "not-cancellable", id]);
    open();
    await until(async () => (await task(id)).state === "succeeded");
    expect((await web()).state).toBe("halted");
  });

  test("what does not end in time is 202, and ends later", async () => {
    await ask(service, "POST /v1/domains", { body: definition("web") });
    const open = gate("create");
    const { id } = await begin("POST /v1/domains/web/start");
    await called("create");
    const answer = await ask(service, `POST /v1/tasks/${id}/cancel`, async202);
    expect([answer.status, answer.headers.location]).toEqual([202, `/v1/tasks/${id}`]);
    open();
    await until(async () => (await task(id)).state === "cancelled");
  });

  test("a task that has ended, or that there is none of, is refused", async () => {
    const { id } = await begin("POST /v1/domains", definition("web", { start: true }));
    await until(async () => (await task(id)).state === "succeeded");
    expect(problem(await cancel(id))).toBe("task-ended");
    expect(problem(await cancel("00000000-0000-0000-0000-000000000000"))).toBe("task-not-found");
  });
});

test("a hard stop pre-empts a pending clean one, whichever waits", async () => {
  service.domctl.obeys = undefined;
  await ask(service, "POST /v1/domains", { body: definition("web", { start: true }) });
  for (const clean of ["shutdown", "reboot", "suspend"]) {
    const { id } = await begin(`POST /v1/domains/web/${clean}`);
    await until(async () => (await task(id)).step === "await-guest");
    expect(problem(await ask(service, "POST /v1/domains/web/pause"))).toBe("operation-pending");
    expect((await ask(service, "POST /v1/domains/web/destroy")).json.state).toBe("halted");
    expect((await task(id)).state).toBe("cancelled");
    await ask(service, "POST /v1/domains/web/start");
  }
});
