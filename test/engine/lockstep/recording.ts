/** A native run of a program, as tools/stepper/recorder.c writes it down: its wire format is at the head of that file. */

import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cpuid } from "../../../src/hypervisor/traps/cpuid.ts";

/** A program to run: its words, the first an absolute path; `input` is a file for standard input. */
export interface Program {
  readonly words: readonly string[];
  /** Working folder. */
  readonly folder: string;
  readonly input?: string;
}

/** State of the processor at a moment of the native run. */
export interface NativeState {
  /** In the processor's encoding order. At the entry of a system call rax is its number. */
  readonly gpr: BigUint64Array;
  readonly rip: bigint;
  readonly rflags: number;
  readonly fsBase: bigint;
  readonly gsBase: bigint;
  /** 512 bytes, as FXSAVE writes them. */
  readonly fx: Uint8Array;
}

export interface Region {
  readonly start: number;
  readonly end: number;
  readonly writable: boolean;
  readonly executable: boolean;
  /** Mapped with no access at all. */
  readonly hidden: boolean;
  /** Grows downwards by itself. */
  readonly stack: boolean;
}

export type Entry =
  | { readonly kind: "map"; readonly regions: readonly Region[] }
  | { readonly kind: "fresh"; readonly va: number; readonly bytes: number }
  | { readonly kind: "bytes" | "expect"; readonly va: number; readonly content: Uint8Array }
  | { readonly kind: "enter" | "leave"; readonly state: NativeState }
  | { readonly kind: "step"; readonly number: number; readonly state: NativeState }
  | { readonly kind: "end"; readonly text: string };

/** Single-stepping from behind the `call`-th system call on: states number skip, skip + stride... at most count of them. */
export interface TraceRequest {
  readonly call: number;
  readonly skip: number;
  readonly count: number;
  readonly stride: number;
}

const SOURCE = join(import.meta.dirname, "../../../tools/stepper/recorder.c");
const FLAGS = ["-O2", "-static", "-Wall", "-Wextra"];
const CANNOT_FAULT_CPUID = 3;
/** A native run that takes longer hangs, or single-steps too far. */
const TIMEOUT_MS = 30_000;

/** Position of each register in the kernel's user_regs_struct (64-bit words), in encoding order. */
const GPR_AT = [10, 11, 12, 5, 19, 4, 13, 14, 9, 8, 7, 6, 3, 2, 1, 0];
const [ORIG_RAX, RIP, EFLAGS, FS_BASE, GS_BASE] = [15, 16, 18, 21, 22];
const REGS_BYTES = 27 * 8;
const REGION_BYTES = 24;

/** Folder for what the lockstep tests build: only its owner may write to it. */
export function workFolder(): string {
  const folder = join(tmpdir(), `domzero-lockstep-${process.getuid?.() ?? 0}`);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  return folder;
}

