import { expect, test } from "vitest";
import { type DomainRecord, POWER_STATES } from "../../src/toolstack/model.ts";
import { checkTransition, type Operation, TRANSITIONS } from "../../src/toolstack/operations/lifecycle.ts";

const MATRIX: Record<Operation, string> = {
  //                  halted running paused crashed suspended
  start: "            yes    -       -      -       -",
  pause: "            -      yes     -      -       -",
  unpause: "          -      -       yes    -       -",
  shutdown: "         -      yes     -      -       -",
  reboot: "           -      yes     -      -       -",
  suspend: "          -      yes     -      -       -",
  resume: "           -      -       -      -       yes",
  destroy: "          -      yes     yes    yes     yes",
  delete: "           yes    -       -      -       yes",
  "force-delete": "   yes    yes     yes    yes     yes",
  "guest-poweroff": " -      yes     yes    -       -",
  "guest-reboot": "   -      yes     yes    -       -",
  "guest-suspend": "  -      yes     yes    -       -",
  "guest-crash": "    -      yes     yes    -       -",
  "worker-lost": "    -      yes     yes    yes     -",
};

test.each(Object.entries(MATRIX))("%s is possible from %s", (operation, row) => {
  const answers = POWER_STATES.map((state) =>
    checkTransition({ name: "web", state } as DomainRecord, operation as Operation),
  );
  expect(answers.map((answer) => (answer ? "-" : "yes"))).toEqual(row.trim().split(/ +/));
  for (const answer of answers) if (answer) expect(answer.detail).toMatch(/^Domain web is \w+; [a-z-]+ needs it .+\.$/);
});

test("the matrix has every operation", () => {
  expect(Object.keys(MATRIX)).toEqual(Object.keys(TRANSITIONS));
});
