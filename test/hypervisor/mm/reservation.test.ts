import { describe, expect, test } from "vitest";
import { giveFrame, takeFrames } from "../../../src/hypervisor/mm/reservation.ts";
import { audit } from "./audit.ts";
import { World } from "./world.ts";

describe("the reservation", () => {
  test("hands out every spare frame once, then no more", () => {
    const world = new World({ pages: 16, maxPages: 64 });
    const taken = new Set(Array.from({ length: 48 }, () => takeFrames(world.memory, 0)));
    expect(taken.size).toBe(48);
    expect(taken.has(-1)).toBe(false);
    expect(takeFrames(world.memory, 0)).toBe(-1);
    expect(world.memory.refusals.last?.rule).toBe("reservation");
    expect(audit(world.memory, world.engine)).toEqual([]);
  });

  test("hands out aligned runs, and finds those that come back", () => {
    const world = new World({ pages: 16, maxPages: 1040 });
    const first = takeFrames(world.memory, 9);
    expect(first % 512).toBe(0);
    expect(takeFrames(world.memory, 9)).toBe(first + 512);
    expect(takeFrames(world.memory, 9)).toBe(-1);
    for (let i = 0; i < 512; i++) expect(giveFrame(world.memory, first + i)).toBe(true);
    expect(takeFrames(world.memory, 9)).toBe(first);
    expect(audit(world.memory, world.engine)).toEqual([]);
  });

  test("gives the same frames again and again without growing", () => {
    const world = new World({ pages: 16, maxPages: 32 });
    for (let i = 0; i < 1000; i++) {
      const mfn = takeFrames(world.memory, i % 4);
      for (let j = 0; j < 1 << (i % 4); j++) expect(giveFrame(world.memory, mfn + j)).toBe(true);
    }
    expect(world.memory.frames.ownPages).toBe(16);
    expect(audit(world.memory, world.engine)).toEqual([]);
  });

  test("a frame comes back scrubbed", () => {
    const world = new World({ pages: 16, maxPages: 32 });
    const mfn = takeFrames(world.memory, 0);
    world.raw(mfn - world.base, 5, 0x1234n);
    giveFrame(world.memory, mfn);
    expect(takeFrames(world.memory, 0)).toBe(mfn);
    expect(world.read(mfn - world.base, 5)).toBe(0n);
  });
});
