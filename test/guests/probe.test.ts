/**
 * The probe guest asks for everything, rightly and wrongly, and its answers are compared line by line with those of a real Xen 4.17
 * (probe-golden.ts says how they were made, probe-differences.ts what may differ). Together the runs touch every row of every hypercall table.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { SHUTDOWN } from "../../src/abi/sched.ts";
import { hypercalls } from "../../src/hypervisor/hypercall/hypercalls.ts";
import { hypercallCounters } from "../../src/hypervisor/hypercall/report.ts";
import { OneThreadMachine } from "../hypervisor/one-thread-machine.ts";
import { differences } from "./probe-differences.ts";
import { PROBE_END, probeGolden, probeLines, vcpusOf } from "./probe-golden.ts";

const kernel = readFileSync(join(import.meta.dirname, "probe/probe.elf"));
const golden = probeGolden();
const touched = new Set<string>();
const needed = new Set<string>();

/** Runs the probe in a new machine; gives its lines. */
function probe(run: string): string[] {
  const machine = new OneThreadMachine();
  const domain = machine.boot({ kernel, memoryMiB: 32, maxMemoryMiB: 33, vcpus: vcpusOf(run), cmdline: run });
  machine.runUntil(() => domain.shutdownReason >= 0, 600_000);
  machine.runUntil(() => false, 1);
  let text = machine.consoleOf(domain);
  if (run.startsWith("deaths")) {
    text += domain.shutdownReason === SHUTDOWN.crash ? "the domain has crashed\n" : "the domain has shut down\n";
    text += `${PROBE_END}\n`;
  }
  expect(text.trimEnd().endsWith(PROBE_END), machine.log.join("\n")).toBe(true);
  for (const { number, count, subops } of hypercallCounters(domain)) {
    if (count > 0) touched.add(`${number}`);
    for (const { op, count: times } of subops) if (times > 0) touched.add(`${number} ${op}`);
  }
  machine.close();
  return probeLines(text);
}

afterAll(() => {
  if (touched.size === 0) return;
  expect([...differences].filter(({ why }) => !needed.has(why)).map(({ why }) => why)).toEqual([]);
});

test.each(golden)("$run: as Xen 4.17 answers", ({ run, lines }) => {
  const ours = probe(run);
  const wrong: string[] = [];
  for (let i = 0; i < Math.max(lines.length, ours.length); i++) {
    const [theirs, own] = [lines[i] ?? "nothing", ours[i] ?? "nothing"];
    if (theirs === own) continue;
    const accepted = differences.find(({ xen, ours }) => xen.test(theirs) && ours.test(own));
    if (accepted === undefined) wrong.push(`${i + 1}: ${own}\n   Xen: ${theirs}`);
    else needed.add(accepted.why);
  }
  expect(wrong).toEqual([]);
});

test("20,000 lines at least were compared", () => {
  expect(golden.reduce((sum, { lines }) => sum + lines.length, 0)).toBeGreaterThan(20_000);
});

test("every row of every hypercall table was touched", () => {
  const rows: string[] = [];
  hypercalls.forEach((row, number) => {
    if (row === undefined) return;
    if (!touched.has(`${number}`)) rows.push(row.name);
    for (const [op, name] of row.subops?.names ?? [])
      if (!touched.has(`${number} ${op}`)) rows.push(`${row.name}.${name}`);
  });
  expect(rows).toEqual([]);
});
