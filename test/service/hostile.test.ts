/** What a service must bear: kernels that lie, guests that flood and spin, clients that never read, requests that race. */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createConnection } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { makeKernel, number, pvNotes } from "../builder/make-kernel.ts";
import { type Answer, problem, scratchFolder, until, WholeService } from "./whole-service.ts";

const MIB = 2 ** 20;
const scratch = scratchFolder();
let service: WholeService;
beforeAll(async () => {
  service = await WholeService.start(scratch.stateDir);
});
afterAll(async () => {
  await service?.end();
  scratch.remove();
});

const upload = (bytes: Uint8Array, kind = "kernel") => service.ask(`POST /v1/images?kind=${kind}`, { body: bytes });
const definition = (name: string, more: object = {}) => ({
  name,
  kernel: "builtin:demo",
  memoryMiB: 16,
  vcpus: 1,
  start: true,
  ...more,
});

/** Nothing is left of a domain, and nothing runs. */
async function nothingLeft(name: string): Promise<void> {
  expect((await service.ask(`GET /v1/domains/${name}`)).status).toBe(404);
  await until("all memory to be free", async () => {
    const { json } = await service.ask("GET /v1/host");
    return json.domains === 0 && json.memoryFreeMiB === json.memoryTotalMiB;
  });
}

describe("a kernel image", () => {
  const page = (fill: number) => new Uint8Array(4096).fill(fill);
  /** A 32-bit PV kernel by its header: ELF class 1, machine 3. */
  const i386 = makeKernel();
  i386.set([1], 4);
  i386.set([3, 0], 18);
  const kernels: [string, Uint8Array, string, RegExp][] = [
    ["of zeros", new Uint8Array(100_000), "bad-kernel", /neither an ELF image/],
    ["of 32 bits", i386, "unsupported-kernel", /32-bit/],
    ["cut off", makeKernel().slice(0, -100), "bad-kernel", /./],
    [
      "with overlapping segments",
      makeKernel({
        segments: [
          { paddr: 0n, data: page(1) },
          { paddr: 0xfffn, data: page(2) },
        ],
      }),
      "bad-kernel",
      /overlap/,
    ],
    [
      "with a segment that wraps around",
      makeKernel({ segments: [{ paddr: -0x1000n, memsz: 0x2000n }] }),
      "bad-kernel",
      /./,
    ],
    [
      "larger than the domain",
      makeKernel({ segments: [{ paddr: 0x1000n, data: page(0x90), memsz: 0x4000_0000n }] }),
      "does-not-fit",
      /MiB/,
    ],
  ];
  test.each(kernels)("%s is refused by its name when a domain is built from it", async (_what, bytes, type, words) => {
    const image = await upload(bytes);
    expect(image.status).toBe(201);
    const refused = await service.ask("POST /v1/domains", { body: definition("bad", { kernel: image.json.id }) });
    expect([refused.status, problem(refused)]).toEqual([422, type]);
    expect(refused.json.detail).toMatch(words);
    expect(refused.json.field).toBe(type === "does-not-fit" ? "memoryMiB" : "kernel");
    await nothingLeft("bad");
  });

  test("that jumps nowhere crashes its guest, not the service, and the report says where", async () => {
    const wild = makeKernel({
      entry: 0x1000n,
      segments: [{ paddr: 0x1000n, data: page(0x0b) }],
      notes: pvNotes([[3, number(0n)]]),
    });
    const image = await upload(wild);
    const started = await service.ask("POST /v1/domains", {
      body: definition("wild", { kernel: image.json.id, memoryMiB: 32, onCrash: "preserve" }),
    });
    expect(started.status).toBe(201);
    let crash: { report: { reason: string; registers: object } } | null = null;
    await until("the crash", async () => {
      crash = (await service.ask("GET /v1/domains/wild")).json.lastCrash;
      return crash !== null;
    });
    expect(crash).toMatchObject({ report: { registers: { rip: expect.stringMatching(/^0x/) } } });
    expect((await service.ask("DELETE /v1/domains/wild?force=true")).status).toBe(204);
  });

  test("that comes in chunks is the same image as one that comes whole", async () => {
    const bytes = readFileSync(new URL("../../src/builder/demo-kernel/demo.elf", import.meta.url));
    const whole = await upload(bytes);
    async function* pieces() {
      for (let at = 0; at < bytes.length; at += 1000) yield bytes.subarray(at, at + 1000);
    }
    const { authorization, url } = service;
    const chunked = await fetch(`${url}/v1/images?kind=kernel`, {
      method: "POST",
      headers: { authorization },
      body: pieces() as never,
      duplex: "half",
    } as RequestInit);
    expect([chunked.status, await chunked.json()]).toEqual([200, whole.json]);
    expect(whole.json.sha256).toBe(createHash("sha256").update(bytes).digest("hex"));
    await service.boot("uploaded", { kernel: whole.json.id });
    await service.shown("uploaded", /demo> $/);
    expect(problem(await service.ask(`DELETE /v1/images/${whole.json.id}`))).toBe("image-in-use");
    await service.ask("DELETE /v1/domains/uploaded?force=true");
    expect((await service.ask(`DELETE /v1/images/${whole.json.id}`)).status).toBe(204);
  });
});

