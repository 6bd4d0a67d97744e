/** What Domain 0 asks of Debian's Linux through xenstore, and what that does: ballooning, vCPUs off and on, sysrq keys. */
import { afterAll, expect, type TestContext, test } from "vitest";
import { SHUTDOWN } from "../../src/abi/sched.ts";
import type { Domain } from "../../src/hypervisor/domain.ts";
import { OneThreadMachine } from "../hypervisor/one-thread-machine.ts";
import { debianFile, plain } from "./linux-golden.ts";

/** On a busy machine of two cores a boot takes half a minute. */
const TIMEOUT = 240_000;
const MIB = 256;

let machine: OneThreadMachine;
let domain: Domain;

/** Runs the guest until `done`; it is asked every 2 ms of the guest's time. */
function waitFor(done: () => boolean, ms = 20_000): void {
  let turns = 0;
  const finished = machine.runUntil(() => ++turns % 20 === 0 && done(), ms);
  if (!finished) throw new Error(`not done after ${ms} ms:\n${machine.consoleOf(domain).slice(-2000)}`);
}

const atPrompt = () => plain(machine.consoleOf(domain)).endsWith("/ # ");

/** Types a line; what came until the next prompt, the echo left out. */
function typed(line: string): string[] {
  const before = machine.consoleOf(domain).length;
  machine.type(domain, `${line}\n`);
  waitFor(() => machine.consoleOf(domain).length > before + line.length + 2 && atPrompt());
  return plain(machine.consoleOf(domain).slice(before)).split("\r\n").slice(1, -1);
}

const ask = (path: string, value: string) =>
  machine.services.xenstore.write(`/local/domain/${domain.id}/${path}`, value);
const pages = () => domain.memory.frames.ownPages;
const totalKiB = () => Number(typed("free -k | grep Mem:")[0].split(/ +/)[1]);
const vcpuState = (id: number) => machine.shard.domainInfo(domain.id)?.vcpus[id].state;

/** Boots it for the first test. */
function booted(context: TestContext): void {
  if (machine !== undefined) return;
  const kernel = debianFile("vmlinuz-cloud-amd64", context);
  const ramdisk = debianFile("initramfs.img", context);
  machine = new OneThreadMachine({ nsPerInstruction: 2 });
  domain = machine.boot({ kernel, ramdisk, cmdline: "console=hvc0 rdinit=/init", memoryMiB: 256, vcpus: 2 });
  waitFor(atPrompt, 60_000);
}

afterAll(() => machine?.close());

test(
  "it balloons down, and up again to where it was",
  (context) => {
    booted(context);
    const before = totalKiB();
    ask("memory/target", String(160 * 1024));
    waitFor(() => pages() === 160 * MIB);
    expect(totalKiB()).toBe(before - 96 * 1024);
    ask("memory/target", String(256 * 1024));
    waitFor(() => pages() === 256 * MIB);
    expect(totalKiB()).toBe(before);
    expect(machine.shard.refusals(domain.id)).toEqual([]);
  },
  TIMEOUT,
);

test(
  "it takes a vCPU off, and uses it again",
  (context) => {
    booted(context);
    ask("cpu/1/availability", "offline");
    waitFor(() => vcpuState(1) === "offline");
    expect(typed("grep -c ^processor /proc/cpuinfo")).toEqual(["1"]);
    ask("cpu/1/availability", "online");
    waitFor(() => machine.services.xenstore.read(`/local/domain/${domain.id}/cpu/1/availability`) === "online");
    // Linux leaves this to its user space: udev, elsewhere.
    typed("until echo 1 > /sys/devices/system/cpu/cpu1/online; do sleep 1; done 2> /dev/null");
    expect(vcpuState(1)).not.toBe("offline");
    expect(typed("grep -c ^processor /proc/cpuinfo")).toContain("2");
  },
  TIMEOUT,
);

test(
  "a sysrq key crashes it: the report has registers and words of the stack",
  (context) => {
    booted(context);
    typed("echo 1 > /proc/sys/kernel/sysrq");
    ask("control/sysrq", "c");
    waitFor(() => domain.shutdownReason >= 0);
    expect(domain.shutdownReason).toBe(SHUTDOWN.crash);
    expect(domain.crash).toMatchObject({ registers: { cs: "0xe033" } });
    expect(domain.crash?.stack.length).toBeGreaterThan(8);
    expect(machine.consoleOf(domain)).toContain("Kernel panic - not syncing: sysrq triggered crash");
  },
  TIMEOUT,
);
