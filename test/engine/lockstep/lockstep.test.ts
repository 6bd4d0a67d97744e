/** Real programs: the engine and this machine's processor hold the same registers at every system call, the same memory at the end. */

import { describe, expect, it } from "vitest";
import { compare } from "./lockstep.ts";
import { busyboxList, cProgramList } from "./programs.ts";
import { buildRecorder } from "./recording.ts";

const recorder = buildRecorder();
const programs = recorder === null ? [] : [...cProgramList(false), ...busyboxList(false)];

describe.skipIf(recorder === null)("a program runs natively and on the engine alike", () => {
  it.each(programs)("$name", ({ program }) => {
    const { difference, end } = compare(recorder!, program);
    expect(difference ?? "").toBe("");
    expect(end).toMatch(/^exit status/);
  });
});
