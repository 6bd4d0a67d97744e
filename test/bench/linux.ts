/**
 * Debian's stock kernel: kernel start to the init's first line, beside QEMU's TCG booting the same files when it is installed; the host's
 * CPU for idle guests; how evenly guests share two workers; how long a suspend to a file and a resume take.
 *
 * Run with `node test/bench/linux.ts` after `npm run guests:debian`, or all with `npm run bench`.
 */
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { BenchService } from "./service.ts";

const GUESTS = join(import.meta.dirname, "../../.guests");
const KERNEL = join(GUESTS, "vmlinuz-cloud-amd64");
const RAMDISK = join(GUESTS, "initramfs.img");
const QEMU = "/usr/bin/qemu-system-x86_64";
/** The line before the kernel starts its first program. */
const INIT = /Run \/init as init process/;
const BOOTS = 3;
const SUSPENSIONS = 3;
const WINDOW_SECONDS = 10;
const IDLE = Number(process.env.BENCH_IDLE_LINUX ?? 20);

if (!existsSync(KERNEL) || !existsSync(RAMDISK)) {
  console.log("skipped: `npm run guests:debian` fetches the kernel and the ramdisk");
  process.exit(0);
}

interface Running {
  readonly runtime: {
    readonly worker: number;
    readonly cpuTimeNs: number;
    readonly vcpus: readonly { readonly instructions: number }[];
  };
}

const service = await BenchService.start({ DOMZERO_WORKERS: "2" });
try {
  const kernel = await upload(KERNEL, "kernel");
  const ramdisk = await upload(RAMDISK, "ramdisk");
  const ours = await boots(kernel, ramdisk);
  if (existsSync(QEMU)) {
    const theirs = await qemu();
    console.log(`  QEMU TCG, same kernel without Xen  ${theirs.toFixed(2)} s; ratio ${(ours / theirs).toFixed(2)}`);
  } else {
    console.log("  QEMU is not installed: no ratio");
  }
  await suspensions(kernel, ramdisk);
  await sideBySide(kernel, ramdisk);
} finally {
  await service.stop();
}

async function upload(path: string, kind: string): Promise<string> {
  const { id } = await service.must<{ id: string }>(
    "POST",
    `/v1/images?kind=${kind}`,
    new Uint8Array(readFileSync(path)),
  );
  return id;
}

function definition(name: string, kernel: string, ramdisk: string, memoryMiB: number) {
  const cmdline = "console=hvc0 rdinit=/init panic=1";
  return { name, kernel, ramdisk, memoryMiB, vcpus: 1, cmdline, start: true };
}

/** Median seconds from the request to the line, with what it took. */
async function boots(kernel: string, ramdisk: string): Promise<number> {
  const seconds: number[] = [];
  let last: Running | undefined;
  for (let i = 0; i < BOOTS; i++) {
    const begin = performance.now();
    await service.must("POST", "/v1/domains", definition(`boot-${i}`, kernel, ramdisk, 256));
    await service.until(`boot-${i}`, INIT);
    seconds.push((performance.now() - begin) / 1000);
    last = await service.must<Running>("GET", `/v1/domains/boot-${i}`);
    await service.call("DELETE", `/v1/domains/boot-${i}?force=true`);
  }
  const median = seconds.toSorted((a, b) => a - b)[Math.floor(BOOTS / 2)];
  const instructions = last!.runtime.vcpus[0].instructions;
  const mips = instructions / (last!.runtime.cpuTimeNs / 1000);
  console.log(
    `Linux to its init  ${median.toFixed(2)} s (goal 15 s), ${(instructions / 1e9).toFixed(2)} G instructions, ${mips.toFixed(0)} MIPS`,
  );
  return median;
}

