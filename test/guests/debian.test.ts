/**
 * Debian's stock kernels, unmodified: they boot to a shell, say what they said on a real Xen 4.17 host, and get the same answers from the
 * hypervisor.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { afterEach, expect, test } from "vitest";
import { SHUTDOWN } from "../../src/abi/sched.ts";
import type { Domain } from "../../src/hypervisor/domain.ts";
import { cpioArchive } from "../../tools/guests/cpio.ts";
import { type GuestSpec, OneThreadMachine } from "../hypervisor/one-thread-machine.ts";
import {
  type Answers,
  commonName,
  debianFile,
  plain,
  recordedAnswers,
  recordedConsole,
  steadyLines,
  versionOf,
} from "./linux-golden.ts";

/** On a busy machine of two cores a boot takes half a minute. */
const TIMEOUT = 240_000;
const PROMPT = "/ # ";
/** Of system time, for a boot and for a command. */
const BOOT_MS = 60_000;
const COMMAND_MS = 20_000;
const CMDLINE = "console=hvc0 rdinit=/init panic=1 loglevel=8";

let machine: OneThreadMachine | undefined;
afterEach(() => {
  machine?.close();
  machine = undefined;
});

/** Boots to the shell's prompt. `each` is called again and again meanwhile. */
function boot(spec: GuestSpec, each: (domain: Domain) => void = () => {}): Domain {
  machine = new OneThreadMachine({ nsPerInstruction: 2 });
  const domain = machine.boot({ cmdline: CMDLINE, memoryMiB: 256, ...spec });
  machine.shard.setTrace(domain.id, true);
  waitFor(domain, atPrompt, BOOT_MS, each);
  return domain;
}

const consoleOf = (domain: Domain): string => machine!.consoleOf(domain);
const atPrompt = (domain: Domain): boolean => plain(consoleOf(domain)).endsWith(PROMPT);

function waitFor(domain: Domain, done: (domain: Domain) => boolean, ms: number, each: (domain: Domain) => void): void {
  let turns = 0;
  const finished = machine!.runUntil(() => {
    each(domain);
    // The console is a file: look now and then.
    return domain.shutdownReason >= 0 || (++turns % 100 === 0 && done(domain));
  }, ms);
  if (!finished) throw new Error(`not done after ${ms} ms:\n${consoleOf(domain).slice(-2000)}`);
}

/** Types a line; what came until the next prompt or the end of the domain, the echo left out. */
function typed(domain: Domain, line: string, each: (domain: Domain) => void = () => {}): string[] {
  const before = consoleOf(domain).length;
  machine!.type(domain, `${line}\n`);
  waitFor(domain, () => atPrompt(domain) && consoleOf(domain).length > before + line.length + 2, COMMAND_MS, each);
  return consoleOf(domain).slice(before).split("\r\n").slice(1, -1);
}

/** Types a line that ends the domain; the reason. */
function ended(domain: Domain, line: string, each: (domain: Domain) => void = () => {}): number {
  machine!.type(domain, `${line}\n`);
  waitFor(domain, () => false, COMMAND_MS, each);
  return domain.shutdownReason;
}

/** Gathers the results of all hypercalls from the trace, which has room for a few thousand. */
function listen(): { answers: (domain: Domain) => Answers; each: (domain: Domain) => void } {
  const results = new Map<string, Set<string>>();
  let next = 0;
  const each = (domain: Domain) => {
    const report = machine!.shard.trace(domain.id, { since: next, limit: 100_000 })!;
    for (const { seq, name, result } of report.trace) {
      if (seq !== next) throw new Error(`calls ${next} to ${seq} were missed`);
      next = seq + 1;
      if (!results.has(name)) results.set(name, new Set());
      if (result !== undefined) results.get(name)!.add(result);
    }
  };
  // A batch has one result for all of its sub-operations.
  const answers = (domain: Domain): Answers =>
    new Map(
      machine!.shard.hypercallCounters(domain.id).flatMap(({ name, subops }) => {
        const made = subops.length === 0 ? [undefined] : subops.map((subop) => subop.name);
        return made.map((subop) => [
          commonName(name, subop),
          results.get(`${name}.${subop}`) ?? results.get(name) ?? new Set(),
        ]);
      }),
    );
  return { answers, each };
}

