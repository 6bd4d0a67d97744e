/**
 * Whatever a guest does with its page tables, in whatever order: after each operation the frame table says exactly what the page
 * tables, pins, roots and GDTs add up to, no frame is writable and a table at once, and destroying brings everything back to zero.
 */
import fc from "fast-check";
import { expect, test } from "vitest";
import { applyMmuUpdate } from "../../../src/hypervisor/hypercall/mmu-update.ts";
import { exchangeFrames, giveFrame, takeFrames } from "../../../src/hypervisor/mm/reservation.ts";
import { audit, type Hold } from "./audit.ts";
import { P, RW, USER, World } from "./world.ts";

const PAGES = 14;
// Frames beyond the reservation, of the heap and of others are asked for too.
const frame = fc.integer({ min: 0, max: PAGES + 1 });
const slot = fc.oneof(
  { weight: 6, arbitrary: fc.nat(7) },
  { weight: 1, arbitrary: fc.constantFrom(255, 256, 271, 300, 511) },
);
const flags = fc.constantFrom(
  0,
  P,
  P | USER,
  P | RW,
  P | RW | USER,
  P | RW | USER,
  P | USER | 0x60,
  P | 0x80,
  P | 0x10,
  RW,
);

type Operation =
  | ["update", number, number, number, number, boolean]
  | ["store", number, number, number, number]
  | ["pin", number, number]
  | ["unpin", number]
  | ["root", number, number, boolean]
  | ["gdt", number, number]
  | ["take", number]
  | ["give", number]
  | ["exchange", number, number]
  | ["hold", number, boolean]
  | ["release"]
  | ["touch", number]
  | ["unmap", number];

const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 16,
    arbitrary: fc.tuple(
      fc.constant("update" as const),
      fc.integer({ min: 1, max: 9 }),
      slot,
      frame,
      flags,
      fc.boolean(),
    ),
  },
  { weight: 8, arbitrary: fc.tuple(fc.constant("store" as const), frame, slot, frame, flags) },
  { weight: 6, arbitrary: fc.tuple(fc.constant("pin" as const), frame, fc.integer({ min: 1, max: 4 })) },
  { weight: 3, arbitrary: fc.tuple(fc.constant("unpin" as const), frame) },
  { weight: 3, arbitrary: fc.tuple(fc.constant("root" as const), fc.nat(1), frame, fc.boolean()) },
  { weight: 2, arbitrary: fc.tuple(fc.constant("gdt" as const), fc.nat(1), frame) },
  { weight: 1, arbitrary: fc.tuple(fc.constant("take" as const), fc.nat(1)) },
  { weight: 1, arbitrary: fc.tuple(fc.constant("give" as const), frame) },
  { weight: 1, arbitrary: fc.tuple(fc.constant("exchange" as const), frame, frame) },
  { weight: 1, arbitrary: fc.tuple(fc.constant("hold" as const), frame, fc.boolean()) },
  { weight: 1, arbitrary: fc.tuple(fc.constant("release" as const)) },
  { weight: 8, arbitrary: fc.tuple(fc.constant("touch" as const), frame) },
  { weight: 6, arbitrary: fc.tuple(fc.constant("unmap" as const), frame) },
);

function apply(world: World, holds: Hold[], [name, ...args]: Operation): void {
  const { memory, base } = world;
  const [a = 0, b = 0, c = 0, d = 0, e] = args as [number, number, number, number, boolean];
  switch (name) {
    case "update": {
      const entry = (base + c) * 4096 + d;
      applyMmuUpdate(memory, 0, ((base + a) * 4096 + b * 8) | (e ? 2 : 0), 0, entry | 0, 0);
      break;
    }
    // A guest's own store: only where it may write, which a frame in use as anything else never is.
    case "store":
      if (a < memory.map.pages && memory.frames.owned(a) && memory.getPageAndType(base + a, 7) === 0) {
        world.write(a, b, c, d);
        memory.putPageAndType(base + a);
      }
      break;
    case "pin":
      memory.tables.pin(base + a, b);
      break;
    case "unpin":
      memory.tables.unpin(base + a);
      break;
    case "root":
      if (c as unknown as boolean) memory.vcpuTables.setKernelRoot(a, base + b);
      else memory.vcpuTables.setUserRoot(a, b === 0 ? 0 : base + b);
      break;
    case "gdt":
      memory.vcpuTables.setGdt(a, [base + b], 512);
      break;
    case "take":
      takeFrames(memory, a);
      break;
    case "give":
      giveFrame(memory, base + a);
      break;
    case "exchange":
      exchangeFrames(memory, [base + a, base + b], 1, 1);
      break;
    case "hold":
      if (b ? memory.getPageAndType(base + a, 7) === 0 : memory.getPage(base + a)) holds.push({ index: a, typed: !!b });
      break;
    case "release": {
      const hold = holds.pop();
      if (hold?.typed) memory.putPageAndType(base + hold.index);
      else if (hold) memory.putPage(base + hold.index);
      break;
    }
    case "unmap":
      applyMmuUpdate(memory, 0, (base + 4) * 4096 + a * 8, 0, 0, 0);
      break;
    // The guest writes through its own mapping, if there is one: the TLB remembers it.
    case "touch":
      if (world.caches.vcpus[0]!.cr3Kernel !== 0) world.caches.translate(0, a * 4096, "write");
      break;
  }
  memory.types.settle();
}

/** Small budgets: every validation stops and goes on somewhere. */
function applyInSteps(world: World, holds: Hold[], op: Operation, budget: number): void {
  world.memory.types.budget = budget;
  apply(world, holds, op);
  world.memory.types.budget = Number.POSITIVE_INFINITY;
  world.memory.types.settle();
}

test.each([
  ["without preemption", Number.POSITIVE_INFINITY],
  ["with a budget of 700 entries", 700],
])("counts always add up, %s", (_name, budget) => {
  fc.assert(
    fc.property(fc.array(operation, { minLength: 1, maxLength: 150, size: "max" }), (operations) => {
      const world = new World({ pages: PAGES, maxPages: PAGES + 8 });
      // Frames from 8 on are not mapped: they may become anything.
      world.boot([1, 2, 3, 4], 8);
      const holds: Hold[] = [];
      for (const op of operations) {
        applyInSteps(world, holds, op, budget);
        expect(audit(world.memory, world.engine, holds)).toEqual([]);
      }
      for (const hold of holds) {
        if (hold.typed) world.memory.putPageAndType(world.base + hold.index);
        else world.memory.putPage(world.base + hold.index);
      }
      expect(world.memory.relinquish()).toBe(0);
      expect(world.memory.frames.typeInfo.every((info) => info === 0)).toBe(true);
      expect(audit(world.memory, null)).toEqual([]);
    }),
    { numRuns: 80, seed: Number(process.env.DOMZERO_SEED ?? 4217) },
  );
});
