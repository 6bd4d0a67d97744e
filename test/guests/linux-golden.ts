/** What Debian's cloud kernel showed and asked for on a real Xen 4.17 host (test/golden/linux61-xen417-*), in a form that compares. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "vitest";

const golden = (name: string) => readFileSync(join(import.meta.dirname, "../golden", name), "latin1");
const CONTROL_SEQUENCE = new RegExp(`${String.fromCharCode(27)}\\[[0-9;?]*[A-Za-z]`, "g");
const TIMESTAMP = /^\[ *\d+\.\d+\] /;

export type DebianFile = "vmlinuz-cloud-amd64" | "vmlinuz-amd64" | "initramfs.img";

/** The path of a file that `npm run guests:debian` fetches. Without it the test is skipped, and says so; in CI it fails. */
export function debianPath(name: DebianFile, context: TestContext): string {
  const path = join(import.meta.dirname, "../../.guests", name);
  if (existsSync(path)) return path;
  const remedy = `${name} is not here: \`npm run guests:debian\` fetches it`;
  if (process.env.CI) throw new Error(remedy);
  return context.skip(remedy);
}

export const debianFile = (name: DebianFile, context: TestContext): Buffer => readFileSync(debianPath(name, context));

/** Lines that no two hosts, or no two boots, have in common, and why. */
const OWN_LINES: readonly (readonly [pattern: RegExp, why: string])[] = [
  [/^tsc: |^clocksource: tsc|^Calibrating delay loop|^bogomips|^cpu MHz/, "the TSC: 1 GHz, and stable"],
  [/^model name|^microcode|^cpuid level/, "the processor's name; it has no microcode, and no leaves of XSAVE"],
  [/^flags\t/, "no machine-check architecture (mce, mca), a stable TSC (constant_tsc, nonstop_tsc)"],
  [/^cpu family/, "where `head` cuts the list of processors"],
  [/^Xen version: /, "the hypervisor's name"],
  [/^RAMDISK: |^Memory: |^Freeing initrd memory|^Mem: |^Write protecting|^ +total /, "the size of the ramdisk"],
  [/^audit: type=2000|^sched_clock: Marking stable|deferred pages initialised in|^DOMU-INIT-REACHED/, "the time"],
];

export const plain = (text: string): string => text.replace(CONTROL_SEQUENCE, "");

/** Console lines up to the shell, without timestamps and without what is a host's own. */
export function steadyLines(text: string): string[] {
  const lines = plain(text)
    .split("\n")
    .map((line) => line.replace(/\r+$/, "").replace(TIMESTAMP, ""));
  return lines
    .slice(0, lines.indexOf("DOMU-SHELL") + 1)
    .filter((line) => !OWN_LINES.some(([pattern]) => pattern.test(line)));
}

export const recordedConsole = (name: "console" | "console-4vcpu"): string => golden(`linux61-xen417-${name}.log`);

/** "Linux version ..." of a console. */
export const versionOf = (text: string): string | undefined => /Linux version [^\r\n]*/.exec(text)?.[0];

/** Results of each sub-operation, by a name that both sides have: `hypercall.SUBOP`. */
export type Answers = ReadonlyMap<string, ReadonlySet<string>>;

const UPDATE_FLAGS: Readonly<Record<string, string>> = { "no flush": "0", TLB_FLUSH: "1", INVLPG: "2" };

/** As the recording's names are: sub-operations in capitals, without `_TABLE`, flags by their number. */
export function commonName(hypercall: string, subop: string | undefined): string {
  if (subop === undefined) return hypercall;
  if (hypercall === "update_va_mapping") return `update_va_mapping(flags=${UPDATE_FLAGS[subop] ?? subop})`;
  return `${hypercall}.${subop.toUpperCase().replace(/_TABLE$/, "")}`;
}

/** The histogram: what was called directly, with its results; what only multicalls held has none. */
export function recordedAnswers(name: "hypercalls" | "suspend-hypercalls" = "hypercalls"): Answers {
  const answers = new Map<string, Set<string>>();
  for (const line of golden(`linux61-xen417-${name}.hist.txt`).split("\n")) {
    const row = /^ +\d+ (\w+)(?:\.(\w+))?(\(flags=\d\)|\(\d\))? *(?:\{(.*)\})?$/.exec(line);
    if (row === null) continue;
    const [, hypercall, subop, detail, results] = row;
    const name = detail?.startsWith("(flags") ? `${hypercall}${detail}` : commonName(hypercall, subop);
    const known = answers.get(name) ?? new Set();
    for (const [, result] of results?.matchAll(/(-?\d+): \d+/g) ?? []) known.add(result);
    answers.set(name, known);
  }
  return answers;
}
