/** A backup of a service at work is tested by restoring it: the restored service has all that was there, and its guests go on. */

import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { backUp, restore } from "../../src/store/backup.ts";
import { scratchFolder, WholeService } from "./whole-service.ts";

const scratch = scratchFolder();
const services: WholeService[] = [];
afterAll(async () => {
  for (const service of services) await service.end();
  scratch.remove();
});

const NEWEST = 9999;
const at = (name: string) => join(scratch.folder, name);

test("what is backed up while the service works is all there when it is restored, and a suspended guest goes on", async () => {
  const service = await WholeService.start(scratch.stateDir);
  services.push(service);
  const image = await service.ask("POST /v1/images?kind=ramdisk", { body: "a ramdisk" });
  await service.boot("sleeper");
  await service.answerTo("sleeper", "echo before");
  await service.ask("POST /v1/domains/sleeper/suspend");
  await service.boot("runs");
  const printed = await service.shown("runs", /demo> $/);
  const manifest = await backUp(scratch.stateDir, at("backup"), new Date(0));
  expect(manifest.files.map(({ path }) => path)).toContain(join("images", image.json.sha256));
  // What happens afterwards is not in it.
  await service.ask("DELETE /v1/domains/sleeper");

  await restore(at("backup"), at("restored"), NEWEST);
  const restored = await WholeService.start(at("restored"));
  services.push(restored);
  expect((await restored.ask(`GET /v1/images/${image.json.id}`)).json).toEqual(image.json);
  expect((await restored.ask("GET /v1/domains/runs")).json).toMatchObject({ lastStop: { reason: "host-restarted" } });
  expect((await restored.ask("GET /v1/domains/runs/console")).text).toBe(printed);
  expect((await restored.ask("POST /v1/domains/sleeper/resume")).json).toMatchObject({ state: "running" });
  await restored.shown("sleeper", /before[\s\S]*Resumed/);
});

test("a backup that is damaged, cut off, none or newer is refused with the place; so is a folder that is not empty", async () => {
  const broken = async (name: string, harm: (folder: string) => void) => {
    cpSync(at("backup"), at(name), { recursive: true });
    harm(at(name));
    await expect(restore(at(name), at(`${name}-state`), NEWEST), name).rejects.toThrow(
      new RegExp(`${name}.*(damaged|missing|newer)`),
    );
    expect(readdirSync(scratch.folder)).not.toContain(`${name}-state`);
  };
  const database = (folder: string) => join(folder, "domzero.db");
  await broken("flipped", (folder) => {
    const bytes = readFileSync(database(folder));
    bytes[bytes.length >> 1] ^= 1;
    writeFileSync(database(folder), bytes);
  });
  await broken("short", (folder) => writeFileSync(database(folder), readFileSync(database(folder)).subarray(0, 4096)));
  await broken("without", (folder) => rmSync(database(folder)));
  await broken("nothing", (folder) => rmSync(join(folder, "manifest.json")));
  await expect(restore(at("backup"), at("old"), 1)).rejects.toThrow(/newer domzero/);
  await expect(restore(at("backup"), at("backup"), NEWEST)).rejects.toThrow(/not empty/);
  await expect(backUp(scratch.stateDir, at("backup"), new Date(0))).rejects.toThrow(/is there already/);
});
