import { describe, expect, it } from "vitest";
import { MemoryPool, scrub } from "../../src/machine/memory-pool.ts";

const MIB = 1024 * 1024;

function pool(keepBytes: number) {
  const dropped: number[] = [];
  let drops = 0;
  const made = new MemoryPool({
    keepBytes,
    scrub: async (memory) => scrub(memory),
    onDropped: () => {
      drops++;
    },
  });
  return { pool: made, dropped, drops: () => drops };
}

describe("the pool of domain memories", () => {
  it("hands a scrubbed memory to the next domain of that size", async () => {
    const { pool: memories } = pool(4 * MIB);
    const first = memories.take(MIB)!;
    new Uint8Array(first.buffer).fill(0xa5);
    await memories.give(first);
    const second = memories.take(MIB)!;
    expect(second).toBe(first);
    expect(new Uint8Array(second.buffer).every((byte) => byte === 0)).toBe(true);
  });

  it("never hands out a memory of another size", async () => {
    const { pool: memories } = pool(4 * MIB);
    await memories.give(memories.take(MIB)!);
    expect(memories.take(2 * MIB)!.buffer.byteLength).toBe(2 * MIB);
    expect(memories.keptBytes).toBe(MIB);
  });

  it("keeps no more than its bound, and says so when it drops", async () => {
    const { pool: memories, drops } = pool(2 * MIB);
    const taken = [memories.take(MIB)!, memories.take(MIB)!, memories.take(MIB)!];
    for (const memory of taken) await memories.give(memory);
    expect(memories.keptBytes).toBe(2 * MIB);
    expect(memories.lentBytes).toBe(0);
    expect(drops()).toBe(1);
  });

  it("drops at once what is larger than the bound", async () => {
    const { pool: memories, drops } = pool(MIB);
    await memories.give(memories.take(2 * MIB)!);
    expect(memories.keptBytes).toBe(0);
    expect(drops()).toBe(1);
  });

  it("drops a memory whose scrub failed", async () => {
    const memories = new MemoryPool({
      keepBytes: 4 * MIB,
      scrub: () => Promise.reject(new Error("the scrubber died")),
      onDropped: () => {},
    });
    await memories.give(memories.take(MIB)!);
    expect(memories.keptBytes).toBe(0);
    expect(memories.lentBytes).toBe(0);
  });
});

describe("scrubbing", () => {
  const patterns: [string, (bytes: Uint8Array, view: DataView) => void][] = [
    ["one last byte", (bytes) => bytes.fill(1, bytes.length - 1)],
    ["negative zeros", (_, view) => view.setFloat64(8192, -0)],
    ["NaNs", (_, view) => view.setFloat64(65536 - 8, Number.NaN)],
    ["denormals", (bytes) => bytes.fill(1, 4096, 4097)],
  ];
  it.each(patterns)("finds %s", (_name, dirty) => {
    const memory = new WebAssembly.Memory({ initial: 2, maximum: 2, shared: true });
    const bytes = new Uint8Array(memory.buffer);
    dirty(bytes, new DataView(memory.buffer));
    expect(bytes.some((byte) => byte !== 0)).toBe(true);
    scrub(memory);
    expect(bytes.every((byte) => byte === 0)).toBe(true);
  });
});
