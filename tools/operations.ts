/** Writes docs/operations.md: every operation with its steps, what they do and what takes them back. */

import { writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { crashPoints, OPERATIONS, STEPS } from "../src/toolstack/operations/operation-table.ts";

export function operationsDocument(): string {
  const operations = Object.entries(OPERATIONS).map(
    ([name, { steps, commit }]) =>
      `| \`${name}\` | ${steps.map((step) => (step === commit ? `**${step}**` : step)).join(", ")} | ${commit === "taken" ? "when it is taken" : commit} |`,
  );
  const steps = Object.entries(STEPS).map(([name, row]) => {
    const { effect = "", record = "", undo = "" }: { effect?: string; record?: string; undo?: string } = row;
    return `| ${name} | ${effect} | ${record} | ${undo} |`;
  });
  return `# Operations and their steps

Made by \`node tools/operations.ts\` from \`src/toolstack/operations/operation-table.ts\`.

A task runs its steps in order. A step is journalled as begun before its effect, and as done in the transaction of its record. When a
step refuses, or the task is cancelled, every step that was begun is undone, last first. When the process dies, the next one does the
same for a task that had not passed its commit step, which has then \`failed\` with \`host-restarted\`; one that had passed it is run on to
its end, from \`build\` on where it had begun to make an instance. Guests die with their process: what a task had running is lost, and an event \`host-crashed\` says so.

| operation | steps | commits at |
|---|---|---|
${operations.join("\n")}

| step | effect | in the database | undone |
|---|---|---|---|
${steps.join("\n")}

A process can die at ${crashPoints().length} points between these: before and after each effect, and after each journal row. A test kills it
there.
`;
}

if (import.meta.main) writeFileSync(resolve(import.meta.dirname, "../docs/operations.md"), operationsDocument());
