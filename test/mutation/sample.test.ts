/**
 * The tests are tested, a little of it every time: some mutants of each area, chosen by seed, must each make a test fail. All of them
 * are tried by `node tools/mutate.ts`; `MUTATION_SEED` chooses others here.
 */
import { expect, test } from "vitest";
import { accepted } from "../../tools/mutation/accepted.ts";
import { areas, mutantsOf, sample } from "../../tools/mutation/mutants.ts";
import { tryMutant } from "../../tools/mutation/run-mutant.ts";

/** Which ones: by seed, for each area that is sampled here. The others are for the tool alone. */
const SEEDS: Readonly<Record<string, number>> = { mm: 202, "event-channel": 101, ops: 3 };
const OF_EACH = 2;
/** When a test that never ends has noticed. */
const LIMIT_SECONDS = 100;

test.each(areas().filter(({ name }) => name in SEEDS))(
  "mutants of $name make a test fail",
  async (area) => {
    const seed = Number(process.env.MUTATION_SEED ?? SEEDS[area.name]);
    const all = mutantsOf(area);
    expect(new Set(all.map(({ id }) => id)).size).toBe(all.length);
    const able = all.filter(({ id }) => !accepted.has(id));
    const chosen = sample(able, OF_EACH, seed);
    expect(chosen.length).toBe(OF_EACH);
    const survived: string[] = [];
    for (const mutant of chosen) {
      const { verdict } = await tryMutant(mutant, area.tests, LIMIT_SECONDS);
      if (verdict === "survived") survived.push(mutant.id);
    }
    expect(survived, `seed ${seed}`).toEqual([]);
  },
  240_000,
);

test("what is accepted to survive is there", () => {
  const ids = new Set(areas().flatMap((area) => mutantsOf(area).map(({ id }) => id)));
  expect([...accepted.keys()].filter((id) => !ids.has(id))).toEqual([]);
});
