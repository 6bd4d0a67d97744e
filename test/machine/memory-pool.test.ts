import { describe, expect, it } from "vitest";
import { MemoryPool } from "../../src/machine/memory-pool.ts";

const MIB = 1024 * 1024;

function pool(keepBytes: number) {
  let drops = 0;
  const made = new MemoryPool({
    keepBytes,
    scrub: async (memory) => {
      new Uint8Array(memory.buffer).fill(0);
    },
    onDropped: () => {
      drops++;
    },
  });
  return { pool: made, drops: () => drops };
}

describe("the pool of domain memories", () => {
  it("hands a scrubbed memory to the next domain of that size", async () => {
    const { pool: memories } = pool(4 * MIB);
    const first = (await memories.take(MIB))!;
    new Uint8Array(first.buffer).fill(0xa5);
    await memories.give(first);
    const second = (await memories.take(MIB))!;
    expect(second).toBe(first);
    expect(new Uint8Array(second.buffer).every((byte) => byte === 0)).toBe(true);
  });

  it("never hands out a memory of another size", async () => {
    const { pool: memories } = pool(4 * MIB);
    await memories.give((await memories.take(MIB))!);
    expect((await memories.take(2 * MIB))!.buffer.byteLength).toBe(2 * MIB);
    expect(memories.keptBytes).toBe(MIB);
  });

  it("keeps no more than its bound, and says so when it drops", async () => {
    const { pool: memories, drops } = pool(2 * MIB);
    const taken = [(await memories.take(MIB))!, (await memories.take(MIB))!, (await memories.take(MIB))!];
    for (const memory of taken) await memories.give(memory);
    expect(memories.keptBytes).toBe(2 * MIB);
    expect(memories.lentBytes).toBe(0);
    expect(drops()).toBe(1);
  });

  it("drops at once what is larger than the bound", async () => {
    const { pool: memories, drops } = pool(MIB);
    await memories.give((await memories.take(2 * MIB))!);
    expect(memories.keptBytes).toBe(0);
    expect(drops()).toBe(1);
  });

  it("drops a memory whose scrub failed", async () => {
    const memories = new MemoryPool({
      keepBytes: 4 * MIB,
      scrub: () => Promise.reject(new Error("the scrubber died")),
      onDropped: () => {},
    });
    await memories.give((await memories.take(MIB))!);
    expect(memories.keptBytes).toBe(0);
    expect(memories.lentBytes).toBe(0);
  });

  it("waits for a memory that is being scrubbed rather than making another", async () => {
    const gate = Promise.withResolvers<void>();
    const memories = new MemoryPool({ keepBytes: 4 * MIB, scrub: () => gate.promise, onDropped: () => {} });
    const first = (await memories.take(MIB))!;
    const given = memories.give(first);
    const second = memories.take(MIB);
    const third = await memories.take(MIB);
    expect(third).not.toBe(first);
    expect(memories.lentBytes).toBe(2 * MIB);
    gate.resolve();
    await given;
    expect(await second).toBe(first);
    expect([memories.lentBytes, memories.keptBytes]).toEqual([2 * MIB, 0]);
  });

  it("makes a fresh one for whoever waited when the scrub fails", async () => {
    const gate = Promise.withResolvers<void>();
    const memories = new MemoryPool({ keepBytes: 4 * MIB, scrub: () => gate.promise, onDropped: () => {} });
    const first = (await memories.take(MIB))!;
    const given = memories.give(first);
    const second = memories.take(MIB);
    gate.reject(new Error("the scrubber died"));
    await given;
    expect(await second).not.toBe(first);
    expect([memories.lentBytes, memories.keptBytes]).toEqual([MIB, 0]);
  });
});
