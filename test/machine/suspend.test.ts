/** Suspend to a file and restore, with the machine's real threads: in place, in the same machine, in a new one, and from damaged files. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ConsoleLogReader } from "../../src/backends/console/log-reader.ts";
import type { DomainSpec, DomctlEvent } from "../../src/machine/domctl.ts";
import { Machine } from "../../src/machine/machine.ts";

const SRC = new URL("../../src/", import.meta.url);
const uuid = "00000000-0000-4000-8000-00000000005e";
const spec: DomainSpec = {
  uuid,
  name: "sleeper",
  kernel: new URL("builder/demo-kernel/demo.elf", SRC).pathname,
  cmdline: "",
  memoryMiB: 16,
  maxMemoryMiB: 16,
  vcpus: 1,
};

let folder: string;
let image: string;
let machine: Machine;
let events: DomctlEvent[];

async function startMachine(): Promise<void> {
  events = [];
  machine = await Machine.start({
    workers: 2,
    consoleDir: join(folder, "console"),
    servicesWorker: new URL("backends/services-worker.ts", SRC),
    builderWorker: new URL("builder/builder-worker.ts", SRC),
    memoryMiB: 512,
    onFatal: (error) => {
      throw error;
    },
  });
  machine.onEvent((event) => events.push(event));
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "domzero-suspend-"));
  image = join(folder, "image");
  await startMachine();
});

afterEach(async () => {
  await machine.close();
  rmSync(folder, { recursive: true, force: true });
});

async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = Date.now() + 15_000;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`${what} did not happen; the console:\n${consoleText()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const consoleText = () =>
  Buffer.from(new ConsoleLogReader(join(folder, "console")).read(uuid, 0, 1 << 20).bytes).toString("latin1");

function value<T>(result: { ok: true; value: T } | { ok: false; detail: string }): T {
  if (!result.ok) throw new Error(result.detail);
  return result.value;
}

/** Types a line; gives what came up to the next prompt. */
async function typed(domid: number, line: string): Promise<string> {
  const before = consoleText().length;
  value(await machine.consoleInput(domid, Buffer.from(`${line}\r`)));
  await until(`an answer to ${line}`, () => consoleText().slice(before).endsWith("\ndemo> "));
  return consoleText().slice(before);
}

async function started(): Promise<number> {
  const { domid } = value(await machine.create(spec));
  value(await machine.unpause(domid));
  await until("a prompt", () => consoleText().endsWith("demo> "));
  return domid;
}

async function askToSuspend(domid: number): Promise<void> {
  events.length = 0;
  value(await machine.requestShutdown(domid, "suspend"));
  const ended = () => events.find((event) => event.kind === "shutdown" && event.domid === domid);
  await until("the suspend", () => ended() !== undefined);
  expect(ended()).toMatchObject({ reason: "suspend" });
}

/** Suspends to the file, and destroys. */
async function suspended(domid: number): Promise<void> {
  await askToSuspend(domid);
  value(await machine.suspend(domid, image));
  value(await machine.destroy(domid));
}

async function restored(): Promise<number> {
  const { domid } = value(await machine.restore(spec, image));
  const before = consoleText().length;
  value(await machine.unpause(domid));
  await until("a word of the guest", () => consoleText().length > before);
  return domid;
}

const uptime = (text: string) => Number(/up (\d+\.\d+)/.exec(text)?.[1] ?? Number.NaN);

