/** Weights and caps of running domains, on a shard in virtual time: demo kernels that never rest, and what each gets. */
import { readFileSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { RUNSTATE } from "../../src/abi/vcpu.ts";
import type { Domain } from "../../src/hypervisor/domain.ts";
import { OneThreadMachine } from "./one-thread-machine.ts";

const kernel = readFileSync(new URL("../../src/builder/demo-kernel/demo.elf", import.meta.url));
/** Of system time: enough for slices of 1 ms and windows of 30 ms to even out. */
const MS = 600;

let machine: OneThreadMachine;
beforeEach(() => {
  machine = new OneThreadMachine({ nsPerInstruction: 50 });
});
afterEach(() => machine.close());

/** Domains in an endless loop each. */
function spinning(count: number): Domain[] {
  const domains = Array.from({ length: count }, () => machine.boot({ kernel, memoryMiB: 16 }));
  for (const domain of domains) {
    machine.runUntil(() => machine.consoleOf(domain).endsWith("demo> "));
    machine.type(domain, "spin\r");
  }
  machine.runUntil(() => false, 100);
  return domains;
}

/** The share of the shard's time that each gets from now on. */
function shares(domains: readonly Domain[]): number[] {
  const ran = () => domains.map(({ vcpus }) => vcpus[0]!.runstate.time(RUNSTATE.running, machine.shard.now()));
  const before = ran();
  const start = machine.shard.now();
  machine.runUntil(() => false, MS);
  return ran().map((ns, i) => (ns - before[i]!) / (machine.shard.now() - start));
}

const close = (got: readonly number[], wanted: readonly number[]) => {
  for (const [i, share] of wanted.entries())
    expect(Math.abs(got[i]! - share), `${got} is not ${wanted}`).toBeLessThan(0.02);
};

test("shares follow the weights, and changes of them while the domains run", () => {
  const domains = spinning(3);
  const [a, b] = domains;
  close(shares(domains), [1 / 3, 1 / 3, 1 / 3]);
  expect(machine.shard.schedule(a!.id, 512, 0)).toBe(0);
  close(shares(domains), [1 / 2, 1 / 4, 1 / 4]);
  machine.shard.schedule(a!.id, 256, 0);
  machine.shard.schedule(b!.id, 1024, 0);
  close(shares(domains), [1 / 6, 4 / 6, 1 / 6]);
});

test("a cap holds from when it is set, for what was run before it nothing is owed, and it goes when it is taken away", () => {
  const domains = spinning(2);
  const [a] = domains;
  machine.shard.schedule(a!.id, 256, 20);
  close(shares(domains), [0.2, 0.8]);
  machine.shard.schedule(a!.id, 256, 35);
  close(shares(domains), [0.35, 0.65]);
  machine.shard.schedule(a!.id, 256, 0);
  close(shares(domains), [0.5, 0.5]);
  expect(machine.shard.domainInfo(a!.id)).toMatchObject({ weight: 256, cap: 0 });
});

test("a domain that is alone waits for its next window, and others find it as they left it", () => {
  const domains = spinning(1);
  machine.shard.schedule(domains[0]!.id, 1, 10);
  close(shares(domains), [0.1]);
  expect(machine.shard.schedule(99, 256, 0)).toBeLessThan(0);
});
