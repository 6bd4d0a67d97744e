/** The demo kernel on our hypervisor does, command by command, what it did on a real Xen 4.17 host. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { SHUTDOWN } from "../../src/abi/sched.ts";
import type { Domain } from "../../src/hypervisor/domain.ts";
import { type GoldenSection, goldenSections, steady } from "../guests/demo-golden.ts";
import { OneThreadMachine } from "./one-thread-machine.ts";

const kernel = readFileSync(join(import.meta.dirname, "../../src/builder/demo-kernel/demo.elf"));
const sections = goldenSections();
const golden = (title: string): GoldenSection => sections.find((section) => section.title === title)!;

const PROMPT = "demo> ";

let machine: OneThreadMachine;
let domain: Domain;

function start(vcpus = 2): void {
  machine = new OneThreadMachine();
  domain = machine.boot({ kernel, memoryMiB: 32, vcpus });
  expect(machine.runUntil(() => machine.consoleOf(domain).endsWith(PROMPT))).toBe(true);
}

/** Types a line; gives what came on the console until the next prompt, or the end of the domain. */
function typed(line: string, ms = 10_000): string[] {
  const before = machine.consoleOf(domain).length;
  machine.type(domain, `${line}\r`);
  machine.runUntil(() => {
    const text = machine.consoleOf(domain);
    return domain.shutdownReason >= 0 || (text.length > before + line.length && text.endsWith(`\n${PROMPT}`));
  }, ms);
  return lines(machine.consoleOf(domain).slice(before));
}

function lines(text: string): string[] {
  const split = text.replaceAll("\r", "").split("\n");
  while (split.at(-1) === "") split.pop();
  return split;
}

/** What another host, or another name, makes different. */
function ours(line: string): string {
  return steady(line)
    .replace(/^xen {7}.*/, "xen VERSION")
    .replace(/^caps {6}.*/, "caps CAPABILITIES")
    .replace(/^domain {4}D, .*/, "domain NAME")
    .replace(/^name = ".*"/, "name = NAME")
    .replace(/^vm = ".*"/, "vm = VM")
    .replace(/^ tty = ".*"/, " tty = TTY")
    .replace(/\bdomain \d+ port \d+/g, "domain D port P")
    .replace(/at most \d+;/, "at most M;")
    .replace(/, \d+ us in all/, ", T us in all");
}

describe("on one boot", () => {
  beforeAll(() => start());
  afterAll(() => machine.close());

  test("it greets", () => {
    expect(lines(machine.consoleOf(domain)).map(ours)).toEqual(golden("xl create").lines.map(ours));
  });

  const commands = [
    "help",
    "info",
    "uptime",
    "echo hello   world",
    "nonsense",
    "sleep 100",
    "hypercalls",
    "events",
    "pt",
    "mem",
    "cpus",
    "xenstore ls",
    "xenstore ls control",
    "xenstore read nope",
    "xenstore write data/x 5",
    "xenstore ls data",
    "xenstore",
  ];
  test.each(commands)("typed: %s", (command) => {
    expect(typed(command).map(ours)).toEqual(golden(`typed: ${command}`).lines.map(ours));
  });

  test("every refused page-table update has left its explanation", () => {
    const rules = machine.shard.refusals(domain.id).map((refusal) => refusal.rule);
    expect(rules.length).toBeGreaterThanOrEqual(15);
    expect(machine.log).toEqual([]);
  });

  test("at its prompt it costs nothing", () => {
    const before = domain.vcpus[0]!.instructions;
    machine.runUntil(() => false, 20_000);
    expect(domain.vcpus[0]!.instructions - before).toBeLessThan(20_000);
  });
});

