/**
 * `domzero backup` and `domzero restore`, as they are typed: a backup of a service at work is tested by restoring it, and the restored
 * service has all that was there.
 */

import { execFile } from "node:child_process";
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import Database from "better-sqlite3";
import { afterAll, expect, test } from "vitest";
import { scratchFolder, until, WholeService } from "./whole-service.ts";

const scratch = scratchFolder();
const services: WholeService[] = [];
afterAll(async () => {
  for (const service of services) await service.end();
  scratch.remove();
});

const at = (name: string) => join(scratch.folder, name);
const command = resolve(import.meta.dirname, "../../src/cli/domzero.ts");

interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

function domzero(stateDir: string, ...args: string[]): Promise<Ended> {
  const env = { ...process.env, DOMZERO_STATE_DIR: stateDir };
  return new Promise((done) => {
    execFile(process.execPath, [command, ...args], { env }, (error, out, err) =>
      done({ code: error ? Number(error.code) : 0, out, err }),
    );
  });
}

async function must(stateDir: string, ...args: string[]): Promise<void> {
  expect(await domzero(stateDir, ...args), args.join(" ")).toMatchObject({ code: 0, err: "" });
}

async function serve(stateDir: string, env: Record<string, string> = {}): Promise<WholeService> {
  const service = await WholeService.start(stateDir, undefined, env);
  services.push(service);
  return service;
}

const restorePoint = (stateDir: string, uuid: string) => join(stateDir, "suspended", `${uuid}.suspended`);

test("what is backed up while the service works is all there when it is restored, and a suspended guest goes on", async () => {
  const service = await serve(scratch.stateDir, { DOMZERO_SAMPLE_SECONDS: "1" });
  const image = await service.ask("POST /v1/images?kind=ramdisk", { body: "a ramdisk" });
  await service.boot("sleeper");
  await service.answerTo("sleeper", "echo before");
  await service.ask("POST /v1/domains/sleeper/suspend");
  await service.boot("returns", { onHostCrash: "restore" });
  await service.ask("POST /v1/domains/returns/suspend");
  const returns = await service.ask("POST /v1/domains/returns/resume");
  expect(existsSync(restorePoint(scratch.stateDir, returns.json.uuid))).toBe(true);
  await service.boot("runs");
  const printed = await service.shown("runs", /demo> $/);
  const samples = (folder: string) => {
    const history = new Database(join(folder, "metrics.db"), { readonly: true });
    const count = history.prepare("SELECT count(*) FROM samples").pluck().get() as number;
    history.close();
    return count;
  };
  await until("figures", () => samples(scratch.stateDir) > 0);

  await must(scratch.stateDir, "backup", at("backup"));
  // What happens afterwards is not in it.
  await service.ask("DELETE /v1/domains/sleeper");
  await service.ask(`DELETE /v1/images/${image.json.id}`);
  const sampled = samples(at("backup"));
  expect(sampled).toBeGreaterThan(0);

  await must(at("restored"), "restore", at("backup"));
  expect(samples(at("restored"))).toBe(sampled);
  const restored = await serve(at("restored"));
  expect((await restored.ask(`GET /v1/images/${image.json.id}`)).json).toEqual(image.json);
  expect((await restored.ask("GET /v1/domains/runs")).json).toMatchObject({ lastStop: { reason: "host-restarted" } });
  expect((await restored.ask("GET /v1/domains/runs/console")).text).toBe(printed);
  expect((await restored.ask("POST /v1/domains/sleeper/resume")).json).toMatchObject({ state: "running" });
  await restored.shown("sleeper", /before[\s\S]*Resumed/);
  await until("the domain with a restore point to come back", async () => {
    const { json } = await restored.ask("GET /v1/domains/returns");
    return json.state === "running" && json.bootEpoch > returns.json.bootEpoch;
  });
});

