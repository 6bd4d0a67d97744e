/** Byte rings shared with a guest: every byte once, in order, and a guest's index is never believed. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ConsumerRing, HOSTILE, ProducerRing, type RingLayout } from "../../src/backends/ring.ts";

const SIZE = 16;
const layout: RingLayout = { data: 8, size: SIZE, consumer: 64, producer: 68 };
const GUARD = 0xee;

/** A page with guard bytes around the ring. */
function page(): { buffer: SharedArrayBuffer; words: Int32Array; bytes: Uint8Array } {
  const buffer = new SharedArrayBuffer(128);
  const bytes = new Uint8Array(buffer).fill(GUARD);
  const words = new Int32Array(buffer);
  words[16] = 0;
  words[17] = 0;
  return { buffer, words, bytes };
}

const guardsHold = (bytes: Uint8Array) =>
  bytes.subarray(0, 8).every((byte) => byte === GUARD) && bytes.subarray(24, 64).every((byte) => byte === GUARD);

const indices = fc.oneof(fc.nat(0xffff_ffff), fc.integer({ min: -40, max: 40 }));

describe("a ring that the guest fills", () => {
  test("gives every byte once, in order, across the wrap of ring and index", () => {
    fc.assert(
      fc.property(
        indices,
        fc.array(fc.record({ put: fc.nat(SIZE), take: fc.nat(SIZE) }), { maxLength: 40 }),
        (from, turns) => {
          const { buffer, words, bytes } = page();
          words.fill(from, 16, 18);
          const ring = new ConsumerRing(buffer, layout);
          let next = 0;
          let expected = 0;
          for (const { put, take } of turns) {
            const room = SIZE - ((words[17] - words[16]) >>> 0);
            for (let i = 0; i < Math.min(put, room); i++) {
              bytes[8 + ((words[17] >>> 0) % SIZE)] = next++ & 0xff;
              words[17]++;
            }
            expect(ring.available()).toBe(next - expected);
            const got = new Uint8Array(Math.min(take, ring.available()));
            ring.read(got);
            for (const byte of got) expect(byte).toBe(expected++ & 0xff);
          }
          expect(guardsHold(bytes)).toBe(true);
        },
      ),
      { seed: 1, numRuns: 300 },
    );
  });

  test("answers HOSTILE, or no more than it holds, whatever the guest writes into both indices", () => {
    fc.assert(
      fc.property(fc.array(fc.record({ consumer: indices, producer: indices }), { maxLength: 20 }), (writes) => {
        const { buffer, words, bytes } = page();
        const ring = new ConsumerRing(buffer, layout);
        for (const { consumer, producer } of writes) {
          words[16] = consumer;
          words[17] = producer;
          const available = ring.available();
          if (available === HOSTILE) continue;
          expect(available).toBeGreaterThanOrEqual(0);
          expect(available).toBeLessThanOrEqual(SIZE);
          ring.read(new Uint8Array(available));
          expect(words[16]).toBe(words[17]);
        }
        expect(guardsHold(bytes)).toBe(true);
      }),
      { seed: 2, numRuns: 300 },
    );
  });

  const rows: [string, number, number, number][] = [
    ["is empty when the indices are equal", 100, 100, 0],
    ["may be full", 0, SIZE, SIZE],
    ["counts across the wrap of the index", -3, 2, 5],
    ["is hostile with one byte more than it holds", 0, SIZE + 1, HOSTILE],
    ["is hostile when the producer falls behind", 10, 9, HOSTILE],
    ["is hostile at the far end of the index", 0, -0x8000_0000, HOSTILE],
  ];
  test.each(rows)("%s", (_, own, guest, expected) => {
    const { buffer, words } = page();
    words[16] = own;
    const ring = new ConsumerRing(buffer, layout);
    words[17] = guest;
    expect(ring.available()).toBe(expected);
  });

  test("goes by its own index, whatever the guest writes over it", () => {
    const { buffer, words, bytes } = page();
    const ring = new ConsumerRing(buffer, layout);
    bytes.set([1, 2, 3, 4], 8);
    words[17] = 4;
    ring.read(new Uint8Array(2));
    words[16] = 77;
    const rest = new Uint8Array(ring.available());
    ring.read(rest);
    expect([...rest]).toEqual([3, 4]);
    expect(words[16]).toBe(4);
  });
});

describe("a ring that the guest empties", () => {
  test("puts every byte once, in order, and never over what was not taken", () => {
    fc.assert(
      fc.property(
        indices,
        fc.array(fc.record({ put: fc.nat(SIZE), take: fc.nat(SIZE) }), { maxLength: 40 }),
        (from, turns) => {
          const { buffer, words, bytes } = page();
          words.fill(from, 16, 18);
          const ring = new ProducerRing(buffer, layout);
          let next = 0;
          let expected = 0;
          for (const { put, take } of turns) {
            const count = Math.min(put, ring.space());
            ring.write(Uint8Array.from({ length: count }, () => next++ & 0xff));
            for (let i = 0; i < take && words[16] !== words[17]; i++) {
              expect(bytes[8 + ((words[16] >>> 0) % SIZE)]).toBe(expected++ & 0xff);
              words[16]++;
            }
            expect(ring.space()).toBe(SIZE - (next - expected));
          }
          expect(guardsHold(bytes)).toBe(true);
        },
      ),
      { seed: 3, numRuns: 300 },
    );
  });

  const rows: [string, number, number, number][] = [
    ["has all its room when the indices are equal", 9, 9, SIZE],
    ["has none when full", SIZE, 0, 0],
    ["is hostile when the guest took what was not there", 5, 6, HOSTILE],
    ["is hostile when more than it holds is untaken", SIZE + 1, 0, HOSTILE],
  ];
  test.each(rows)("%s", (_, own, guest, expected) => {
    const { buffer, words } = page();
    words[17] = own;
    const ring = new ProducerRing(buffer, layout);
    words[16] = guest;
    expect(ring.space()).toBe(expected);
  });
});
