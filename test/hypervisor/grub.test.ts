/** Debian's GRUB for Xen, unmodified: it makes the hypercalls, and says the things, that it did on a real Xen 4.17 host. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { SHUTDOWN } from "../../src/abi/sched.ts";
import { OneThreadMachine } from "./one-thread-machine.ts";

const places = [
  join(import.meta.dirname, "../../.guests/grub-x86_64-xen.bin"),
  "/usr/lib/grub-xen/grub-x86_64-xen.bin",
];
const image = places.find((place) => existsSync(place));
if (image === undefined && process.env.CI === "true") throw new Error("GRUB's image is missing: npm run guests:grub");

/** Console text without the terminal's cursor movements. */
const MOVEMENT = new RegExp(`${String.fromCharCode(27)}\\[[0-9;?]*[A-Za-z]`, "g");
const plain = (text: string) => text.replace(MOVEMENT, "").replaceAll("\r", "");

describe.skipIf(image === undefined)("GRUB", () => {
  const boot = () => {
    const machine = new OneThreadMachine();
    const domain = machine.boot({ kernel: readFileSync(image!), memoryMiB: 64 });
    expect(machine.runUntil(() => plain(machine.consoleOf(domain)).endsWith("grub> "), 5_000)).toBe(true);
    const typed = (line: string) => {
      const before = machine.consoleOf(domain).length;
      machine.type(domain, `${line}\r`);
      machine.runUntil(() => {
        const text = machine.consoleOf(domain);
        return domain.shutdownReason >= 0 || (text.length > before + line.length * 8 && text.endsWith("grub> "));
      });
      return plain(machine.consoleOf(domain).slice(before)).trimEnd();
    };
    return { machine, domain, typed };
  };

  test("boots to its prompt, makes the hypercalls of the recording, and every one succeeds", () => {
    const machine = new OneThreadMachine();
    const domain = machine.boot({ kernel: readFileSync(image!), memoryMiB: 64 });
    machine.shard.setTrace(domain.id, true);
    expect(machine.runUntil(() => plain(machine.consoleOf(domain)).endsWith("grub> "), 5_000)).toBe(true);
    const calls = Object.fromEntries(
      machine.shard
        .hypercallCounters(domain.id)
        .flatMap(({ name, subops }) => subops.map((subop) => [`${name}.${subop.name}`, subop.count])),
    );
    // test/golden/grub-xen417-hypercalls.hist.txt: what depends on nothing but the size of the domain.
    expect(calls).toMatchObject({
      "update_va_mapping.INVLPG": 44,
      "mmu_update.MACHPHYS_UPDATE": 4,
      "grant_table_op.set_version": 1,
      "grant_table_op.setup_table": 1,
      "mmuext_op.PIN_L4_TABLE": 1,
      "mmuext_op.NEW_BASEPTR": 1,
      "mmuext_op.UNPIN_TABLE": 1,
    });
    const { trace } = machine.shard.trace(domain.id)!;
    expect(trace.length).toBeGreaterThan(50);
    expect(trace.filter(({ result }) => result !== "0")).toEqual([]);
    expect(machine.shard.refusals(domain.id)).toEqual([]);
    expect(machine.log).toEqual([]);
    machine.close();
  });

  test("greets, and answers what is typed", () => {
    const { machine, domain, typed } = boot();
    const greeting = plain(machine.consoleOf(domain));
    expect(greeting).toContain("Welcome to GRUB!");
    expect(greeting).toContain("GNU GRUB  version 2.06");
    expect(typed("echo hello")).toBe("echo hello\nhello\ngrub>");
    expect(typed("ls")).toBe("ls\n(memdisk) (proc) \ngrub>");
    expect(typed("help")).toContain("xen_ls [DIR]");
    expect(typed("cpuid -l; echo $?")).toBe("cpuid -l; echo $?\n0\ngrub>");
    machine.close();
  });

  test.each([
    ["halt", SHUTDOWN.poweroff],
    ["reboot", SHUTDOWN.reboot],
  ])("%s ends the domain", (command, reason) => {
    const { machine, domain, typed } = boot();
    typed(command);
    expect(domain.shutdownReason).toBe(reason);
    machine.shard.destroy(domain.id);
    expect(machine.messages).toContainEqual({ kind: "destroyed", domid: domain.id });
    machine.close();
  });
});