describe("a suspended domain", () => {
  it("goes on in place when the suspend is cancelled, as often as one likes", async () => {
    const domid = await started();
    for (let round = 0; round < 3; round++) {
      await askToSuspend(domid);
      value(await machine.suspend(domid, image));
      const before = consoleText().length;
      value(await machine.resume(domid));
      await until("a word of the guest", () => /Suspend cancelled[\s\S]*demo> $/.test(consoleText().slice(before)));
      expect(await typed(domid, `echo round ${round}`)).toContain(`\nround ${round}`);
    }
    expect(await machine.resume(domid)).toMatchObject({ ok: false, code: "wrong-state" });
    expect(await machine.suspend(domid, image)).toMatchObject({ ok: false, code: "wrong-state" });
  });

  it("goes on in place when the disk has no room for it, and can be suspended when there is", async () => {
    const domid = await started();
    // Writing to this device fails as on a full disk.
    symlinkSync("/dev/full", `${image}.tmp`);
    await askToSuspend(domid);
    expect(await machine.suspend(domid, image)).toMatchObject({ ok: false, code: "storage-full" });
    expect(readdirSync(folder)).toEqual(["console"]);
    value(await machine.resume(domid));
    expect(await typed(domid, "echo still here")).toContain("\nstill here");
    await suspended(domid);
    expect(await typed(await restored(), "echo and back")).toContain("\nand back");
  });

  it("comes back in the same machine and in new ones, with its uptime and no lost console byte", async () => {
    let domid = await started();
    let before = uptime(await typed(domid, "uptime"));
    for (let round = 0; round < 6; round++) {
      const log = consoleText();
      await suspended(domid);
      if (round % 2 === 1) {
        await machine.close();
        await startMachine();
      }
      domid = await restored();
      expect(consoleText().startsWith(log)).toBe(true);
      const now = uptime(await typed(domid, "uptime"));
      expect(now).toBeGreaterThanOrEqual(before);
      before = now;
      expect(await typed(domid, "pt")).not.toMatch(/FAIL|wrong/);
      expect(await typed(domid, "xenstore read name")).toContain("sleeper");
    }
  });

  it("reads what was typed while it was suspended: in place, in the same machine and in a new one", async () => {
    const words = "seven words and a number for 30 lines";
    let domid = await started();
    for (const where of ["in place", "in the same machine", "in a new machine"]) {
      const before = consoleText().length;
      await askToSuspend(domid);
      // More than its ring holds.
      const text = Buffer.from(`echo ${where}\r${`echo ${words}\r`.repeat(30)}`);
      expect(value(await machine.consoleInput(domid, text)).accepted).toBe(text.length);
      value(await machine.suspend(domid, image));
      expect(value(await machine.consoleInput(domid, text)).accepted).toBe(0);
      if (where === "in place") {
        value(await machine.resume(domid));
      } else {
        value(await machine.destroy(domid));
        if (where === "in a new machine") {
          await machine.close();
          await startMachine();
        }
        domid = value(await machine.restore(spec, image)).domid;
        value(await machine.unpause(domid));
      }
      const answers = () => consoleText().slice(before).split(`\n${words}`).length - 1;
      await until("all answers", () => answers() === 30);
      expect(consoleText().slice(before)).toContain(`\n${where}`);
    }
  });

  it("is refused when its file is damaged, with the place named", async () => {
    const domid = await started();
    await suspended(domid);
    const good = readFileSync(image);
    const { size } = statSync(image);
    const tries: [string, Buffer, RegExp][] = [
      ["cut off", good.subarray(0, size - 100), /cut off/],
      ["a byte changed", Buffer.from(good), /byte \d+/],
      ["longer", Buffer.concat([good, Buffer.from("x")]), /follows its end/],
      ["something else", Buffer.from("MZ".repeat(100)), /magic/],
      ["empty", Buffer.alloc(0), /cut off/],
    ];
    const middle = Math.floor(size / 2);
    tries[1]![1][middle] = good[middle]! ^ 1;
    for (const [, bytes, why] of tries) {
      writeFileSync(image, bytes);
      const refused = await machine.restore(spec, image);
      expect(refused).toMatchObject({ ok: false, code: "bad-image", detail: expect.stringMatching(why) });
    }
    writeFileSync(image, good);
    expect(await machine.restore({ ...spec, uuid: uuid.replace("5e", "5f") }, image)).toMatchObject({
      ok: false,
      code: "bad-image",
    });
    await typed(await restored(), "uptime");
    expect((await machine.host()).domains).toBe(1);
  });
});
