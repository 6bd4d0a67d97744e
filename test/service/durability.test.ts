/**
 * What is acknowledged is on the disk: seen in the system calls of the service, by strace. SIGKILL cannot show it, for the kernel keeps
 * what a killed process had written.
 */

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, type TestContext, test } from "vitest";
import { scratchFolder, until, WholeService } from "./whole-service.ts";

const CALLS = "fsync,fdatasync,rename,renameat,renameat2,write,writev,pwrite64,sendmsg,sendto";

const scratch = scratchFolder();
let service: WholeService;
beforeAll(async () => {
  service = await WholeService.start(scratch.stateDir, undefined, { DOMZERO_SAMPLE_SECONDS: "0" });
});
afterAll(async () => {
  await service?.end();
  scratch.remove();
});

/** Strace has to be there, and be let. */
function needsStrace(context: TestContext): void {
  const { status } = spawnSync("strace", ["-o", "/dev/null", "true"]);
  if (status === 0) return;
  if (process.env.CI) throw new Error("strace is not here, or may not trace");
  context.skip("strace is not here, or may not trace");
}

/** The service's system calls while `work` goes on: one line each, in the order in which they returned. */
async function traced(work: () => Promise<void>): Promise<string[]> {
  const log = join(scratch.folder, `strace-${Math.random()}`);
  const args = ["-f", "-y", "-s", "200", "-e", `trace=${CALLS}`, "-o", log, "-p", String(service.pid)];
  const strace = spawn("strace", args, { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  strace.stderr.on("data", (text) => {
    said += text;
  });
  await until("strace to have attached to every thread", () => said.includes("attached"));
  await work();
  strace.kill("SIGINT");
  await once(strace, "exit");
  // A call during which another thread made one is on two lines; the second has its end.
  const begun = new Map<string, string>();
  return readFileSync(log, "utf8")
    .split("\n")
    .flatMap((line) => {
      const [thread, rest = ""] = [line.split(" ", 1)[0], line.slice(line.indexOf(" ") + 1).trimStart()];
      if (rest.endsWith("<unfinished ...>")) {
        begun.set(thread, rest.slice(0, -"<unfinished ...>".length));
        return [];
      }
      const resumed = /^<\.\.\. \w+ resumed>/.exec(rest);
      return [resumed ? `${begun.get(thread) ?? ""}${rest.slice(resumed[0].length)}` : rest];
    });
}

const isWalWrite = (line: string) => /^pwrite64\(\d+<[^>]*domzero\.db-wal>/.test(line);
const isWalSync = (line: string) => /^f(data)?sync\(\d+<[^>]*domzero\.db-wal>\)\s*= 0/.test(line);
const isAnswer = (line: string) => /^(write|writev|sendmsg|sendto)\(\d+<(TCP|socket)[\s\S]*HTTP\/1\.1 20\d/.test(line);

test("every acknowledgement leaves after the write-ahead log was synced with what it says", async (context) => {
  needsStrace(context);
  const names = Array.from({ length: 10 }, (_, index) => `d${index}`);
  const lines = await traced(async () => {
    for (const name of names) await service.boot(name, { start: false });
    for (const name of names) {
      const answer = await service.ask(`PATCH /v1/domains/${name}`, { body: { description: "changed" } });
      expect(answer.status).toBe(200);
    }
  });
  const order = lines.filter((line) => isWalWrite(line) || isWalSync(line) || isAnswer(line));
  const answers = order.filter(isAnswer);
  expect(answers).toHaveLength(2 * names.length);
  let dirty = false;
  let synced = 0;
  for (const line of order) {
    if (isWalWrite(line)) dirty = true;
    else if (isWalSync(line)) {
      if (dirty) synced++;
      dirty = false;
    } else {
      // One was written and synced since the answer before, and nothing is still to be synced.
      expect(dirty, line).toBe(false);
      expect(synced, line).toBeGreaterThanOrEqual(1);
      synced = 0;
    }
  }
});

test("a suspend image is written beside its name, synced, renamed, and its folder synced, before the database says so", async (context) => {
  needsStrace(context);
  const { uuid } = (await service.boot("sleeper")).json;
  await service.shown("sleeper", /demo> $/);
  const lines = await traced(async () => {
    const answer = await service.ask("POST /v1/domains/sleeper/suspend");
    expect(answer.json.state).toBe("suspended");
  });
  const step = (line: string): string | undefined => {
    if (new RegExp(`^p?write(64|v)?\\(\\d+<[^>]*${uuid}\\.suspended\\.tmp>`).test(line)) return "written";
    if (new RegExp(`^f(data)?sync\\(\\d+<[^>]*${uuid}\\.suspended\\.tmp>`).test(line)) return "file synced";
    if (line.startsWith("rename") && line.includes(`${uuid}.suspended.tmp`)) return "renamed";
    if (/^f(data)?sync\(\d+<[^>]*\/suspended>/.test(line)) return "folder synced";
    if (isWalSync(line)) return "database synced";
    return isAnswer(line) ? "answered" : undefined;
  };
  const steps = lines.map(step).filter((what) => what !== undefined);
  const order = steps.filter((what, index) => what !== steps[index - 1]);
  const from = order.indexOf("written");
  expect(order.slice(from, from + 6)).toEqual([
    "written",
    "file synced",
    "renamed",
    "folder synced",
    "database synced",
    "answered",
  ]);
});

test("a resumed guest runs when the new name of its spent file is on the disk", async (context) => {
  needsStrace(context);
  const { uuid } = (await service.boot("wakes")).json;
  await service.shown("wakes", /demo> $/);
  await service.ask("POST /v1/domains/wakes/suspend");
  const lines = await traced(async () => {
    expect((await service.ask("POST /v1/domains/wakes/resume")).json.state).toBe("running");
  });
  const step = (line: string): string | undefined => {
    if (line.startsWith("rename") && line.includes(`${uuid}.suspended.spent`)) return "set aside";
    if (/^f(data)?sync\(\d+<[^>]*\/suspended>/.test(line)) return "folder synced";
    if (isWalSync(line)) return "database synced";
    return isAnswer(line) ? "answered" : undefined;
  };
  const steps = lines.map(step).filter((what) => what !== undefined);
  // The step that lets the guest go begins after that.
  const from = steps.indexOf("set aside");
  expect(steps.slice(from, from + 3)).toEqual(["set aside", "folder synced", "database synced"]);
});

test("every file and folder of a backup is synced before the backup has its name, and so is that", async (context) => {
  needsStrace(context);
  const asleep = await service.ask("GET /v1/domains/sleeper");
  expect(asleep.json.state).toBe("suspended");
  await service.ask("POST /v1/images?kind=ramdisk", { body: "a ramdisk" });
  const target = join(scratch.folder, "backup");
  const log = join(scratch.folder, "strace-backup");
  const tool = resolve(import.meta.dirname, "../../src/cli/domzero.ts");
  const args = ["-f", "-y", "-e", `trace=${CALLS}`, "-o", log, process.execPath, tool, "backup", target];
  const { status, stderr } = spawnSync("strace", args, {
    encoding: "utf8",
    env: { ...process.env, DOMZERO_STATE_DIR: scratch.stateDir },
  });
  expect([status, stderr]).toEqual([0, ""]);
  const lines = readFileSync(log, "utf8").split("\n");
  const named = lines.findIndex((line) => /\brename/.test(line) && line.includes(`"${target}"`));
  const syncedBefore = new Set(lines.slice(0, named).map((line) => /\bfsync\(\d+<([^>]+)>/.exec(line)?.[1]));
  const parts = readdirSync(target, { recursive: true, encoding: "utf8" });
  expect(parts).toEqual(expect.arrayContaining(["domzero.db", "manifest.json", "images", "suspended", "console"]));
  const partial = `${target}.partial`;
  expect([partial, ...parts.map((path) => join(partial, path))].filter((path) => !syncedBefore.has(path))).toEqual([]);
  expect(lines.slice(named).some((line) => /\bfsync\(/.test(line) && line.includes(`<${scratch.folder}>`))).toBe(true);
});
