/**
 * Holds the engine against a native run: the same registers, x87 and SSE state at every system call, the same memory at the end.
 *
 * At a difference both sides are run again to the last equal system call and single-stepped from there: the first instruction that
 * leaves another state is what is reported.
 */

import { Reg } from "../../../src/engine/cpu-state.ts";
import { disassemble } from "../vectors/describe.ts";
import { type Entry, type NativeState, type Program, record } from "./recording.ts";
import { UserProcess } from "./user-process.ts";

export interface Verdict {
  /** In words, or null when all was equal. */
  readonly difference: string | null;
  readonly calls: number;
  /** Executed by the engine. */
  readonly instructions: number;
  /** How the native run ended. */
  readonly end: string;
}

const NAMES = "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15".split(" ");
const R11 = 11;
/** CF PF AF ZF SF DF OF. */
const FLAGS = 0x8d5 | 0x400;
/** No system call of a test takes longer to come. */
const CALL_TIMEOUT_MS = 20_000;
/** States kept of one single-stepped stretch. */
const WINDOW = 4096;

const hex = (value: bigint | number) => value.toString(16);

/** What differs, in words: nothing when the states are equal. Flags are compared under `flagMask`. */
function differences(process: UserProcess, native: NativeState, flagMask: number, atCall: boolean): string[] {
  const { cpu } = process;
  const found: string[] = [];
  for (let i = 0; i < 16; i++) {
    const mask = i === R11 && atCall ? BigInt(flagMask) : 0xffff_ffff_ffff_ffffn;
    const [mine, its] = [cpu.big(i) & mask, native.gpr[i]! & mask];
    if (mine !== its) found.push(`${NAMES[i]} is ${hex(mine)}, natively ${hex(its)}`);
  }
  if (cpu.big(Reg.rip) !== native.rip) found.push(`rip is ${hex(cpu.big(Reg.rip))}, natively ${hex(native.rip)}`);
  if (!atCall && ((cpu.rflags ^ native.rflags) & flagMask) !== 0)
    found.push(`rflags is ${hex(cpu.rflags & flagMask)}, natively ${hex(native.rflags & flagMask)}`);
  const fx = new Uint8Array(512);
  cpu.getFxImage(fx);
  const part = (name: string, at: number, bytes: number) => {
    const [mine, its] = [fx, native.fx].map((image) => Buffer.from(image.subarray(at, at + bytes)).reverse());
    if (!mine!.equals(its!)) found.push(`${name} is ${mine!.toString("hex")}, natively ${its!.toString("hex")}`);
  };
  part("fcw", 0, 2);
  part("fsw", 2, 2);
  part("ftw", 4, 1);
  part("mxcsr", 24, 4);
  for (let i = 0; i < 8; i++) part(`st${i}`, 32 + i * 16, 10);
  for (let i = 0; i < 16; i++) part(`xmm${i}`, 160 + i * 16, 16);
  return found;
}

function apply(process: UserProcess, entry: Entry): void {
  if (entry.kind === "map") process.setRegions(entry.regions);
  else if (entry.kind === "fresh") process.clear(entry.va, entry.bytes);
  else if (entry.kind === "bytes") process.write(entry.va, entry.content);
}

/** Replays a recording up to its end, its first STEP, or the first difference. */
export function replay(process: UserProcess, recording: readonly Entry[]): Verdict {
  let calls = 0;
  let started = false;
  let end = "";
  const verdict = (difference: string | null): Verdict => ({
    difference,
    calls,
    instructions: process.engine.stats(0).instructions,
    end,
  });
  for (const entry of recording) {
    if (entry.kind === "step") break;
    if (entry.kind === "end") end = entry.text;
    else if (entry.kind === "leave") {
      if (started) process.loadIntegers(entry.state);
      else process.load(entry.state);
      if (started) calls++;
      started = true;
    } else if (entry.kind === "enter") {
      const stop = process.runToCall(CALL_TIMEOUT_MS);
      const found = differences(process, entry.state, FLAGS, true);
      if (stop !== null) found.unshift(stop);
      if (found.length > 0)
        return verdict(`at system call ${calls + 1} (number ${entry.state.gpr[0]}): ${found.join("; ")}`);
    } else if (entry.kind === "expect") {
      const mine = process.read(entry.va, entry.content.length);
      const at = entry.content.findIndex((byte, i) => mine[i] !== byte);
      if (at >= 0)
        return verdict(`memory at ${hex(entry.va + at)} is ${hex(mine[at]!)}, natively ${hex(entry.content[at]!)}`);
    } else apply(process, entry);
  }
  return verdict(null);
}

/** Runs a program on both sides. */
export function compare(recorder: string, program: Program): Verdict {
  const verdict = replay(new UserProcess(), record(recorder, program));
  if (verdict.difference === null) return verdict;
  const first = firstDifference(recorder, program, verdict.calls);
  return { ...verdict, difference: `${program.words.join(" ")}\n${verdict.difference}\n${first}` };
}

/** Where the two sides part behind the `call`-th system call: the instruction, and the states behind it. */
function firstDifference(recorder: string, program: Program, call: number): string {
  const coarse = stepAlong(recorder, program, { call, skip: 0, count: 100_000, stride: WINDOW });
  if (coarse.at === null) return `step by step there is no difference in ${coarse.steps} instructions`;
  if (coarse.at === 0) return coarse.report;
  const skip = Math.max(0, (Math.ceil(coarse.at / WINDOW) - 1) * WINDOW);
  const fine = stepAlong(recorder, program, { call, skip, count: WINDOW + 1, stride: 1 });
  return fine.at === null ? `the runs part ${coarse.at} instructions behind it, but not each time` : fine.report;
}

interface Walk {
  /** Number of instructions behind which the states differ. */
  readonly at: number | null;
  readonly steps: number;
  readonly report: string;
}

function stepAlong(
  recorder: string,
  program: Program,
  request: { call: number; skip: number; count: number; stride: number },
): Walk {
  const recording = record(recorder, program, request);
  if (recording === null) return { at: 0, steps: 0, report: "single-stepping takes too long" };
  const process = new UserProcess();
  const { difference } = replay(process, recording);
  if (difference !== null) return { at: 0, steps: 0, report: `another run parted before: ${difference}` };
  const trail: { rip: number; code: Uint8Array }[] = [];
  let steps = 0;
  for (const entry of recording) {
    if (entry.kind !== "step") continue;
    let stop: string | null = null;
    while (steps < entry.number && stop === null) {
      const rip = process.cpu.va(Reg.rip);
      if (request.stride === 1) {
        trail.push({ rip, code: process.read(rip, 15).slice() });
        if (trail.length > 12) trail.shift();
      }
      stop = process.step();
      steps++;
    }
    // An instruction may leave flags undefined; one that matters shows in a register soon.
    const found = differences(process, entry.state, 0, false);
    if (stop !== null) found.unshift(stop);
    if (found.length > 0) {
      const listing = trail.map(({ rip, code }) => `${hex(rip)}  ${disassemble(code, rip).split("; ")[0]}`);
      const report = `${entry.number} instructions behind system call ${request.call}:\n  ${found.join("\n  ")}\nafter\n  ${listing.join("\n  ")}`;
      return { at: entry.number, steps, report };
    }
  }
  return { at: null, steps, report: "" };
}
