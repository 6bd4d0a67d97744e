/**
 * The same kind of guest as in fuzz.test.ts, as a real kernel (test/guests/fuzz-kernel) on the real engine with Domain 0's services:
 * hypercalls, page tables, instructions and xenstore requests from its own seed. Whatever becomes of it, all that is kept of it adds up,
 * nothing of it is left when it is destroyed, and the hypervisor has no defect to report.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { auditDomain } from "./audit-domain.ts";
import { OneThreadMachine } from "./one-thread-machine.ts";

const SEED = Number(process.env.DOMZERO_SEED ?? Date.now() % 2 ** 31);
const kernel = readFileSync(join(import.meta.dirname, "../guests/fuzz-kernel/fuzz.elf"));
/** System time that each guest gets, ms: at 5 ns an instruction some millions of them. */
const MS = 60;

const machine = new OneThreadMachine();
afterAll(() => machine.close());

test.each([
  ["calls", 500],
  ["code", 500],
  ["xenstore", 3],
  ["storm", 500],
  ["all", 20],
])(`a guest in mode %s (seed ${SEED})`, (mode, least) => {
  machine.log.length = 0;
  const domain = machine.boot({ kernel, cmdline: `${mode} ${SEED}`, memoryMiB: 8 });
  let turns = 0;
  machine.runUntil(() => {
    if (turns++ % 40 === 0) expect(auditDomain(domain)).toEqual([]);
    return domain.shutdownReason >= 0;
  }, MS);
  expect(machine.consoleOf(domain)).toContain(`fuzz ${mode}, seed ${SEED}`);
  expect(auditDomain(domain)).toEqual([]);
  const calls = machine.shard.hypercallCounters(domain.id).reduce((sum, { count }) => sum + count, 0);
  expect(calls).toBeGreaterThan(least);
  machine.shard.destroy(domain.id);
  machine.services.release(domain.id);
  expect(machine.shard.domains.has(domain.id)).toBe(false);
  expect(domain.memory.frames.refInfo.every((info) => info === 0)).toBe(true);
  expect([...domain.events.inUse()]).toEqual([]);
  expect(machine.log.filter((line) => line.includes("defect"))).toEqual([]);
});