describe("ends", () => {
  const reasonOf = (command: string, reason: number, ending: string) =>
    test(`${command}: shutdown reason ${reason}`, () => {
      start(1);
      const shown = typed(command);
      expect(shown.map(ours)).toEqual(golden(`typed: ${command}`).lines.map(ours));
      expect(shown.join("\n")).toContain(ending);
      expect(domain.shutdownReason).toBe(reason);
      expect(machine.messages.filter(({ kind }) => kind === "shutdown")).toMatchObject([{ reason }]);
      machine.shard.destroy(domain.id);
      expect(machine.messages).toContainEqual({ kind: "destroyed", domid: domain.id });
      machine.close();
    });
  reasonOf("halt", SHUTDOWN.poweroff, "Halting.");
  reasonOf("crash", SHUTDOWN.crash, "reason crash");
  reasonOf("crash fault", SHUTDOWN.crash, "no page fault handler");
  reasonOf("suspend", SHUTDOWN.suspend, "only a toolstack can wake me");

  test("reboot: shutdown reason 1", () => {
    start(1);
    expect(typed("reboot")).toEqual(["reboot", "Rebooting."]);
    expect(domain.shutdownReason).toBe(SHUTDOWN.reboot);
    machine.close();
  });

  test("crash fault leaves a report: why, registers, stack", () => {
    start(1);
    typed("crash fault");
    expect(domain.crash?.reason).toBe("no handler for page fault at 0x0, error code 16");
    expect(domain.crash?.registers).toMatchObject({ rip: "0x0", cs: "0xe033", cr2: "0x0" });
    expect(domain.crash?.stack.length).toBeGreaterThan(4);
    machine.close();
  });

  test("crash panic is the kernel's own report of #UD", () => {
    start(1);
    const shown = typed("crash panic");
    const wanted = golden("typed: crash panic").lines;
    expect(shown.slice(0, 4)).toEqual(wanted.slice(0, 4));
    expect(shown.length).toBe(wanted.length);
    expect(domain.shutdownReason).toBe(SHUTDOWN.crash);
    machine.close();
  });

  test("control/shutdown: it does what xenstore asks", () => {
    for (const [how, reason] of [
      ["poweroff", SHUTDOWN.poweroff],
      ["reboot", SHUTDOWN.reboot],
      ["suspend", SHUTDOWN.suspend],
    ] as const) {
      start(1);
      expect(machine.services.setShutdown(domain.id, how)).toBe(true);
      expect(machine.runUntil(() => domain.shutdownReason >= 0)).toBe(true);
      expect(domain.shutdownReason).toBe(reason);
      machine.close();
    }
  });

  test("a suspend that is cancelled goes on where it was", () => {
    start(1);
    machine.services.setShutdown(domain.id, "suspend");
    machine.runUntil(() => domain.shutdownReason >= 0);
    expect(machine.shard.resumeSuspended(domain.id)).toBe(0);
    machine.runUntil(() => machine.consoleOf(domain).endsWith(`still domain 1.\r\n${PROMPT}`));
    expect(lines(machine.consoleOf(domain)).slice(-2).map(steady)).toEqual(
      golden("xl save -c (checkpoint: the suspend is cancelled)")
        .lines.slice(-2)
        .map(steady)
        .map((line) => line.replace("domain 2", "domain 1")),
    );
    expect(typed("echo still here")).toContain("still here");
    machine.close();
  });

  test("a guest in an endless loop is destroyed like any other", () => {
    start(1);
    typed("spin", 50);
    expect(domain.runnable).toBe(true);
    machine.shard.destroy(domain.id);
    expect(machine.shard.domains.size).toBe(0);
    expect(machine.shard.scheduler.runnableCount).toBe(0);
    machine.close();
  });
});

test("the same inputs at the same times give the same run, instruction for instruction", () => {
  const run = () => {
    start(2);
    typed("cpus");
    typed("events");
    const result = [machine.shard.now(), ...domain.vcpus.map((vcpu) => vcpu.instructions), machine.consoleOf(domain)];
    machine.close();
    return result;
  };
  expect(run()).toEqual(run());
});
