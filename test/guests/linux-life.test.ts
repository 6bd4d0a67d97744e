/**
 * Everything that a host does to a running Linux, beside what the same kernel said on a real Xen 4.17 host to the same
 * (test/golden/linux61-xen417-life.log): vCPUs off and on, ballooning, a cancelled suspend, a suspend to a file, sysrq, an orderly end.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { afterEach, expect, test } from "vitest";
import { commonName, debianPath, recordedAnswers, steadyLines, versionOf } from "./linux-golden.ts";
import { MachineWithConsole, value } from "./machine-with-console.ts";

/** On a busy machine of two cores a boot takes half a minute. */
const TIMEOUT = 240_000;

let guest: MachineWithConsole | undefined;
afterEach(async () => {
  await guest?.close();
  guest = undefined;
});

/** What the recordings of hypercalls do not have, since their guest had one vCPU, and no TSC that is the same everywhere. */
const OF_TWO_VCPUS = [
  ...["UP", "DOWN", "INITIALISE", "REGISTER_VCPU_TIME_MEMORY_AREA"].map((name) => `vcpu_op.${name}`),
  ...["TLB_FLUSH_MULTI", "INVLPG_MULTI"].map((name) => `mmuext_op.${name}`),
  ...["POLL", "YIELD"].map((name) => `sched_op.${name}`),
];

/** Comes when there is entropy enough, wherever that is. */
const ANYTIME = /^random: crng init done/;

/** Lines of a section without what is a moment's own. */
function words(section: string): string[] {
  return section
    .replaceAll("\r", "")
    .split("\n")
    .map((line) => line.replace(/^(\/ # )?\[ *\d+\.\d+\] /, "").replace(/elapsed \d+\.\d+/, "elapsed ..."))
    .filter((line) => line !== "" && line !== "/ # " && !ANYTIME.test(line));
}

/** The recording's sections by their names. */
function recorded(): Map<string, string> {
  const text = readFileSync(join(import.meta.dirname, "../golden/linux61-xen417-life.log"), "latin1");
  const sections = new Map<string, string>();
  for (const section of text.replaceAll("\x1b[6n", "").split(/^## /m).slice(1)) {
    const end = section.indexOf("\n");
    let name = section.slice(0, end);
    while (sections.has(name)) name += " again";
    sections.set(name, section.slice(end + 1));
  }
  return sections;
}

test(
  "Linux with two vCPUs says the same as on Xen",
  async (context) => {
    guest = new MachineWithConsole({
      uuid: "00000000-0000-4000-8000-0000000005e6",
      name: "life",
      kernel: debianPath("vmlinuz-cloud-amd64", context),
      ramdisk: debianPath("initramfs.img", context),
      cmdline: "console=hvc0 rdinit=/init panic=1 loglevel=8",
      memoryMiB: 256,
      maxMemoryMiB: 256,
      vcpus: 2,
    });
    await guest.start();
    await guest.boot();
    const golden = recorded();
    const first = golden.get("xl create")!;
    if (versionOf(guest.text()) !== versionOf(first)) context.skip(`recorded was another kernel: ${versionOf(first)}`);
    expect(steadyLines(guest.text())).toEqual(steadyLines(first));

    const { machine } = guest;
    const said = async (name: string, act: () => Promise<unknown>) => {
      const before = guest!.text().length;
      await act();
      const wanted = words(golden.get(name)!);
      const ours = () => words(guest!.text().slice(before));
      // What comes too late, or is too much, is in the next section's way.
      await guest!.until(name, () => isDeepStrictEqual(ours(), wanted)).catch(() => {});
      expect(ours(), name).toEqual(wanted);
    };
    const typed = (line: string, again = "") =>
      said(`typed: ${line}${again}`, async () => {
        await guest!.type(`${line}\n`);
        await guest!.until(line, () => guest!.atPrompt());
      });
    const pages = async (kiB: number) => {
      await guest!.ask("memory/target", String(kiB));
      const { domid } = guest!;
      for (;;) if (value(await machine.info(domid)).memoryKiB === kiB) return;
    };

    await typed("nproc");
    await said("xl vcpu-set 1", () => guest!.ask("cpu/1/availability", "offline"));
    await said("xl vcpu-set 2", () => guest!.ask("cpu/1/availability", "online"));
    await typed("nproc", " again");
    await typed("echo 1 > /sys/devices/system/cpu/cpu1/online; nproc");
    await said("xl mem-set 200", () => pages(200 * 1024));
    await said("xl mem-set 256", () => pages(256 * 1024));
    await said("xl save -c", async () => {
      expect(await guest!.shutdown("suspend")).toBe("suspend");
      value(await machine.suspend(guest!.domid, guest!.image));
      value(await machine.resume(guest!.domid));
    });
    /** What has been called since the domain was made, by the recording's names. */
    const called = async () => {
      const { counters } = value(await machine.hypercalls(guest!.domid, {}));
      return counters.flatMap(({ name, subops }) =>
        subops.length === 0 ? [commonName(name, undefined)] : subops.map((subop) => commonName(name, subop.name)),
      );
    };
    const before = await called();
    await said("xl save; xl restore", async () => {
      expect(await guest!.shutdown("suspend")).toBe("suspend");
      value(await machine.suspend(guest!.domid, guest!.image));
      await guest!.restore();
      value(await machine.unpause(guest!.domid));
    });
    await typed("nproc", " again again");
    const after = await called();
    const suspend = [...recordedAnswers("suspend-hypercalls").keys()];
    // The recording's guest had a disk and a network card, whose front ends offer ports.
    expect(suspend.filter((name) => !before.includes(name) && !after.includes(name))).toEqual([
      "event_channel_op.ALLOC_UNBOUND",
    ]);
    const known = new Set([...suspend, ...recordedAnswers().keys(), ...OF_TWO_VCPUS]);
    expect(after.filter((name) => !known.has(name))).toEqual([]);
    await said("xl sysrq s", () => guest!.ask("control/sysrq", "s"));
    await said("xl sysrq h", () => guest!.ask("control/sysrq", "h"));
    await said("xl shutdown", async () => expect(await guest!.shutdown("poweroff")).toBe("poweroff"));
  },
  TIMEOUT,
);
