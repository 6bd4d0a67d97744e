/**
 * The tests are tested, a little of it every time: some mutants of each area, chosen by seed, must each make a test fail. All of them
 * are tried by `node tools/mutate.ts`; `MUTATION_SEED` chooses others here.
 */
import { expect, test } from "vitest";
import { accepted } from "../../tools/mutation/accepted.ts";
import { areas, mutantsOf, sample } from "../../tools/mutation/mutants.ts";
import { tryMutant } from "../../tools/mutation/run-mutant.ts";

const SEED = Number(process.env.MUTATION_SEED ?? 20_261_125);
const OF_EACH = 4;
/** When a test that never ends has noticed. */
const LIMIT_SECONDS = 100;

test.each(areas())(
  `every mutant of $name makes a test fail (seed ${SEED})`,
  async (area) => {
    const all = mutantsOf(area);
    const ids = new Set(all.map(({ id }) => id));
    expect(ids.size).toBe(all.length);
    const chosen = sample(
      all.filter(({ id }) => !accepted.has(id)),
      OF_EACH,
      SEED,
    );
    expect(chosen.length).toBe(OF_EACH);
    const survived: string[] = [];
    for (const mutant of chosen) {
      const { verdict } = await tryMutant(mutant, area.tests, LIMIT_SECONDS);
      if (verdict === "survived") survived.push(mutant.id);
    }
    expect(survived).toEqual([]);
  },
  240_000,
);

test("what is accepted to survive is there", () => {
  const ids = new Set(areas().flatMap((area) => mutantsOf(area).map(({ id }) => id)));
  expect([...accepted.keys()].filter((id) => !ids.has(id))).toEqual([]);
});
