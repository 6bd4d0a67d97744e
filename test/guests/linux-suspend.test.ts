/** Debian's cloud kernel is suspended and comes back: in place, in the same machine and in a new one. */
import { afterEach, expect, test } from "vitest";
import { debianPath, plain } from "./linux-golden.ts";
import { MachineWithConsole, value } from "./machine-with-console.ts";

/** On a busy machine of two cores a boot takes half a minute. */
const TIMEOUT = 240_000;
/** A clock is read, typed and printed within this. */
const SLACK_MS = 5000;
/** Lines for the shell, more than the ring holds: not one may be lost, and none come twice. */
const TYPED_AHEAD = 250;
const COUNT = "i=$((i+1))\n";

let guest: MachineWithConsole | undefined;
afterEach(async () => {
  await guest?.close();
  guest = undefined;
});

/** Types a command; the line that it prints. */
async function said(command: string): Promise<string> {
  const from = guest!.text().length;
  await guest!.type(`echo "<$(${command})>"\n`);
  const answer = () => /\n<([^$].*)>/.exec(guest!.text().slice(from))?.[1];
  await guest!.until(command, () => answer() !== undefined);
  return answer()!;
}

test(
  "Linux with two vCPUs",
  async (context) => {
    guest = new MachineWithConsole({
      uuid: "00000000-0000-4000-8000-0000000005e5",
      name: "linux",
      kernel: debianPath("vmlinuz-cloud-amd64", context),
      ramdisk: debianPath("initramfs.img", context),
      cmdline: "console=hvc0",
      memoryMiB: 256,
      maxMemoryMiB: 256,
      vcpus: 2,
    });
    await guest.start();
    await guest.boot();
    await said("mount -t sysfs none /sys; echo 0 > /sys/devices/system/cpu/cpu1/online; echo down");
    const drift = Number(await said("date +%s")) * 1000 - Date.now();
    let up = 0;
    let rounds = 0;
    for (const where of ["in place", "in the same machine", "in a new machine"]) {
      const log = guest.log();
      expect(await guest.shutdown("suspend")).toBe("suspend");
      // Typed while nobody listens.
      await guest.type(COUNT.repeat(TYPED_AHEAD));
      value(await guest.machine.suspend(guest.domid, guest.image));
      if (where === "in place") {
        value(await guest.machine.resume(guest.domid));
      } else {
        if (where === "in a new machine") await guest.startAnew();
        await guest.restore();
        value(await guest.machine.unpause(guest.domid));
      }
      const since = () => guest!.text().slice(plain(log.toString("latin1")).length);
      await guest.until("the tasks' restart", () => since().includes("Restarting tasks ... done"));
      expect(guest.log().subarray(0, log.length).equals(log)).toBe(true);
      const now = Number(await said("cut -d. -f1 /proc/uptime"));
      expect(await said("echo $i")).toBe(String(TYPED_AHEAD * ++rounds));
      expect(now).toBeGreaterThanOrEqual(up);
      up = now;
      const clock = Number(await said("date +%s")) * 1000 - Date.now();
      expect(Math.abs(clock - drift)).toBeLessThan(SLACK_MS);
    }
    // The vCPU that was down is brought up by the new domain's rules, and the frames are all its own.
    expect(await said("echo 1 > /sys/devices/system/cpu/cpu1/online; nproc")).toBe("2");
    expect(guest.text()).not.toMatch(/BUG|WARNING|Oops|Call Trace/);
  },
  TIMEOUT,
);
