/** Frames beyond 2 GiB: byte offsets there do not fit a signed 32-bit number. */
import { expect, test } from "vitest";
import { applyMmuUpdate } from "../../../src/hypervisor/hypercall/mmu-update.ts";
import { realEngine } from "./real-engine.ts";
import { P, RW, USER, World } from "./world.ts";

test("a frame of 3 GiB is mapped, written, read and pinned like any other", () => {
  const world = new World({ pages: 786_432, makeCaches: realEngine() });
  const { memory } = world;
  const far = 780_000;
  world.boot();
  expect(
    applyMmuUpdate(memory, 0, world.mfn(4) * 4096 + 9 * 8, 0, (world.mfn(far) * 4096 + (P | RW | USER)) | 0, 0),
  ).toBe(0);
  expect(memory.hostOffset(world.mfn(far))).toBeGreaterThan(2 ** 31);
  const bytes = Uint8Array.from({ length: 200 }, (_, i) => i);
  expect(memory.copyToGuest(0, 9 * 4096 + 100, bytes)).toBe(true);
  expect(world.read(far, 13)).toBe(0x0b0a_0908_0706_0504n);
  const back = new Uint8Array(200);
  expect(memory.copyFromGuest(0, 9 * 4096 + 100, back)).toBe(true);
  expect(back).toEqual(bytes);
  expect(memory.copyFromGuest(0, 9 * 4096 + 100, back.subarray(0, 32))).toBe(true);

  // A table up there, mapped by an L2.
  const table = far + 1;
  world.write(table, 3, 5, P | USER);
  expect(memory.tables.pin(world.mfn(table), 1)).toBe(0);
  expect(applyMmuUpdate(memory, 0, world.mfn(3) * 4096 + 8, 0, (world.mfn(table) * 4096 + P) | 0, 0)).toBe(0);
  world.raw(5, 0, 0x1234_5678_9abcn);
  expect(memory.readU64(0, 0x20_0000 + 3 * 4096)).toBe(0x1234_5678_9abc);
  expect(memory.m2p.get(far)).toBe(far);
  expect(memory.relinquish()).toBe(0);
});
