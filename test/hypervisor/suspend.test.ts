/** A suspended domain's state in a new domain of the same shard: as it was, and made into something that no guest ever was. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fc } from "@fast-check/vitest";
import { afterAll, beforeAll, expect, test } from "vitest";
import { VcpuGuestContext } from "../../src/abi/arch-x86-64.ts";
import { PageType } from "../../src/hypervisor/mm/frame-table.ts";
import type { SavedDomain } from "../../src/hypervisor/suspend/saved-domain.ts";
import { auditDomain } from "./audit-domain.ts";
import { OneThreadMachine } from "./one-thread-machine.ts";

const SEED = Number(process.env.SUSPEND_FUZZ_SEED ?? Date.now() % 2 ** 31);
const RUNS = Number(process.env.SUSPEND_FUZZ_RUNS ?? 60);
const PAGE = 4096;

const kernel = readFileSync(join(import.meta.dirname, "../../src/builder/demo-kernel/demo.elf"));
let machine: OneThreadMachine;
let saved: SavedDomain;
/** RAM of the suspended domain, and which of its frames were page tables. */
let ram: Uint8Array;
let tables: number[];
let memory: WebAssembly.Memory;
let map: Parameters<OneThreadMachine["shard"]["createDomain"]>[0]["map"];
let domid = 100;

beforeAll(() => {
  machine = new OneThreadMachine();
  const domain = machine.boot({ kernel, memoryMiB: 16, vcpus: 2 });
  machine.runUntil(() => machine.consoleOf(domain).endsWith("demo> "));
  machine.services.setShutdown(domain.id, "suspend");
  expect(machine.runUntil(() => domain.shutdownReason >= 0)).toBe(true);
  const state = machine.shard.saveDomain(domain.id);
  if (typeof state === "number") throw new Error(`saveDomain: ${state}`);
  saved = state;
  map = domain.memory.map;
  ram = new Uint8Array(domain.memory.buffer, map.ramOffset, map.ownFrames * PAGE).slice();
  const { frames } = domain.memory;
  const isTable = (index: number) => frames.type(index) >= PageType.l1 && frames.type(index) <= PageType.segDesc;
  tables = [...Array(map.ownFrames).keys()].filter((index) => frames.typeCount(index) > 0 && isTable(index));
  memory = new WebAssembly.Memory({ initial: map.wasmPages, maximum: map.wasmPages, shared: true });
});
afterAll(() => machine.close());

/** Restores into a new domain, lets it run for a moment, and takes it down. What was answered, and what was wrong with the host after. */
function tried(state: SavedDomain, content: Uint8Array): { answer: unknown; wrong: string[] } {
  const { shard } = machine;
  const id = domid++;
  new Uint8Array(memory.buffer).fill(0);
  new Uint8Array(memory.buffer, map.ramOffset).set(content);
  machine.log.length = 0;
  const created = shard.createDomain({ domid: id, uuid: new Uint8Array(16), memory, map });
  if (typeof created === "number") throw new Error(`createDomain: ${created}`);
  const ports = { storePort: shard.allocUnbound(id, 0), consolePort: shard.allocUnbound(id, 0) };
  const answer = shard.restoreDomain(id, state, ports);
  const domain = shard.domains.get(id)!;
  const wrong = auditDomain(domain);
  if (typeof answer !== "string") {
    shard.unpause(id);
    shard.run(shard.now() + 300_000);
    wrong.push(...auditDomain(domain));
  }
  wrong.push(...machine.log.filter((line) => line.includes("defect")));
  shard.destroy(id);
  if (shard.domains.has(id)) wrong.push("the domain cannot be destroyed");
  return { answer, wrong };
}

test("it goes on in a new domain, and has what it had", () => {
  const { answer, wrong } = tried(saved, ram);
  expect(answer).toMatchObject({ storeMfn: expect.any(Number), consoleMfn: expect.any(Number), pages: 4096 });
  expect(wrong).toEqual([]);
});

test("a state of another shape of memory is refused", () => {
  for (const other of [
    { pages: 1 },
    { mapMaxPages: 1 },
    { vcpus: [] },
    { frames: new Uint8Array(1) },
    { maxPages: 1e9 },
  ]) {
    expect(tried({ ...saved, ...other }, ram).answer).toEqual(expect.any(String));
  }
});

test(`whatever is in it, it is taken by the rules or refused, and the host stands (seed ${SEED})`, () => {
  const word = fc.oneof(fc.nat(0xffff_ffff), fc.constantFrom(0, 0x67, 0x1_0000, 0xe033, 0xe02b, 0xffff_ffff));
  const change = fc.record({
    what: fc.constantFrom("table", "ram", "frame", "m2p", "context", "context", "info", "start", "assists", "times"),
    at: fc.nat(0x7fff_ffff),
    value: word,
    vcpu: fc.nat(1),
  });
  const entries = (index: number, value: number) =>
    0x67 | ((map.baseMfn + (index % (map.totalFrames + 4))) << 12) | (value & 0xf98);
  let taken = 0;
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
      const content = ram.slice();
      const view = new DataView(content.buffer);
      const vcpus = saved.vcpus.map((vcpu) => ({ ...vcpu, context: vcpu.context.slice(), info: vcpu.info.slice() }));
      const state = { ...saved, vcpus, frames: saved.frames.slice(), m2p: saved.m2p.slice() };
      for (const { what, at, value, vcpu } of changes) {
        const frame = at % map.ownFrames;
        if (what === "table") {
          // An entry of a page table or a descriptor: one that names a frame, or anything.
          const place = tables[at % tables.length]! * PAGE + ((at >>> 8) % 512) * 8;
          view.setUint32(place, value % 2 === 0 ? entries(at, value) : value, true);
          view.setUint32(place + 4, value % 3 === 0 ? value : 0, true);
        } else if (what === "ram") view.setUint32((at % (content.length / 4)) * 4, value, true);
        else if (what === "frame") state.frames[value % 2 === 0 ? tables[at % tables.length]! : frame] = value >>> 3;
        else if (what === "m2p") state.m2p[frame * 2 + (value & 1)] = value;
        else if (what === "info") vcpus[vcpu]!.info[at % 64] = value;
        else if (what === "start")
          state.startInfoMfn = value % 2 === 0 ? map.baseMfn + (at % (map.totalFrames + 4)) : value;
        else if (what === "assists") state.assists = [2, 5, 32, value];
        else if (what === "times") state.systemTime = at * value;
        else {
          const place = at % (VcpuGuestContext.size / 4 - 1);
          new DataView(vcpus[vcpu]!.context.buffer).setUint32(place * 4, value, true);
          vcpus[vcpu]!.initialised = true;
        }
      }
      const { answer, wrong } = tried(state, content);
      if (typeof answer !== "string") taken++;
      expect(wrong).toEqual([]);
    }),
    { seed: SEED, numRuns: RUNS },
  );
  expect(taken).toBeGreaterThan(0);
});
