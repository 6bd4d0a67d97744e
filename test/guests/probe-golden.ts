/**
 * What a real Xen 4.17.7 answered the probe (test/guests/probe), as tools/guests/record-probe.sh recorded it for the runs of
 * test/guests/probe/runs.txt: domains of 32 MiB with 2 vCPUs (32 for `contexts`) made by `xl create`, under QEMU 10's qemu64,+invtsc,+cx16,+lahf_lm. Anew:
 *
 *     mapfile -t runs < runs.txt; record-probe.sh probe.elf "${runs[@]}" | gzip -9n > test/golden/probe-xen417.log.gz
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";

export const PROBE_END = "# the end";

export interface ProbeRun {
  /** The command line: section, seed, count. */
  readonly run: string;
  readonly lines: readonly string[];
}

export const vcpusOf = (run: string): number => (run.startsWith("contexts") ? 32 : 2);

/** What one run of the probe printed, without its head and its end. */
export const probeLines = (console: string): string[] =>
  console
    .replaceAll("\r", "")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("# "));

export function probeGolden(): ProbeRun[] {
  const tests = join(import.meta.dirname, "..");
  const runs = readFileSync(join(tests, "guests/probe/runs.txt"), "utf8").trim().split("\n");
  const recorded = gunzipSync(readFileSync(join(tests, "golden/probe-xen417.log.gz"))).toString("latin1");
  const parts = recorded.split(`${PROBE_END}\n`);
  return runs.map((run, i) => ({ run, lines: probeLines(parts[i]!) }));
}