test("a copy that is made in the midst of changes is of one moment: of changes in a row it has the first ones, and each with its event", async () => {
  const service = await serve(at("busy"));
  let over = false;
  let made = 0;
  const working = (async () => {
    for (; !over; made++) {
      const body = { name: `d${made}`, kernel: "builtin:demo", memoryMiB: 16, vcpus: 1 };
      expect((await service.ask("POST /v1/domains", { body })).status).toBe(201);
    }
  })();
  await until("some domains", () => made > 20);
  const before = made;
  await must(at("busy"), "backup", at("busy-backup"));
  over = true;
  await working;
  const copy = new Database(join(at("busy-backup"), "domzero.db"), { readonly: true });
  const names = copy.prepare("SELECT name FROM domains ORDER BY position").pluck().all() as string[];
  const told = copy.prepare("SELECT object ->> 'name' FROM events WHERE class = 'domain' ORDER BY sequence").pluck();
  expect(names.length).toBeGreaterThanOrEqual(before);
  expect(names).toEqual(Array.from({ length: names.length }, (_, index) => `d${index}`));
  expect(told.all()).toEqual(names);
  copy.close();
});

test("a folder whose service was killed is backed up with what was acknowledged last", async () => {
  const service = await WholeService.start(at("killed"));
  await service.ask("POST /v1/domains", { body: { name: "last", kernel: "builtin:demo", memoryMiB: 16, vcpus: 1 } });
  await service.end("SIGKILL");
  await must(at("killed"), "backup", at("killed-backup"));
  await must(at("killed-restored"), "restore", at("killed-backup"));
  const restored = await serve(at("killed-restored"));
  expect((await restored.ask("GET /v1/domains/last")).status).toBe(200);
});

test("a history that is damaged is left out, and said; nothing else is", async () => {
  cpSync(at("killed"), at("spoiled"), { recursive: true });
  for (const name of readdirSync(at("spoiled")).filter((file) => file.startsWith("metrics.db")))
    rmSync(join(at("spoiled"), name));
  writeFileSync(join(at("spoiled"), "metrics.db"), "no database at all, and long enough to be looked at");
  expect(await domzero(at("spoiled"), "backup", at("spoiled-backup"))).toMatchObject({
    code: 0,
    err: expect.stringContaining("the history of figures is damaged and left out"),
  });
  expect(readdirSync(at("spoiled-backup")).sort()).toEqual(["domzero.db", "manifest.json", "token"]);
});

interface Refused {
  readonly what: string;
  readonly says: RegExp;
  /** Spoils a copy of the backup, or of a state folder. */
  readonly harm?: (folder: string) => void;
}

const database = (folder: string) => join(folder, "domzero.db");

const BACKUPS: readonly Refused[] = [
  {
    what: "flipped",
    says: /flipped.domzero\.db is damaged: \d+ bytes with SHA-256/,
    harm: (folder) => {
      const bytes = readFileSync(database(folder));
      bytes[bytes.length >> 1] ^= 1;
      writeFileSync(database(folder), bytes);
    },
  },
  {
    what: "short",
    says: /short.domzero\.db is damaged: 4096 bytes/,
    harm: (folder) => writeFileSync(database(folder), readFileSync(database(folder)).subarray(0, 4096)),
  },
  { what: "without", says: /without.domzero\.db is missing/, harm: (folder) => rmSync(database(folder)) },
  {
    what: "unlisted",
    says: /is no backup: .*unlisted.manifest\.json is missing/,
    harm: (folder) => rmSync(join(folder, "manifest.json")),
  },
  {
    what: "scribbled",
    says: /scribbled.manifest\.json is damaged/,
    harm: (folder) => writeFileSync(join(folder, "manifest.json"), '{"files":[{"path":"../out"}]}'),
  },
  {
    what: "newer",
    says: /newer was made by a newer domzero \(format 1, schema 9000; this one knows 1 and \d+\)/,
    harm: (folder) => {
      const path = join(folder, "manifest.json");
      writeFileSync(path, readFileSync(path, "utf8").replace(/"schema": \d+/, '"schema": 9000'));
    },
  },
];