/** What both sides have called and got a result of. */
const common = (answers: Answers, others: Answers) =>
  Object.fromEntries(
    [...answers]
      .filter(([name, results]) => others.has(name) && results.size > 0 && others.get(name)!.size > 0)
      .map(([name, results]) => [name, [...results].sort()] as const)
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  );

/** Waiting differs by nature: a hypervisor that answers at once is not yielded to. */
const WAITING = ["sched_op.YIELD", "sched_op.BLOCK", "sched_op.POLL"];

test(
  "the cloud kernel on one vCPU: the console and the hypercalls of the recording, and an orderly end",
  (context) => {
    const { answers, each } = listen();
    const domain = boot(
      { kernel: debianFile("vmlinuz-cloud-amd64", context), ramdisk: debianFile("initramfs.img", context) },
      each,
    );
    const console = consoleOf(domain);
    expect(typed(domain, "uname -sm; cat /proc/uptime | wc -w", each)).toEqual(["Linux x86_64", "2"]);
    expect(ended(domain, "poweroff -f", each)).toBe(SHUTDOWN.poweroff);
    expect(machine!.shard.refusals(domain.id)).toEqual([]);

    const golden = recordedConsole("console");
    if (versionOf(console) !== versionOf(golden)) context.skip(`recorded was another kernel: ${versionOf(golden)}`);
    expect(steadyLines(console)).toEqual(steadyLines(golden));
    const recorded = recordedAnswers();
    const ours = answers(domain);
    expect(common(ours, recorded)).toEqual(common(recorded, ours));
    const missing = (from: Answers, others: Answers) =>
      [...from.keys()].filter((name) => !others.has(name) && !WAITING.includes(name));
    expect(missing(recorded, ours)).toEqual([]);
    // The recording's host had no TSC that is the same everywhere; with one, Linux lets programs read the clock by themselves.
    expect(missing(ours, recorded)).toEqual(["vcpu_op.REGISTER_VCPU_TIME_MEMORY_AREA"]);
  },
  TIMEOUT,
);

test(
  "four vCPUs: the console of the recording; a panic ends as a crash that tells where",
  (context) => {
    const domain = boot({
      kernel: debianFile("vmlinuz-cloud-amd64", context),
      ramdisk: debianFile("initramfs.img", context),
      memoryMiB: 512,
      vcpus: 4,
    });
    const console = consoleOf(domain);
    expect(typed(domain, "nproc; for i in 1 2 3 4; do (echo $((i * i)) &) ; done; sleep 1")).toEqual(
      expect.arrayContaining(["4", "1", "9", "16"]),
    );
    expect(ended(domain, "echo c > /proc/sysrq-trigger")).toBe(SHUTDOWN.crash);
    expect(domain.crash).toMatchObject({ registers: { cs: "0xe033" } });
    expect(domain.crash?.stack.length).toBeGreaterThan(8);
    expect(consoleOf(domain)).toContain("Kernel panic - not syncing: sysrq triggered crash");

    const golden = recordedConsole("console-4vcpu");
    if (versionOf(console) !== versionOf(golden)) context.skip(`recorded was another kernel: ${versionOf(golden)}`);
    expect(steadyLines(console)).toEqual(steadyLines(golden));
  },
  TIMEOUT,
);

test(
  "the kernel of linux-image-amd64, packed by xz: its Xen drivers load, and it reboots",
  (context) => {
    const domain = boot({
      kernel: debianFile("vmlinuz-amd64", context),
      ramdisk: debianFile("initramfs.img", context),
      memoryMiB: 128,
      cmdline: `${CMDLINE} mods=1`,
    });
    expect(typed(domain, "lsmod | cut -d' ' -f1").slice(1).sort()).toEqual(["xen_blkfront", "xen_netfront"]);
    expect(ended(domain, "reboot")).toBe(SHUTDOWN.reboot);
  },
  TIMEOUT,
);

