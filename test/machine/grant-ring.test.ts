/** Two guests on real threads that pass a million messages through a page that one grants the other: on one worker, and on two. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { ConsoleLogReader } from "../../src/backends/console/log-reader.ts";
import { Machine } from "../../src/machine/machine.ts";

const SRC = new URL("../../src/", import.meta.url);
const KERNEL = new URL("../guests/grant-ring/grant-ring.elf", import.meta.url).pathname;
const MESSAGES = 1_000_000;
/** Of the messages that each gets: 500,000 of a linear congruential sequence, worked out apart from the kernel. */
const CHECKSUMS = { offer: "f657144bf1480f70", use: "416300f4f5d816b0" };
const closing: (() => Promise<void>)[] = [];
const uuidOf = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;

afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

test.each([1, 2])("%i worker(s)", { timeout: 300_000 }, async (workers) => {
  const consoleDir = mkdtempSync(join(tmpdir(), "domzero-grants-"));
  const machine = await Machine.start({
    workers,
    consoleDir,
    servicesWorker: new URL("backends/services-worker.ts", SRC),
    builderWorker: new URL("builder/builder-worker.ts", SRC),
    onFatal: (error) => {
      throw error;
    },
  });
  closing.push(async () => {
    await machine.close();
    rmSync(consoleDir, { recursive: true, force: true });
  });
  const reader = new ConsoleLogReader(consoleDir);
  const said = (n: number) => Buffer.from(reader.read(uuidOf(n), 0, 1 << 18).bytes).toString("latin1");
  const says = (n: number, text: string) =>
    new Promise<void>((resolve, reject) => {
      const look = () => {
        if (said(n).includes(text)) resolve();
        else if (said(n).includes("failed")) reject(new Error(said(n)));
      };
      machine.onEvent(look);
      look();
    });
  const make = async (n: number, cmdline: string) => {
    const made = await machine.create({
      uuid: uuidOf(n),
      name: `ring-${n}`,
      kernel: KERNEL,
      cmdline,
      memoryMiB: 16,
      maxMemoryMiB: 16,
      vcpus: 1,
    });
    if (!made.ok) throw new Error(made.detail);
    expect(made.value.domid).toBe(n);
    await machine.unpause(n);
  };
  await make(1, `offer 2 ${MESSAGES / 2}`);
  await says(1, "ready");
  await make(2, `use 1 ${MESSAGES / 2}`);
  await Promise.all([says(1, "the end"), says(2, "the end")]);
  // The same messages, on whichever threads.
  expect(/500000 messages each way, checksum (\w+)/.exec(said(1))?.[1]).toBe(CHECKSUMS.offer);
  expect(/500000 messages each way, checksum (\w+)/.exec(said(2))?.[1]).toBe(CHECKSUMS.use);
  const placed = await Promise.all([machine.info(1), machine.info(2)]);
  expect(placed.map((info) => info.ok && info.value.worker)).toEqual(workers === 1 ? [0, 0] : [0, 1]);

  // The one that grants dies first: its memory stays until the other, which has a handle left, is gone too.
  await machine.destroy(1);
  await machine.destroy(2);
  expect((await machine.host()).domains).toBe(0);
});