/** Compiles a C source once; null where there is no compiler for x86-64 Linux. */
export function compileC(source: string, flags: readonly string[]): string | null {
  if (process.platform !== "linux" || process.arch !== "x64") return null;
  const digest = createHash("sha256").update(readFileSync(source)).update(flags.join(" ")).digest("hex");
  const path = join(workFolder(), `c-${digest.slice(0, 16)}`);
  if (existsSync(path)) return path;
  const fresh = `${path}.${process.pid}`;
  try {
    execFileSync("gcc", [source, "-o", fresh, ...flags], { stdio: "pipe" });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
  renameSync(fresh, path);
  return path;
}

/** Path of the built recorder, or null where it cannot be built. */
export function buildRecorder(): string | null {
  return compileC(SOURCE, FLAGS);
}

/** The answers a guest of the hypervisor gets: an x86-64-v1 processor. */
export function cpuidAnswer(leaf: number, subleaf: number): readonly number[] {
  return cpuid(1, 40, leaf, subleaf);
}
function cpuidAnswers(): string {
  const leaves = [0, 1, 2, 3, 4, 5, 6, 7, ...Array.from({ length: 9 }, (_, i) => 0x8000_0000 + i)];
  return leaves
    .map((leaf) => [leaf, ...cpuidAnswer(leaf, 0)].map((word) => (word >>> 0).toString(16)).join(":"))
    .join(",");
}

/** Addresses of instructions that the native run must not execute as they stand, in hexadecimal with commas, or "-". */
interface Special {
  readonly cpuid: string;
  readonly tzcnt: string;
}
const specials = new Map<string, Special>();

/** Found by objdump, once a program. */
function specialInstructions(program: string): Special {
  const known = specials.get(program);
  if (known) return known;
  const listing = execFileSync("objdump", ["-d", "--no-show-raw-insn", program], { maxBuffer: 1 << 30 }).toString();
  const found = { cpuid: [] as string[], tzcnt: [] as string[] };
  for (const [, address, name] of listing.matchAll(/^\s*([0-9a-f]+):\s+(cpuid|tzcnt)/gm))
    found[name as keyof typeof found].push(address);
  const special = { cpuid: found.cpuid.join(",") || "-", tzcnt: found.tzcnt.join(",") || "-" };
  specials.set(program, special);
  return special;
}

let cannotFault = process.env.LOCKSTEP_CUT !== undefined;

/** Runs a program natively and reads what was recorded; null when a trace takes too long. */
export function record(recorder: string, program: Program): Entry[];
export function record(recorder: string, program: Program, trace: TraceRequest): Entry[] | null;
export function record(recorder: string, program: Program, trace?: TraceRequest): Entry[] | null {
  const file = join(workFolder(), `recording-${process.pid}`);
  const words = trace ? ["trace", ...[trace.call, trace.skip, trace.count, trace.stride].map(String)] : [];
  const run = () => {
    const special = specialInstructions(program.words[0]);
    const cut = cannotFault ? special.cpuid : "-";
    const input = program.input === undefined ? ("ignore" as const) : openSync(program.input, "r");
    const done = spawnSync(recorder, [file, cpuidAnswers(), cut, special.tzcnt, ...words, "--", ...program.words], {
      cwd: program.folder,
      stdio: [input, "ignore", "pipe"],
      timeout: TIMEOUT_MS,
    });
    if (typeof input === "number") closeSync(input);
    return done;
  };
  let done = run();
  if (done.status === CANNOT_FAULT_CPUID && !cannotFault) {
    cannotFault = true;
    done = run();
  }
  if (done.error) {
    rmSync(file, { force: true });
    if (trace && (done.error as NodeJS.ErrnoException).code === "ETIMEDOUT") return null;
    throw done.error;
  }
  if (done.status !== 0) throw new Error(`the recorder failed with status ${done.status}: ${done.stderr}`);
  const recording = readFileSync(file);
  rmSync(file);
  return [...entries(recording)];
}

const kinds = [null, "map", "fresh", "bytes", "enter", "leave", "expect", "step", "end"] as const;

function* entries(file: Buffer): Generator<Entry> {
  const number = (at: number) => Number(file.readBigUInt64LE(at));
  for (let at = 0; at < file.length; ) {
    const kind = kinds[file.readUInt32LE(at)];
    const start = at + 8;
    const end = start + file.readUInt32LE(at + 4);
    at = end;
    switch (kind) {
      case "map": {
        const regions: Region[] = [];
        for (let i = start; i < end; i += REGION_BYTES) {
          const access = file.readUInt32LE(i + 16);
          regions.push({
            start: number(i),
            end: number(i + 8),
            writable: (access & 2) !== 0,
            executable: (access & 4) !== 0,
            hidden: access === 0,
            stack: file.readUInt32LE(i + 20) !== 0,
          });
        }
        yield { kind, regions };
        break;
      }
      case "fresh":
        yield { kind, va: number(start), bytes: number(start + 8) };
        break;
      case "bytes":
      case "expect":
        yield { kind, va: number(start), content: file.subarray(start + 8, end) };
        break;
      case "enter":
      case "leave":
        yield { kind, state: stateAt(file, start, kind === "enter") };
        break;
      case "step":
        yield { kind, number: number(start), state: stateAt(file, start + 8, false) };
        break;
      case "end":
        yield { kind, text: file.toString("latin1", start, end) };
        break;
      default:
        throw new Error("the recording is damaged");
    }
  }
}

function stateAt(file: Buffer, at: number, atEntry: boolean): NativeState {
  const word = (index: number) => file.readBigUInt64LE(at + index * 8);
  const gpr = BigUint64Array.from(GPR_AT, word);
  if (atEntry) gpr[0] = word(ORIG_RAX);
  return {
    gpr,
    rip: word(RIP),
    rflags: Number(word(EFLAGS)),
    fsBase: word(FS_BASE),
    gsBase: word(GS_BASE),
    fx: file.subarray(at + REGS_BYTES, at + REGS_BYTES + 512),
  };
}
