/**
 * Kernels that somebody has altered, built and run: what the builder lays out is validated like any guest's page tables, what runs is a
 * guest like any other, and whichever way it ends, all that is kept of it adds up and goes with it.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fc } from "@fast-check/vitest";
import { afterAll, expect, test } from "vitest";
import { auditDomain } from "./audit-domain.ts";
import { OneThreadMachine } from "./one-thread-machine.ts";

const SEED = Number(process.env.DOMZERO_SEED ?? Date.now() % 2 ** 31);
const RUNS = Number(process.env.BUILDER_FUZZ_RUNS ?? 40);
const kernel = readFileSync(join(import.meta.dirname, "../../src/builder/demo-kernel/demo.elf"));
/** ELF and program headers, and notes; the rest is code and data. */
const HEAD_BYTES = 512;

const machine = new OneThreadMachine();
afterAll(() => machine.close());

test(`they are refused, or run and leave nothing (seed ${SEED})`, () => {
  const byte = fc.oneof(fc.nat(255), fc.constantFrom(0, 0xff, 0x0f, 0x05, 0x90, 0xcc));
  const place = fc.oneof(fc.nat(HEAD_BYTES), fc.nat(kernel.length - 1), fc.nat(kernel.length - 1));
  let ran = 0;
  fc.assert(
    fc.property(fc.array(fc.tuple(place, byte), { minLength: 1, maxLength: 40 }), (changes) => {
      const altered = new Uint8Array(kernel);
      for (const [at, value] of changes) altered[at] = value;
      machine.log.length = 0;
      const before = new Set(machine.shard.domains.keys());
      let domain: ReturnType<typeof machine.boot> | null = null;
      try {
        domain = machine.boot({ kernel: altered, memoryMiB: 4 });
        ran++;
      } catch (error) {
        // The builder says why as JSON; the hypervisor as a number and its refusals.
        expect(String(error)).toMatch(/^Error: (\{"ok":false|setBootContext: -)/);
      }
      if (domain !== null) {
        const { shutdownReason } = domain;
        machine.runUntil(() => domain!.shutdownReason >= 0, 3);
        expect([shutdownReason, auditDomain(domain)]).toEqual([-1, []]);
        machine.services.release(domain.id);
      }
      expect(machine.log.filter((line) => line.includes("defect"))).toEqual([]);
      for (const domid of [...machine.shard.domains.keys()]) if (!before.has(domid)) machine.shard.destroy(domid);
      expect(new Set(machine.shard.domains.keys())).toEqual(before);
    }),
    { seed: SEED, numRuns: RUNS },
  );
  expect(ran).toBeGreaterThan(RUNS / 10);
});
