/** Real programs: the engine and this machine's processor hold the same registers at every system call, the same memory at the end. */

import { describe, expect, it } from "vitest";
import { compare, replay } from "./lockstep.ts";
import { busyboxList, cProgramList } from "./programs.ts";
import { buildRecorder, record } from "./recording.ts";
import { UserProcess } from "./user-process.ts";

const recorder = buildRecorder();
const programs = recorder === null ? [] : [...cProgramList(false), ...busyboxList(false)];

describe.skipIf(recorder === null)("a program runs natively and on the engine alike", () => {
  it.each(programs)("$name", ({ program }) => {
    const { difference, end } = compare(recorder!, program);
    expect(difference ?? "").toBe("");
    expect(end).toMatch(/^exit status/);
  });

  it("and a bit that differs is noticed, in a register as in memory", () => {
    const { program } = cProgramList(false)[0]!;
    const recording = record(recorder!, program);
    expect(replay(new UserProcess(), recording).difference).toBeNull();
    const calls = recording.flatMap((entry) => (entry.kind === "enter" ? [entry] : []));
    const call = calls[calls.length >> 1]!;
    call.state.gpr[3]! ^= 1n << 40n;
    expect(replay(new UserProcess(), recording).difference).toContain("rbx is");
    call.state.gpr[3]! ^= 1n << 40n;
    const pages = recording.flatMap((entry) => (entry.kind === "expect" ? [entry] : []));
    const page = pages[pages.length >> 1]!;
    page.content[123]! ^= 4;
    expect(replay(new UserProcess(), recording).difference).toContain(`memory at ${(page.va + 123).toString(16)}`);
  });
});
