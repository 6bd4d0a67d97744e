import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { each, get, namesAfter, type SortedMap, set, without } from "../../src/xenstore/sorted-map.ts";

const entries = (map: SortedMap<number>) => {
  const all: [string, number][] = [];
  each(map, (key, value) => all.push([key, value]));
  return all;
};

/** Checks order and balance of the whole tree; its height. */
function check(map: SortedMap<number>): number {
  if (map === undefined) return 0;
  const [left, right] = [check(map.left), check(map.right)];
  expect(Math.abs(left - right)).toBeLessThanOrEqual(1);
  expect(map.height).toBe(1 + Math.max(left, right));
  return map.height;
}

describe("a sorted map", () => {
  const keys = fc.stringMatching(/^[a-d]{1,3}$/);
  const changes = fc.array(fc.record({ key: keys, value: fc.option(fc.nat(9)) }), { maxLength: 120 });

  test("holds what a Map holds, sorted and balanced, and old versions stay as they were", () => {
    fc.assert(
      fc.property(changes, (sequence) => {
        const model = new Map<string, number>();
        let map: SortedMap<number>;
        const versions: [SortedMap<number>, [string, number][]][] = [];
        for (const { key, value } of sequence) {
          if (value === null) {
            const known = model.delete(key);
            const next = without(map, key);
            if (!known) expect(next).toBe(map);
            map = next;
          } else {
            model.set(key, value);
            map = set(map, key, value);
          }
          expect(get(map, key)).toBe(model.get(key));
          check(map);
          versions.push([map, [...model].sort(([a], [b]) => (a < b ? -1 : 1))]);
        }
        for (const [version, expected] of versions) expect(entries(version)).toEqual(expected);
      }),
      { seed: 7, numRuns: 150 },
    );
  });

  test("gives its keys in pages, in order", () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(keys),
        fc.oneof(keys, fc.constant("")),
        fc.integer({ min: 1, max: 5 }),
        (all, after, limit) => {
          let map: SortedMap<number>;
          for (const key of all) map = set(map, key, 0);
          const above = all.toSorted().filter((key) => key > after);
          expect(namesAfter(map, after, limit)).toEqual(above.slice(0, limit));
        },
      ),
    );
  });
});
