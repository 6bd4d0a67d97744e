import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { inspectKernelFile } from "../../src/toolstack/kernel-inspection.ts";
import { ask, definition, problem, type Service, startService } from "./service.ts";

let service: Service;
beforeEach(async () => {
  service = await startService({ mostImageBytes: 1000, inspectKernel: inspectKernelFile });
});
afterEach(() => service.close());

const files = () => readdirSync(join(service.stateDir, "images"));
const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");

test("an upload is kept under its SHA-256, whatever its content type says", async () => {
  for (const type of ["application/octet-stream", "application/x-www-form-urlencoded", "application/json", "x/y"]) {
    const answer = await ask(service, "POST /v1/images?kind=ramdisk", {
      headers: { "content-type": type },
      body: type,
    });
    expect([answer.status, answer.json.sha256, answer.json.size]).toEqual([201, sha256(type), type.length]);
    expect(answer.headers.location).toBe(`/v1/images/${answer.json.id}`);
    expect(readFileSync(join(service.stateDir, "images", sha256(type)), "utf8")).toBe(type);
    expect((await ask(service, `GET ${answer.headers.location}`)).json).toEqual(answer.json);
  }
});

test("the same bytes give the same image, even at the same time; another kind is another image on the same file", async () => {
  const upload = (kind: string) => ask(service, `POST /v1/images?kind=${kind}`, { body: "same" });
  const answers = await Promise.all([upload("ramdisk"), upload("ramdisk"), upload("ramdisk")]);
  expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 201]);
  expect(new Set(answers.map(({ json }) => json.id)).size).toBe(1);
  const kernel = await upload("kernel");
  expect(kernel.status).toBe(201);
  expect(files()).toEqual([sha256("same")]);
  await ask(service, `DELETE /v1/images/${kernel.json.id}`);
  expect(files()).toEqual([sha256("same")]);
  await ask(service, `DELETE /v1/images/${answers[0].json.id}`);
  expect(files()).toEqual([]);
});

describe("is refused and leaves nothing behind:", () => {
  test.each([
    ["an upload without bytes", "POST /v1/images?kind=kernel", "", 400, "image-empty"],
    ["one that is too large", "POST /v1/images?kind=kernel", "x".repeat(1001), 413, "image-too-large"],
    [
      "one with another digest",
      `POST /v1/images?kind=kernel&sha256=${"0".repeat(64)}`,
      "x",
      422,
      "image-digest-differs",
    ],
    ["one of an unknown kind", "POST /v1/images?kind=floppy", "x", 400, "bad-request"],
    ["one without a kind", "POST /v1/images", "x", 400, "bad-request"],
    [
      "a look at what is not there",
      "GET /v1/images/0b7a6d8e-96a0-4b32-8d5e-0a3f8a5a1a11",
      undefined,
      404,
      "image-not-found",
    ],
    ["its deletion", "DELETE /v1/images/0b7a6d8e-96a0-4b32-8d5e-0a3f8a5a1a11", undefined, 404, "image-not-found"],
  ])("%s", async (_what, line, body, status, type) => {
    const answer = await ask(service, line, { ...(body !== undefined && { body }) });
    expect([answer.status, problem(answer)]).toEqual([status, type]);
    expect(files()).toEqual([]);
  });
});

test.each(["write", "sync"] as const)(
  "an upload that the disk has no room for at its %s is refused, leaves nothing behind, and is taken when there is room",
  async (call) => {
    const upload = () => ask(service, "POST /v1/images?kind=ramdisk", { body: "much" });
    const handle = await open("/dev/null");
    await handle.close();
    const full = vi.spyOn(Object.getPrototypeOf(handle) as typeof handle, call);
    full.mockRejectedValue(Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" }));
    const refused = await upload();
    expect([refused.status, problem(refused)]).toEqual([507, "storage-full"]);
    expect(full).toHaveBeenCalled();
    expect(files()).toEqual([]);
    full.mockRestore();
    expect((await upload()).status).toBe(201);
    expect(files()).toEqual([sha256("much")]);
  },
);

test("an image is not deleted while a domain refers to it", async () => {
  const { json: image } = await ask(service, "POST /v1/images?kind=kernel", { body: "kernel" });
  await ask(service, "POST /v1/domains", { body: definition("web", { kernel: image.id }) });
  const refused = await ask(service, `DELETE /v1/images/${image.id}`);
  expect([refused.status, problem(refused), refused.json.detail]).toEqual([
    409,
    "image-in-use",
    `Image ${image.id} is used by web.`,
  ]);
  await ask(service, "DELETE /v1/domains/web");
  expect((await ask(service, `DELETE /v1/images/${image.id}`)).status).toBe(204);
});

test("an image is only of use as what it was uploaded as", async () => {
  const { json: image } = await ask(service, "POST /v1/images?kind=ramdisk", { body: "ramdisk" });
  const answer = await ask(service, "POST /v1/domains", { body: definition("web", { kernel: image.id }) });
  expect([answer.status, problem(answer), answer.json.field]).toEqual([422, "image-wrong-kind", "kernel"]);
});

test("a kernel of zeros may be uploaded, and the answer says that it cannot boot", async () => {
  const answer = await ask(service, "POST /v1/images?kind=kernel", { body: Buffer.alloc(512) });
  expect([answer.status, answer.json.inspection.bootable]).toEqual([201, false]);
  expect(answer.json.inspection.summary.length).toBeGreaterThan(10);
});

test("domains are built from the files of their images", async () => {
  const kernel = (await ask(service, "POST /v1/images?kind=kernel", { body: "k" })).json;
  const ramdisk = (await ask(service, "POST /v1/images?kind=ramdisk", { body: "r" })).json;
  const body = definition("web", { kernel: kernel.id, ramdisk: ramdisk.id, cmdline: "a=b", start: true });
  await ask(service, "POST /v1/domains", { body });
  const { spec } = service.domctl.byName("web");
  expect([spec.kernel, spec.ramdisk, spec.cmdline]).toEqual([
    join(service.stateDir, "images", sha256("k")),
    join(service.stateDir, "images", sha256("r")),
    "a=b",
  ]);
});