describe("a definition", () => {
  test.each([
    ["no vCPU", { vcpus: 0 }, 400, "vcpus"],
    ["a billion vCPUs", { vcpus: 1e9 }, 400, "vcpus"],
    ["no memory", { memoryMiB: 0 }, 400, "memoryMiB"],
    ["less than no memory", { memoryMiB: -1 }, 400, "memoryMiB"],
    ["memory above the host's", { memoryMiB: 2 ** 30 }, 400, "memoryMiB"],
    ["too little memory for its kernel", { memoryMiB: 1, kernel: "builtin:demo" }, 422, "memoryMiB"],
    ["text for a number", { vcpus: "1" }, 400, "vcpus"],
    ["a field that there is not", { vcpu: 1 }, 400, "vcpu"],
    ["a name that is a number", { name: "7" }, 422, "name"],
  ])("with %s is refused, and the field is named", async (_what, more, status, field) => {
    const answer = await service.ask("POST /v1/domains", { body: definition("bad", more) });
    expect([answer.status, answer.json.field]).toEqual([status, field]);
    expect(answer.headers["content-type"]).toContain("application/problem+json");
    await nothingLeft("bad");
  });

  test("of more than a MiB is refused, in one piece or in chunks", async () => {
    const { authorization, url } = service;
    const body = JSON.stringify(definition("bad", { description: "x".repeat(2 * MIB) }));
    const whole = await service.ask("POST /v1/domains", { body, headers: { "content-type": "application/json" } });
    async function* pieces() {
      for (let at = 0; at < body.length; at += 65536) yield Buffer.from(body.slice(at, at + 65536));
    }
    const chunked = await fetch(`${url}/v1/domains`, {
      method: "POST",
      headers: { authorization, "content-type": "application/json" },
      body: pieces() as never,
      duplex: "half",
    } as RequestInit).catch(() => undefined);
    expect([whole.status, problem(whole)]).toEqual([413, "body-too-large"]);
    // The connection may be cut before the answer was read.
    expect([413, undefined]).toContain(chunked?.status);
  });
});

test("more domains than the host has memory for: the one too many is told so, and memory comes back", async () => {
  const { json: host } = await service.ask("GET /v1/host");
  const count = Math.floor(host.memoryFreeMiB / 3072) + 1;
  const answers: Answer[] = [];
  for (let index = 0; index < count; index++)
    answers.push(await service.ask("POST /v1/domains", { body: definition(`huge-${index}`, { memoryMiB: 3072 }) }));
  const refused = answers.filter(({ status }) => status !== 201);
  expect(refused.length).toBeGreaterThan(0);
  for (const answer of refused) expect([answer.status, problem(answer)]).toEqual([507, "no-memory"]);
  for (let index = 0; index < count; index++) await service.ask(`DELETE /v1/domains/huge-${index}?force=true`);
  await nothingLeft("huge-0");
});

describe("races", () => {
  test("of five creations of one name one wins, and the others hear that it is taken", async () => {
    const made = await Promise.all(
      Array.from({ length: 5 }, () => service.ask("POST /v1/domains", { body: definition("wanted") })),
    );
    expect(made.map(({ status }) => status).sort()).toEqual([201, 409, 409, 409, 409]);
    for (const answer of made.filter(({ status }) => status === 409)) expect(problem(answer)).toBe("name-taken");
    await service.shown("wanted", /demo> $/);
    await service.ask("DELETE /v1/domains/wanted?force=true");
  });

  test("a domain destroyed, or deleted, while it is created leaves nothing running", async () => {
    for (const [index, end] of ["POST destroy", "DELETE"].entries()) {
      const name = `early-${index}`;
      const created = await service.ask("POST /v1/domains", {
        body: definition(name),
        headers: { prefer: "respond-async" },
      });
      expect(created.status).toBe(202);
      const path = `/v1/domains/${name}`;
      const [method, action] = end.split(" ");
      await until(`${end} to be taken`, async () => {
        const answer = await service.ask(`${method} ${path}${action ? `/${action}` : "?force=true"}`);
        return answer.status < 300 || answer.status === 404;
      });
      await until("nothing to run", async () => {
        const { status, json } = await service.ask(`GET ${path}`);
        return status === 404 || (json.state === "halted" && json.task === null);
      });
      const { json: task } = await service.ask(`GET ${created.headers.location}`);
      expect(["succeeded", "failed", "cancelled"]).toContain(task.state);
      await service.ask(`DELETE ${path}?force=true`);
      await nothingLeft(name);
    }
  });

  test("twelve domains created and deleted at once, three times over, all come and all go", async () => {
    const names = Array.from({ length: 12 }, (_, index) => `many-${index}`);
    for (let round = 0; round < 3; round++) {
      await Promise.all(names.map((name) => service.boot(name)));
      await Promise.all(names.map((name) => service.shown(name, /demo> $/)));
      const gone = await Promise.all(names.map((name) => service.ask(`DELETE /v1/domains/${name}?force=true`)));
      expect(gone.map(({ status }) => status)).toEqual(names.map(() => 204));
    }
    await nothingLeft("many-0");
  });
});

