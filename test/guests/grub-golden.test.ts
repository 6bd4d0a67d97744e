/** GRUB's PV image here beside the same image on a real Xen 4.17 host: every word on its console, and every call that sets it up. */

import { readFileSync } from "node:fs";
import { afterEach, describe, expect, test, vi } from "vitest";
import { SHUTDOWN } from "../../src/abi/sched.ts";
import type { Domain } from "../../src/hypervisor/domain.ts";
import { OneThreadMachine } from "../hypervisor/one-thread-machine.ts";
import { grubSections, PROMPT, recordedCalls, setUpCalls, steady } from "./grub-golden.ts";
import { grubImage } from "./grub-image.ts";

/** As recorded. */
const MEMORY_MIB = 64;

let machine: OneThreadMachine;
let domain: Domain;
afterEach(() => machine?.close());

function start(kernel: string, ...time: ConstructorParameters<typeof OneThreadMachine>): void {
  machine = new OneThreadMachine(...time);
  domain = machine.boot({ kernel: readFileSync(kernel), memoryMiB: MEMORY_MIB });
}

const shown = () => steady(machine.consoleOf(domain));
const atPrompt = () => shown().endsWith(PROMPT);

test("its console shows what it showed there, command by command", (context) => {
  // Slow enough that `sleep 2` is no long wait for the test.
  start(grubImage(context), { nsPerInstruction: 50 });
  const [greeting, ...answers] = grubSections();
  expect(machine.runUntil(atPrompt)).toBe(true);
  expect(shown()).toBe(greeting + PROMPT);
  for (const answer of answers) {
    const line = answer.split("\n", 1)[0];
    const before = shown().length;
    machine.type(domain, `${line}\r`);
    machine.runUntil(() => domain.shutdownReason >= 0 || (shown().length > before + line.length && atPrompt()));
    const wanted = domain.shutdownReason >= 0 ? answer : answer + PROMPT;
    expect(shown().slice(before).trimEnd(), line).toBe(wanted.trimEnd());
  }
  expect(domain.shutdownReason).toBe(SHUTDOWN.poweroff);
  expect(machine.log).toEqual([]);
});

test("it sets itself up by the calls that it made there, in that order", (context) => {
  start(grubImage(context));
  machine.shard.setTrace(domain.id, true);
  // All of it comes before the first message to xenstore.
  machine.runUntil(() => machine.messages.length > 0);
  const made = machine.shard
    .trace(domain.id)!
    .trace.filter(({ inMulticall }) => !inMulticall)
    .map(({ name, args }) => ({ name: name.split(".", 1)[0], args: Object.values(args).map(Number) }));
  const recorded = setUpCalls(recordedCalls());
  expect(recorded).toHaveLength(48);
  expect(setUpCalls(made)).toEqual(recorded);
});

describe("what is not there", () => {
  test("disks: it asks xenstore for them and goes on as soon as that has answered", (context) => {
    start(grubImage(context));
    machine.runUntil(() => machine.messages.length > 0);
    const asked = machine.shard.now();
    expect(machine.runUntil(() => machine.consoleOf(domain).length > 0)).toBe(true);
    expect((machine.shard.now() - asked) / 1e6).toBeLessThan(200);
  });

  test("xenstore itself: it waits for ever, yields, says nothing, and goes on when xenstore comes", (context) => {
    start(grubImage(context), { nsPerInstruction: 200 });
    const xenstore = vi.spyOn(machine.services, "guestEvent").mockImplementation(() => undefined);
    const run = (until: number) => machine.shard.run(until);
    while (machine.messages.length === 0) run(machine.shard.now() + 1e9);
    const later = machine.shard.now() + 20e9;
    while (machine.shard.now() < later) run(later);
    expect(machine.consoleOf(domain)).toBe("");
    const yields = machine.shard
      .hypercallCounters(domain.id)
      .find(({ name }) => name === "sched_op")
      ?.subops.find(({ name }) => name === "yield")?.count;
    expect(yields).toBeGreaterThan(100_000);
    expect(domain.shutdownReason).toBe(-1);
    const [[domid, port]] = xenstore.mock.calls;
    xenstore.mockRestore();
    machine.services.guestEvent(domid, port);
    expect(machine.runUntil(atPrompt, 3600e3)).toBe(true);
  });
});