test.each(BACKUPS)("a backup that is $what is not restored, and makes no folder", async ({ what, says, harm }) => {
  cpSync(at("killed-backup"), at(what), { recursive: true });
  harm?.(at(what));
  const { code, err } = await domzero(at(`${what}-state`), "restore", at(what));
  expect([code, err]).toEqual([1, expect.stringMatching(says)]);
  expect(err.trim().split("\n")).toHaveLength(1);
  expect(readdirSync(scratch.folder)).not.toContain(`${what}-state`);
});

const STATES: readonly Refused[] = [
  { what: "nowhere", says: /there is no state folder .*nowhere/ },
  {
    what: "no-state",
    says: /no-state is no state folder: it has no domzero\.db/,
    harm: (folder) => rmSync(database(folder)),
  },
  {
    what: "torn",
    says: /torn.domzero\.db is damaged/,
    harm: (folder) => {
      for (const name of readdirSync(folder).filter((file) => file.startsWith("domzero.db-")))
        rmSync(join(folder, name));
      writeFileSync(database(folder), Buffer.alloc(8192, "x"));
    },
  },
  {
    what: "of-tomorrow",
    says: /of-tomorrow was written by a newer domzero \(schema 9000; this one knows \d+\)/,
    harm: (folder) => {
      const file = new Database(database(folder));
      file.pragma("user_version = 9000");
      file.close();
    },
  },
  {
    what: "imageless",
    says: /imageless.images.[0-9a-f]{64} is missing/,
    harm: (folder) => {
      const file = new Database(database(folder));
      file.exec(
        `INSERT INTO images (id, kind, sha256, size, created_at, project) VALUES ('i', 'kernel', '${"0".repeat(64)}', 1, 1, 'default')`,
      );
      file.close();
    },
  },
];

test.each(STATES)("a state folder that is $what is not backed up, and leaves nothing", async ({ what, says, harm }) => {
  if (harm) cpSync(at("killed"), at(what), { recursive: true });
  harm?.(at(what));
  const { code, err } = await domzero(at(what), "backup", at(`${what}-backup`));
  expect([code, err]).toEqual([1, expect.stringMatching(says)]);
  expect(readdirSync(scratch.folder).filter((name) => name.startsWith(`${what}-backup`))).toEqual([]);
});

test("nothing is written over: not a backup, not a state, not one that a service works on", async () => {
  const refused = async (stateDir: string, args: string[], says: RegExp) => {
    const { code, err } = await domzero(stateDir, ...args);
    expect([code, err], args.join(" ")).toEqual([1, expect.stringMatching(says)]);
  };
  await refused(at("killed"), ["backup", at("killed-backup")], /is there already/);
  await refused(at("killed"), ["backup", join(at("killed"), "inside")], /is in the state folder/);
  await refused(at("killed"), ["restore", at("killed-backup")], /killed is not empty/);
  await refused(at("killed"), ["restore", at("no-such")], /there is no folder .*no-such/);
  const pid = services.find((service) => service.stateDir === at("busy"))?.pid;
  await refused(at("busy"), ["restore", at("killed-backup")], new RegExp(`busy is in use by process ${pid}`));
});

test("a command that is not there, or lacks its folder, is told what there is", async () => {
  const wrong = await domzero(at("killed"), "back-up");
  expect([wrong.code, wrong.err]).toEqual([2, expect.stringMatching(/no command back-up[\s\S]*domzero backup FOLDER/)]);
  const lacking = await domzero(at("killed"), "restore");
  expect([lacking.code, lacking.err]).toEqual([2, expect.stringContaining("say where: domzero restore FOLDER")]);
  expect(await domzero(at("killed"), "--help")).toMatchObject({ code: 0, out: expect.stringContaining(at("killed")) });
});