describe("a guest that does its worst", () => {
  test("floods its console while two clients never read: the log is bounded, the API answers, nothing is lost", async () => {
    const floodMiB = 24;
    await service.boot("flood");
    await service.shown("flood", /demo> $/);
    const deaf = createConnection({ host: "127.0.0.1", port: service.port });
    deaf.on("error", () => undefined);
    deaf.pause();
    deaf.write(
      `GET /v1/domains/flood/console?follow=true HTTP/1.1\r\nHost: 127.0.0.1:${service.port}\r\nAuthorization: ${service.authorization}\r\n\r\n`,
    );
    const socket = new WebSocket(`ws://127.0.0.1:${service.port}/v1/domains/flood/console/ws`, {
      headers: { authorization: service.authorization },
    });
    socket.on("error", () => undefined);
    await until("the WebSocket to open", () => socket.readyState === WebSocket.OPEN);
    socket.pause();
    const before = residentMiB();
    await service.type("flood", `flood ${floodMiB}\r`);
    let log: Answer | undefined;
    await until("the flood's end", async () => {
      expect((await service.ask("GET /v1/domains")).status).toBe(200);
      log = await service.ask(`GET /v1/domains/flood/console?offset=${floodMiB * MIB}`);
      return /\d+ KiB\/s\s+demo> $/.test(log.text);
    });
    expect(residentMiB() - before).toBeLessThan(100);
    const whole = await service.ask("GET /v1/domains/flood/console");
    const [start, end] = [whole.headers["console-start"], whole.headers["console-end"]].map(Number);
    expect(end).toBeGreaterThan(floodMiB * MIB);
    expect([whole.text.length, end - start]).toEqual([end - start, end - start]);
    expect(whole.text.length).toBeLessThanOrEqual(1.25 * MIB);
    // Each line has its number: none is missing.
    const lines = [...whole.text.matchAll(/^flood (\d{8})/gm)].map(([, line]) => Number(line));
    expect(lines.at(-1)! - lines[0]).toBe(lines.length - 1);
    deaf.destroy();
    socket.terminate();
    expect(await service.answerTo("flood", "echo still here")).toContain("\nstill here");
    await service.ask("DELETE /v1/domains/flood?force=true");
  });

  test("spins, twice, on both workers: the API answers, a third guest boots, and both are destroyed like any other", async () => {
    for (const name of ["spin-a", "spin-b"]) {
      await service.boot(name);
      await service.shown(name, /demo> $/);
      await service.type(name, "spin\r");
      await service.shown(name, /demo> spin/);
    }
    const times: number[] = [];
    for (let index = 0; index < 200; index++) {
      const begin = performance.now();
      expect((await service.ask("GET /v1/domains/spin-a")).status).toBe(200);
      times.push(performance.now() - begin);
    }
    times.sort((a, b) => a - b);
    // Two spinning guests and the tests share the cores; a server that waited for them would take many times this.
    expect(times[times.length >> 1]).toBeLessThan(250);
    await service.boot("third");
    expect(await service.answerTo("third", "echo between")).toContain("\nbetween");
    const paused = await service.ask("POST /v1/domains/spin-a/pause");
    expect(paused.json.runtime.state).toBe("paused");
    const { cpuTimeNs } = (await service.ask("GET /v1/domains/spin-a")).json.runtime;
    expect((await service.ask("GET /v1/domains/spin-a")).json.runtime.cpuTimeNs).toBe(cpuTimeNs);
    for (const name of ["spin-a", "spin-b", "third"])
      expect((await service.ask(`DELETE /v1/domains/${name}?force=true`)).status).toBe(204);
    await nothingLeft("spin-a");
  });
});

test("after all of it the service has not complained about itself", () => {
  expect(service.ended).toBe(false);
  // What names a domid is about a guest.
  const complaints = service.err.split("\n").filter((line) => /"level":(50|60)/.test(line) && !/"domid":/.test(line));
  expect(complaints).toEqual([]);
});

/** Memory of the service's process that is resident, in MiB. */
function residentMiB(): number {
  const status = readFileSync(`/proc/${service.pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
}
