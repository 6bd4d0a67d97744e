/**
 * The probe guest (test/guests/mm-probe) asks for everything about memory that may be refused. What a real Xen 4.17.7 answered is
 * test/golden/mm-probe-xen417.log: its console in a domain of 32 MiB with 2 vCPUs, made by `xl create`, as xenconsoled logged it,
 * carriage returns removed. Ours must be the same, line by line.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { OneThreadMachine } from "../one-thread-machine.ts";
import { audit } from "./audit.ts";

const tests = join(import.meta.dirname, "../..");
const END = "# the end";

interface Section {
  readonly title: string;
  readonly lines: string[];
}

function sections(text: string): Section[] {
  const found: Section[] = [];
  for (const line of text.replaceAll("\r", "").split("\n")) {
    if (line.startsWith("# ")) found.push({ title: line.slice(2), lines: [] });
    else if (line !== "") found.at(-1)?.lines.push(line);
  }
  return found;
}

const golden = sections(readFileSync(join(tests, "golden/mm-probe-xen417.log"), "utf8"));
const machine = new OneThreadMachine();
let ours: Section[] = [];

beforeAll(() => {
  const kernel = readFileSync(join(tests, "guests/mm-probe/probe.elf"));
  const domain = machine.boot({ kernel, memoryMiB: 32, vcpus: 2 });
  const ended = machine.runUntil(() => domain.shutdownReason >= 0 || machine.consoleOf(domain).includes(END));
  ours = sections(machine.consoleOf(domain));
  expect(ended, machine.log.join("\n")).toBe(true);
});
afterAll(() => machine.close());

test.each(golden.map(({ title }) => title))("%s: as Xen 4.17 answers", (title) => {
  const section = (of: readonly Section[]) => of.find((one) => one.title === title)?.lines;
  expect(section(ours)).toEqual(section(golden));
});

test("afterwards every count adds up, and destroying brings them back to zero", () => {
  const [domain] = machine.shard.domains.values();
  const { memory, vcpus } = domain!;
  const holds = vcpus
    .filter(({ infoMfn }) => infoMfn >= 0)
    .map(({ infoMfn }) => ({ index: infoMfn - memory.map.baseMfn, typed: true }));
  expect(audit(memory, null, holds)).toEqual([]);
  expect(memory.refusals.count).toBeGreaterThan(64);
  machine.shard.destroy(domain!.id);
  expect(memory.frames.refInfo.every((info) => info === 0)).toBe(true);
});
