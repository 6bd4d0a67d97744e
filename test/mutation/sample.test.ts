/**
 * The tests are tested, a little of it every time: some mutants of each area, chosen by seed, must each make a test fail. All of them
 * are tried by `node tools/mutate.ts`; `MUTATION_SEED` chooses others here.
 */
import { expect, test } from "vitest";
import { accepted } from "../../tools/mutation/accepted.ts";
import { areas, mutantsOf, sample } from "../../tools/mutation/mutants.ts";
import { runTests } from "../../tools/mutation/run-tests.ts";

/** The day on which it was drawn, before anyone knew whom it would name. */
const SEED = Number(process.env.MUTATION_SEED ?? 20261125);
const OF_EACH = 2;

test.each(areas())(
  "mutants of $name make a test fail",
  async (area) => {
    const all = mutantsOf(area);
    expect(new Set(all.map(({ id }) => id)).size).toBe(all.length);
    const able = all.filter(({ id }) => !accepted.has(id));
    const chosen = sample(able, OF_EACH, SEED);
    expect(chosen.length).toBe(OF_EACH);
    const survived: string[] = [];
    for (const mutant of chosen) {
      const { verdict } = await runTests(mutant, area.tests);
      if (verdict === "passed") survived.push(mutant.id);
    }
    expect(survived, `seed ${SEED}`).toEqual([]);
  },
  240_000,
);

test("what is accepted to survive is there", () => {
  const ids = new Set(areas().flatMap((area) => mutantsOf(area).map(({ id }) => id)));
  expect([...accepted.keys()].filter((id) => !ids.has(id))).toEqual([]);
});
