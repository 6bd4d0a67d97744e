/**
 * Two real guests that share a page by a grant (test/guests/grant-ring). What they showed on a real Xen 4.17.7 is in
 * test/golden/grant-ring-xen417-*.log: their consoles in domains of 32 MiB with one vCPU, made by `xl create` with the command lines
 * `offer 4 20000` (domain 3) and then `use 3 20000` (domain 4), as xenconsoled logged them, carriage returns and empty lines removed.
 * Ours must be the same, line by line.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Domain } from "../../src/hypervisor/domain.ts";
import { auditShards } from "./audit-domain.ts";
import { OneThreadMachine } from "./one-thread-machine.ts";

const tests = join(import.meta.dirname, "..");
const END = "the end";
const COUNT = 20_000;
const machine = new OneThreadMachine();
let offering: Domain;
let using: Domain;

const lines = (text: string): string[] =>
  text
    .replaceAll("\r", "")
    .split("\n")
    .filter((line) => line !== "");
const golden = (who: string): string[] =>
  lines(readFileSync(join(tests, `golden/grant-ring-xen417-${who}.log`), "latin1"));

beforeAll(() => {
  const kernel = readFileSync(join(tests, "guests/grant-ring/grant-ring.elf"));
  offering = machine.boot({ kernel, memoryMiB: 32, cmdline: `offer 2 ${COUNT}` });
  expect(machine.runUntil(() => machine.consoleOf(offering).includes("ready"))).toBe(true);
  using = machine.boot({ kernel, memoryMiB: 32, cmdline: `use 1 ${COUNT}` });
  const ended = () => [offering, using].every((domain) => machine.consoleOf(domain).includes(END));
  expect(machine.runUntil(ended, 60_000), `${machine.log.join("\n")}${machine.consoleOf(using)}`).toBe(true);
}, 120_000);
afterAll(() => machine.close());

test("the one that uses grants sees what it sees on Xen 4.17", () => {
  expect(lines(machine.consoleOf(using))).toEqual(golden("use"));
});

test("so does the one that grants", () => {
  expect(lines(machine.consoleOf(offering))).toEqual(golden("offer"));
});

test("afterwards every count adds up, and destroying brings them back to zero", () => {
  expect(auditShards([machine.shard])).toEqual([]);
  // One handle is left: its entry was overwritten.
  expect([...using.grants.maptrack.all()].length).toBe(1);
  expect(offering.grants.active.size).toBe(1);
  machine.shard.destroy(using.id);
  expect(offering.grants.active.size).toBe(0);
  expect(auditShards([machine.shard])).toEqual([]);
  machine.shard.destroy(offering.id);
  expect(machine.shard.domains.size).toBe(0);
  expect(offering.memory.frames.refInfo.every((info) => info === 0)).toBe(true);
});