/** A guest of 256 MiB that has booted is suspended and resumed: seconds from each request to its answer. */
async function suspensions(kernel: string, ramdisk: string): Promise<void> {
  const name = "sleeper";
  await service.must("POST", "/v1/domains", definition(name, kernel, ramdisk, 256));
  await service.until(name, INIT);
  await sleep(5000);
  const seconds = { suspend: [] as number[], resume: [] as number[] };
  const ends = { suspend: "suspended", resume: "running" } as const;
  for (let i = 0; i < SUSPENSIONS; i++) {
    for (const operation of ["suspend", "resume"] as const) {
      const begin = performance.now();
      const reply = await service.call("POST", `/v1/domains/${name}/${operation}`);
      seconds[operation].push((performance.now() - begin) / 1000);
      // 202 is a task that goes on after the 10 s that a request waits.
      const state = reply.status === 200 ? (JSON.parse(reply.body) as { state: string }).state : "";
      if (state !== ends[operation]) throw new Error(`${operation}: ${reply.status} ${reply.body}`);
    }
    await sleep(1000);
  }
  await service.call("DELETE", `/v1/domains/${name}?force=true`);
  for (const [operation, taken] of Object.entries(seconds)) {
    const sorted = taken.toSorted((a, b) => a - b);
    const median = sorted[Math.floor(SUSPENSIONS / 2)].toFixed(2);
    console.log(
      `${operation}, Linux of 256 MiB  ${median} s (${sorted[0].toFixed(2)} to ${sorted.at(-1)!.toFixed(2)}, ${SUSPENSIONS} times; goal 1 s)`,
    );
  }
}

/** Seconds until QEMU, emulating, says the same. */
function qemu(): Promise<number> {
  const begin = performance.now();
  const files = ["-kernel", KERNEL, "-initrd", RAMDISK, "-append", "console=ttyS0 rdinit=/init panic=1"];
  const machine = ["-accel", "tcg", "-m", "256", "-nographic", "-no-reboot", "-net", "none"];
  const child = spawn(QEMU, [...machine, ...files], { stdio: ["ignore", "pipe", "ignore"] });
  return new Promise((resolve, reject) => {
    let said = "";
    child.stdout.on("data", (chunk: Buffer) => {
      said += chunk.toString("latin1");
      if (!INIT.test(said)) return;
      resolve((performance.now() - begin) / 1000);
      child.kill();
    });
    child.once("exit", () => reject(new Error(`QEMU ended early: ${said.slice(-500)}`)));
  });
}

/** Least CPU time over most among the guests of each worker, in a window in which all of them are busy: a boot takes seconds of a worker. */
async function evenness(names: readonly string[]): Promise<string[]> {
  const look = () => Promise.all(names.map((name) => service.must<Running>("GET", `/v1/domains/${name}`)));
  const before = await look();
  await sleep(WINDOW_SECONDS * 1000);
  const used = (await look()).map(({ runtime }, i) => ({
    worker: runtime.worker,
    ns: runtime.cpuTimeNs - before[i].runtime.cpuTimeNs,
  }));
  return [...Map.groupBy(used, ({ worker }) => worker).values()].map((guests) => {
    const times = guests.map(({ ns }) => ns);
    return (Math.min(...times) / Math.max(...times)).toFixed(2);
  });
}

/** Guests booted at once on two workers, then idle. */
async function sideBySide(kernel: string, ramdisk: string): Promise<void> {
  const names = Array.from({ length: IDLE }, (_, i) => `side-${i}`);
  const before = service.residentBytes();
  for (const name of names) await service.must("POST", "/v1/domains", definition(name, kernel, ramdisk, 128));
  const fairness = await evenness(names);
  console.log(
    `${IDLE} booting side by side  least CPU time over most, by worker: ${fairness.join(", ")} in ${WINDOW_SECONDS} s`,
  );
  await Promise.all(names.map((name) => service.until(name, INIT)));
  await sleep(20_000);
  const each = (service.residentBytes() - before) / IDLE / (1 << 20);
  const cpu = service.cpuSeconds();
  await sleep(10_000);
  const share = ((service.cpuSeconds() - cpu) / 10) * 100;
  console.log(
    `${IDLE} idle  ${share.toFixed(1)} % of one core together, ${each.toFixed(1)} MiB resident each (128 MiB guests)`,
  );
}