/** The corners of what can be asked for; the sizes between them were run by hand, both kernels with 1, 2 and 4 vCPUs. */
const SIZES: readonly (readonly [kernel: "vmlinuz-cloud-amd64" | "vmlinuz-amd64", vcpus: number, memoryMiB: number])[] =
  [
    ["vmlinuz-cloud-amd64", 2, 128],
    ["vmlinuz-cloud-amd64", 4, 3072],
    ["vmlinuz-amd64", 2, 3072],
  ];
test.for(SIZES)(
  "%s boots with %i vCPUs and %i MiB, which it sees all of, and powers off",
  { timeout: TIMEOUT },
  ([name, vcpus, memoryMiB], context) => {
    const kernel = debianFile(name, context);
    const ramdisk = debianFile("initramfs.img", context);
    const domain = boot({ kernel, ramdisk, memoryMiB, vcpus });
    expect(typed(domain, "nproc")).toEqual([String(vcpus)]);
    const pages = Number(/Memory: \d+K\/(\d+)K available/.exec(consoleOf(domain))?.[1]) / 4;
    // All but the first page and the 96 from 640 KiB on.
    expect(pages).toBe(memoryMiB * 256 - 97);
    expect(consoleOf(domain)).not.toMatch(/BUG|WARNING|Oops|Call Trace/);
    expect(machine!.shard.refusals(domain.id)).toEqual([]);
    expect(ended(domain, "poweroff")).toBe(SHUTDOWN.poweroff);
  },
);

test(
  "programs print in the guest what they print on the processor",
  (context) => {
    const load = readFileSync(join(import.meta.dirname, "busybox-load.sh"));
    const initramfs = debianFile("initramfs.img", context);
    const native = runNatively(fileOf(gunzipSync(initramfs), "bin/busybox"), load);
    expect(native.at(0)).toBe("== begin");
    expect(native.at(-1)).toBe("== end");

    // Two archives, one behind the other: the kernel unpacks both.
    const archive = cpioArchive([{ path: "load.sh", kind: "file", content: load, mode: 0o755 }]);
    const domain = boot({
      kernel: debianFile("vmlinuz-cloud-amd64", context),
      ramdisk: Buffer.concat([initramfs, gzipSync(archive)]),
    });
    expect(typed(domain, "(cd /tmp && sh /load.sh 2>&1)")).toEqual(native);
  },
  TIMEOUT,
);

function runNatively(busybox: Uint8Array, script: Uint8Array): string[] {
  const folder = mkdtempSync(join(tmpdir(), "domzero-load-"));
  try {
    const [program, file, inside] = ["busybox", "load.sh", "inside"].map((name) => join(folder, name));
    writeFileSync(program, busybox, { mode: 0o755 });
    writeFileSync(file, script);
    mkdirSync(inside);
    // Its own applets only.
    const env = { PATH: "/nowhere" };
    return execFileSync(program, ["sh", "-c", `exec 2>&1; . ${file}`], { cwd: inside, env })
      .toString()
      .trimEnd()
      .split("\n");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A file of a cpio archive of our own making. */
function fileOf(archive: Buffer, path: string): Uint8Array {
  const field = (at: number, i: number) =>
    Number.parseInt(archive.toString("latin1", at + 6 + i * 8, at + 14 + i * 8), 16);
  for (let at = 0; at < archive.length; ) {
    const start = (at + 110 + field(at, 11) + 3) & ~3;
    const size = field(at, 6);
    if (archive.toString("utf8", at + 110, at + 109 + field(at, 11)) === path)
      return archive.subarray(start, start + size);
    at = (start + size + 3) & ~3;
  }
  throw new Error(`there is no ${path}`);
}
