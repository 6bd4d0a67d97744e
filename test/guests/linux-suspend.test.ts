/** Debian's cloud kernel is suspended and comes back: in place, in the same machine and in a new one. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { ConsoleLogReader } from "../../src/backends/console/log-reader.ts";
import type { DomctlEvent, DomctlResult } from "../../src/machine/domctl.ts";
import { Machine } from "../../src/machine/machine.ts";
import { debianPath, plain } from "./linux-golden.ts";

/** On a busy machine of two cores a boot takes half a minute. */
const TIMEOUT = 240_000;
const SRC = new URL("../../src/", import.meta.url);
const uuid = "00000000-0000-4000-8000-0000000005e5";
/** A clock is read, typed and printed within this. */
const SLACK_MS = 5000;

const folder = mkdtempSync(join(tmpdir(), "domzero-linux-suspend-"));
let machine: Machine;
let events: DomctlEvent[] = [];

async function startMachine(): Promise<void> {
  machine = await Machine.start({
    workers: 2,
    consoleDir: join(folder, "console"),
    servicesWorker: new URL("backends/services-worker.ts", SRC),
    builderWorker: new URL("builder/builder-worker.ts", SRC),
    onFatal: (error) => {
      throw error;
    },
  });
  machine.onEvent((event) => events.push(event));
}

afterEach(async () => {
  await machine?.close();
  rmSync(folder, { recursive: true, force: true });
});

const logOf = () => Buffer.from(new ConsoleLogReader(join(folder, "console")).read(uuid, 0, 1 << 20).bytes);
const consoleText = () => plain(logOf().toString("latin1"));

function value<T>(result: DomctlResult<T>): T {
  if (!result.ok) throw new Error(`${result.code}: ${result.detail}`);
  return result.value;
}

async function until(what: string, holds: () => boolean, ms: number): Promise<void> {
  const deadline = Date.now() + ms;
  while (!holds()) {
    if (Date.now() > deadline)
      throw new Error(`${what} did not happen; the console ends:\n${consoleText().slice(-2000)}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Types a command; the line that it prints. */
async function said(domid: number, command: string): Promise<string> {
  const from = consoleText().length;
  value(await machine.consoleInput(domid, Buffer.from(`echo "<$(${command})>"\n`)));
  const answer = () => /\n<([^$].*)>/.exec(consoleText().slice(from))?.[1];
  await until(command, () => answer() !== undefined, 30_000);
  return answer()!;
}

async function suspended(domid: number): Promise<void> {
  events = [];
  value(await machine.requestShutdown(domid, "suspend"));
  const end = () => events.find((event) => event.kind === "shutdown");
  await until("the suspend", () => end() !== undefined, 30_000);
  expect(end()).toMatchObject({ reason: "suspend" });
  value(await machine.suspend(domid, join(folder, "image")));
}

test(
  "Linux with two vCPUs",
  async (context) => {
    const kernel = debianPath("vmlinuz-cloud-amd64", context);
    const ramdisk = debianPath("initramfs.img", context);
    const spec = {
      uuid,
      name: "linux",
      kernel,
      ramdisk,
      cmdline: "console=hvc0",
      memoryMiB: 256,
      maxMemoryMiB: 256,
      vcpus: 2,
    };
    await startMachine();
    let { domid } = value(await machine.create(spec));
    value(await machine.unpause(domid));
    await until("the shell", () => consoleText().includes("\n/ # "), 120_000);
    await said(domid, "mount -t sysfs none /sys; echo 0 > /sys/devices/system/cpu/cpu1/online; echo down");
    const drift = Number(await said(domid, "date +%s")) * 1000 - Date.now();
    let up = 0;
    for (const where of ["in place", "in the same machine", "in a new machine"]) {
      const log = logOf();
      await suspended(domid);
      if (where === "in place") {
        value(await machine.resume(domid));
      } else {
        value(await machine.destroy(domid));
        if (where === "in a new machine") {
          await machine.close();
          await startMachine();
        }
        domid = value(await machine.restore(spec, join(folder, "image"))).domid;
        value(await machine.unpause(domid));
      }
      await until(
        "the tasks' restart",
        () =>
          consoleText()
            .slice(plain(log.toString("latin1")).length)
            .includes("Restarting tasks ... done"),
        30_000,
      );
      expect(logOf().subarray(0, log.length).equals(log)).toBe(true);
      const now = Number(await said(domid, "cut -d. -f1 /proc/uptime"));
      expect(now).toBeGreaterThanOrEqual(up);
      up = now;
      const clock = Number(await said(domid, "date +%s")) * 1000 - Date.now();
      expect(Math.abs(clock - drift)).toBeLessThan(SLACK_MS);
    }
    // The vCPU that was down is brought up by the new domain's rules, and the frames are all its own.
    expect(await said(domid, "echo 1 > /sys/devices/system/cpu/cpu1/online; nproc")).toBe("2");
    expect(consoleText()).not.toMatch(/BUG|WARNING|Oops|Call Trace/);
  },
  TIMEOUT,
);
