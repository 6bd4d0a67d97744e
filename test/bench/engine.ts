/**
 * Guest instructions a second on five loops (loops/*.c, gcc -O2, integer code), each beside the same code run natively where gcc is.
 * `node test/bench/engine.ts [seconds per loop]`
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Reg } from "../../src/engine/cpu-state.ts";
import { ExitKind } from "../../src/engine/exits.ts";
import { buildInterpreter, interpreterSizes } from "../../src/engine/interpreter.ts";
import { CODE_VA, TinyGuest } from "../engine/tiny-guest.ts";

const loops = ["crc", "sieve", "qsort", "memcpy", "heap"] as const;
const folder = new URL("loops/", import.meta.url).pathname;
/** A slice, as a scheduler gives it. */
const SLICE = 100_000;

interface Run {
  readonly mips: number;
  readonly instructions: number;
  readonly result: bigint;
}

/** Runs `turns` of a loop from a warm start. */
function interpret(guest: TinyGuest, turns: number): Run {
  const { cpu, engine } = guest;
  cpu.setNumber(Reg.rip, CODE_VA);
  cpu.setNumber(Reg.rsp, CODE_VA - 16);
  cpu.setNumber(7, turns);
  const before = engine.stats(0).instructions;
  const started = performance.now();
  let kind: ExitKind;
  do kind = engine.run(0, SLICE);
  while (kind === ExitKind.budget);
  const seconds = (performance.now() - started) / 1000;
  if (kind !== ExitKind.softInt)
    throw new Error(`exit ${kind}, vector ${cpu.exitVector} at ${cpu.va(Reg.rip).toString(16)}; ${guest.log}`);
  const instructions = engine.stats(0).instructions - before;
  return { mips: instructions / seconds / 1e6, instructions, result: cpu.big(Reg.rax) };
}

/** Seconds a turn natively, and the result; undefined without gcc. */
function native(name: string, turns: number): { seconds: number; result: bigint } | undefined {
  const dir = mkdtempSync(join(tmpdir(), "bench-"));
  const main = join(dir, "main.c");
  writeFileSync(
    main,
    `#include <stdio.h>\n#include <stdlib.h>\n#include <time.h>\nunsigned long run(unsigned long);\nint main(int c, char **v) {\n  run(1);\n  struct timespec a, b; clock_gettime(CLOCK_MONOTONIC, &a);\n  unsigned long r = run(strtoul(v[1], 0, 10));\n  clock_gettime(CLOCK_MONOTONIC, &b);\n  printf("%lu %.9f", r, b.tv_sec - a.tv_sec + (b.tv_nsec - a.tv_nsec) / 1e9);\n}\n`,
  );
  try {
    const exe = join(dir, "loop");
    execFileSync(
      "gcc",
      [
        "-O2",
        "-mgeneral-regs-only",
        "-fno-tree-loop-distribute-patterns",
        "-c",
        join(folder, `${name}.c`),
        "-o",
        join(dir, "loop.o"),
      ],
      { stdio: "pipe" },
    );
    execFileSync("gcc", ["-O2", main, join(dir, "loop.o"), "-o", exe], { stdio: "pipe" });
    const [result, seconds] = execFileSync(exe, [String(turns)])
      .toString()
      .split(" ") as [string, string];
    return { seconds: Number(seconds), result: BigInt(result) };
  } catch {
    return undefined;
  }
}

function main(): void {
  const budget = Number(process.argv[2] ?? 1);
  let started = performance.now();
  const bytes = buildInterpreter();
  const generated = performance.now() - started;
  started = performance.now();
  new WebAssembly.Module(bytes);
  const compiled = performance.now() - started;
  const sizes = interpreterSizes();
  const loopBytes = sizes.functions.find((f) => f.name === "run")?.bytes ?? 0;
  console.log(
    `module ${sizes.module} bytes: loop ${loopBytes} bytes with ${sizes.hot} shapes and ${sizes.fused} pairs, ${sizes.cold} shapes of their own; generated in ${generated.toFixed(0)} ms, compiled in ${compiled.toFixed(0)} ms`,
  );
  console.log("loop      MIPS   first 100 ms   native MIPS   ratio");
  for (const name of loops) {
    const guest = new TinyGuest(2048);
    guest.write(CODE_VA, readFileSync(join(folder, `${name}.bin`)));
    const cold = interpret(guest, 1);
    // Warm up, then as many turns as fill the time.
    let turns = 1;
    let run = cold;
    while (run.instructions / run.mips / 1e6 < budget) {
      turns *= 2;
      run = interpret(guest, turns);
    }
    const there = native(name, turns);
    if (there !== undefined && there.result !== run.result)
      throw new Error(`${name}: ${run.result}, natively ${there.result}`);
    const nativeMips = there === undefined ? Number.NaN : run.instructions / there.seconds / 1e6;
    console.log(
      `${name.padEnd(8)} ${run.mips.toFixed(0).padStart(5)} ${cold.mips.toFixed(0).padStart(12)} ${nativeMips.toFixed(0).padStart(13)} ${(nativeMips / run.mips).toFixed(1).padStart(9)}`,
    );
  }
}

main();
