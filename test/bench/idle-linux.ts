/**
 * What many idle Linux guests cost: the processor time of all threads, and resident memory. 200 of them, or BENCH_IDLE_LINUX.
 *
 * Booting so many takes long and is not what is measured here: one boots and is suspended to a file, and the others are restored from
 * copies of it, each under a uuid of its own. Stops early where the host's memory would not do, and says so.
 *
 * Run with `node test/bench/idle-linux.ts` after `npm run guests:debian`, or all with `npm run bench`.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { crc32 } from "node:zlib";
import { ConsoleLogReader } from "../../src/backends/console/log-reader.ts";
import { EndRecord, headCrc, Preamble, RecordHead } from "../../src/builder/suspend-image/format.ts";
import type { DomctlEvent, DomctlResult } from "../../src/machine/domctl.ts";
import { Machine } from "../../src/machine/machine.ts";

const GUESTS = join(import.meta.dirname, "../../.guests");
const SRC = new URL("../../src/", import.meta.url);
const COUNT = Number(process.env.BENCH_IDLE_LINUX ?? 200);
const MEMORY_MIB = 80;
/** For everything else on the host. */
const LEAST_FREE_MIB = 2500;
const SETTLE_MS = 20_000;
const SAMPLES = 3;
const SAMPLE_MS = 10_000;

const uuidOf = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
const kernel = join(GUESTS, "vmlinuz-cloud-amd64");
const ramdisk = join(GUESTS, "initramfs.img");
if (!existsSync(kernel) || !existsSync(ramdisk)) {
  console.log("skipped: `npm run guests:debian` fetches the kernel and the ramdisk");
  process.exit(0);
}

const folder = mkdtempSync(join(tmpdir(), "domzero-idle-"));
const consoleDir = join(folder, "console");
const image = join(folder, "image");
const events: DomctlEvent[] = [];
const machine = await Machine.start({
  workers: 2,
  consoleDir,
  servicesWorker: new URL("backends/services-worker.ts", SRC),
  builderWorker: new URL("builder/builder-worker.ts", SRC),
  memoryMiB: COUNT * 2 * MEMORY_MIB,
  onFatal: (error) => {
    throw error;
  },
});
machine.onEvent((event) => events.push(event));
try {
  await bench();
} finally {
  await machine.close();
  rmSync(folder, { recursive: true, force: true });
}

async function bench(): Promise<void> {
  const before = resident();
  const master = await suspended();
  let there = 0;
  while (there < COUNT && freeMiB() > LEAST_FREE_MIB + MEMORY_MIB) {
    const uuid = uuidOf(++there);
    const path = join(folder, "copy");
    writeFileSync(path, copyFor(master, uuid));
    const { domid } = value(await machine.restore(spec(uuid), path));
    value(await machine.unpause(domid));
  }
  if (there < COUNT) console.log(`the host's memory ends at ${there} guests of ${MEMORY_MIB} MiB`);
  await sleep(SETTLE_MS);
  const each = (resident() - before) / there / 2 ** 20;
  const shares: number[] = [];
  for (let i = 0; i < SAMPLES; i++) {
    const cpu = process.cpuUsage();
    const begin = performance.now();
    await sleep(SAMPLE_MS);
    const { user, system } = process.cpuUsage(cpu);
    shares.push((user + system) / 10 / (performance.now() - begin));
  }
  const share = shares.toSorted((a, b) => a - b)[Math.floor(SAMPLES / 2)];
  console.log(
    `${there} idle Linux  ${share.toFixed(1)} % of one core together, ${(share / there).toFixed(2)} % each; ${each.toFixed(1)} MiB resident each (${MEMORY_MIB} MiB guests)`,
  );
}

/** The file of a guest that has come to its shell. */
async function suspended(): Promise<Buffer> {
  const uuid = uuidOf(0);
  const { domid } = value(await machine.create(spec(uuid)));
  value(await machine.unpause(domid));
  const text = () => Buffer.from(new ConsoleLogReader(consoleDir).read(uuid, 0, 1 << 18).bytes).toString("latin1");
  while (!text().includes("/ # ")) await sleep(100);
  await sleep(3000);
  value(await machine.requestShutdown(domid, "suspend"));
  while (!events.some((event) => event.kind === "shutdown")) await sleep(10);
  value(await machine.suspend(domid, image));
  value(await machine.destroy(domid));
  return readFileSync(image);
}

/** The file as one of another domain's: the uuid in its first record, and the checksums that cover it. */
function copyFor(master: Buffer, uuid: string): Buffer {
  const copy = Buffer.from(master);
  const view = new DataView(copy.buffer, copy.byteOffset, copy.length);
  const heads: Buffer[] = [];
  let at = Preamble.size;
  for (;;) {
    const payload = at + RecordHead.size;
    const length = RecordHead.length.get(view, at);
    const head = copy.subarray(at, payload);
    const last = payload + length === copy.length;
    if (heads.length === 0) copy.write(uuid, copy.indexOf(uuidOf(0), payload), "latin1");
    if (last) EndRecord.headsCrc.set(view, payload, crc32(Buffer.concat(heads)));
    if (heads.length === 0 || last) {
      RecordHead.payloadCrc.set(view, at, crc32(copy.subarray(payload, payload + length)));
      RecordHead.headCrc.set(view, at, headCrc(head));
    }
    if (last) return copy;
    heads.push(head);
    at = payload + length;
  }
}

function spec(uuid: string) {
  const cmdline = "console=hvc0 rdinit=/init panic=1";
  return {
    uuid,
    name: `idle-${uuid.slice(-3)}`,
    kernel,
    ramdisk,
    cmdline,
    memoryMiB: MEMORY_MIB,
    maxMemoryMiB: MEMORY_MIB,
    vcpus: 1,
  };
}

function value<T>(result: DomctlResult<T>): T {
  if (!result.ok) throw new Error(result.detail);
  return result.value;
}

function resident(): number {
  return process.memoryUsage.rss();
}

function freeMiB(): number {
  return Number(/MemAvailable:\s+(\d+)/.exec(readFileSync("/proc/meminfo", "utf8"))![1]) / 1024;
}
