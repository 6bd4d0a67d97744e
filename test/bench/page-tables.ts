/**
 * Page-table work a second, over the engine's own translations and without guest code: single and batched mmu_update, and whole
 * tables pinned. `node test/bench/page-tables.ts`. Reference: Debian's kernel makes 46,600 mmu_update requests and 4,800 pins of L1
 * tables while it boots.
 */
import { HypercallArgs } from "../../src/hypervisor/hypercall/arguments.ts";
import { HypercallCounters } from "../../src/hypervisor/hypercall/counters.ts";
import { mmuUpdate } from "../../src/hypervisor/hypercall/mmu-update.ts";
import type { HypercallContext, HypercallRow } from "../../src/hypervisor/hypercall/table.ts";
import { updateVaMapping } from "../../src/hypervisor/hypercall/update-va-mapping.ts";
import { realEngine } from "../hypervisor/mm/real-engine.ts";
import { P, RW, USER, World } from "../hypervisor/mm/world.ts";

const BOOT = { requests: 46_600, pins: 4_800 };
const REQUESTS = 20;
const TABLE = 21;
const BATCH = 256;

const world = new World({ pages: 1024, makeCaches: realEngine() });
world.boot([1, 2, 3, 4, TABLE]);
const { memory } = world;
const context = {
  shard: { exists: () => false },
  domain: { id: 7, vcpuCount: 2, memory, counters: new HypercallCounters() },
  vcpu: { id: 0 },
} as unknown as HypercallContext;
const args = new HypercallArgs();

function call(row: HypercallRow, ...values: number[]): void {
  for (let i = 0; i < values.length; i++) args.setNumber(i, values[i]!);
  const result = row.run(context, args);
  if (result !== 0) throw new Error(`${row.name}: ${String(result)} ${memory.refusals.last?.text}`);
}

/** Writes request `i`: L1 slot 64 + i is to map pfn 600 + i with these flags. */
function request(i: number, flags: number): void {
  const word = memory.types.wordOf(REQUESTS, i * 2);
  memory.words[word] = world.mfn(4) * 4096 + (64 + i) * 8;
  memory.words[word + 1] = 0;
  memory.words[word + 2] = flags === 0 ? 0 : world.mfn(600 + i) * 4096 + flags;
  memory.words[word + 3] = 0;
}

/** Runs `once` for half a second when it is warm; `each` things are done a time. */
function rate(name: string, each: number, once: (turn: number) => void, needed: number): void {
  let turn = 0;
  const run = (ms: number): number => {
    const start = performance.now();
    const first = turn;
    while (performance.now() - start < ms) for (let i = 0; i < 20; i++) once(turn++);
    return ((turn - first) * each) / ((performance.now() - start) / 1000);
  };
  run(200);
  const perSecond = run(500);
  const boot = ((needed / perSecond) * 1000).toFixed(1);
  console.log(`${name.padEnd(46)} ${(perSecond / 1e6).toFixed(2).padStart(7)} M/s   Linux's boot: ${boot} ms`);
}

const mapped = P | RW | USER;

function one(flags: number): void {
  request(0, flags);
  call(mmuUpdate, REQUESTS * 4096, 1, 0, 0x7ff0);
}

rate("mmu_update, one a call, flags only", 1, (turn) => one(turn & 1 ? P : P | 0x40), BOOT.requests);
rate("mmu_update, one a call, map and unmap", 1, (turn) => one(turn & 1 ? mapped : 0), BOOT.requests);
rate(
  `mmu_update, ${BATCH} a call, map and unmap`,
  BATCH,
  (turn) => {
    if ((turn & 1) === 0) for (let i = 0; i < BATCH; i++) request(i, (turn & 2) === 0 ? 0 : mapped);
    call(mmuUpdate, REQUESTS * 4096, BATCH, 0, 0x7ff0);
  },
  BOOT.requests,
);
rate(
  "update_va_mapping, map and unmap",
  1,
  (turn) => call(updateVaMapping, 400 * 4096, turn & 1 ? world.mfn(700) * 4096 + mapped : 0, 0),
  355,
);
for (let slot = 0; slot < 512; slot++) world.write(TABLE, slot, 600 + (slot % 400), slot < 256 ? P | USER : mapped);
rate(
  "pin and unpin of an L1 table of 512 entries",
  1,
  () => {
    const rc = memory.tables.pin(world.mfn(TABLE), 1);
    if (rc !== 0) throw new Error(`pin: ${rc} ${memory.refusals.last?.text}`);
    memory.tables.unpin(world.mfn(TABLE));
    memory.types.settle();
  },
  BOOT.pins,
);
