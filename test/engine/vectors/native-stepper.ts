/** Runs vectors on this machine's processor through tools/stepper. Wire format: the head of tools/stepper/stepper.c. */

import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CODE_VA, FRAMES, FS_BASE, GS_BASE, initialFrames, mappings } from "./layout.ts";
import { MAX_STEPS, type Outcome, type Patch, type Segments, type Vector } from "./vector.ts";

/** Position independent: at a fixed low address the stepper itself would stand in the way of stray operands. */
const FLAGS = ["-O2", "-static-pie", "-fPIE", "-fno-stack-protector", "-mno-avx", "-Wall", "-Wextra"];
const SOURCE = join(import.meta.dirname, "../../../tools/stepper/stepper.c");
const MAGIC = 0x31505453;
const Want = { repeat: 1, fx: 2, segments: 4 } as const;
const Kind = { stepped: 0, fault: 1, unfinished: 2, died: 3 } as const;

/** Path of the built stepper, or null where it cannot be built or run: not x86-64 Linux, or no C compiler. */
export function buildStepper(): string | null {
  if (process.platform !== "linux" || process.arch !== "x64") return null;
  const digest = createHash("sha256").update(readFileSync(SOURCE)).update(FLAGS.join(" ")).digest("hex");
  const name = `stepper-${digest.slice(0, 16)}`;
  const folder = join(tmpdir(), `domzero-stepper-${process.getuid?.() ?? 0}`);
  const path = join(folder, name);
  if (existsSync(path)) return path;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const fresh = `${path}.${process.pid}`;
  try {
    execFileSync("gcc", [...FLAGS, "-o", fresh, SOURCE], { stdio: "pipe" });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
  renameSync(fresh, path);
  return path;
}

/**
 * What the processor did with each vector; null where there is no answer to keep (a repetition longer than MAX_STEPS, or an
 * instruction that took the stepper down).
 */
export function runOnProcessor(stepper: string, vectors: readonly Vector[]): (Outcome | null)[] {
  const outcomes: (Outcome | null)[] = [];
  for (let first = 0; first < vectors.length; first += 20_000) {
    const batch = vectors.slice(first, first + 20_000);
    const { stdout, stderr, status, error } = spawnSync(stepper, { input: encode(batch), maxBuffer: 1 << 30 });
    if (error) throw error;
    if (status !== 0) throw new Error(`the stepper failed with status ${status}: ${stderr.toString().trim()}`);
    // A plain array: a Buffer's slices would be views that keep the whole answer alive.
    decode(new Uint8Array(stdout.buffer, stdout.byteOffset, stdout.byteLength), batch, outcomes);
  }
  return outcomes;
}

function encode(vectors: readonly Vector[]): Uint8Array {
  const sizes = vectors.map((vector) => {
    const patches = vector.patches.reduce((sum, patch) => sum + 3 + patch.bytes.length, 0);
    return 152 + vector.code.length + patches + (vector.fx ? 512 : 0);
  });
  const frames = initialFrames();
  const total = 32 + mappings.length * 16 + frames.length + sizes.reduce((sum, size) => sum + size, 0);
  const out = new Uint8Array(total);
  const view = new DataView(out.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, FRAMES, true);
  view.setUint32(8, mappings.length, true);
  view.setUint32(12, vectors.length, true);
  view.setBigUint64(16, BigInt(FS_BASE), true);
  view.setBigUint64(24, BigInt(GS_BASE), true);
  let at = 32;
  for (const mapping of mappings) {
    view.setBigUint64(at, BigInt(mapping.va), true);
    view.setUint32(at + 8, mapping.frame, true);
    view.setUint32(at + 12, (mapping.writable ? 1 : 0) | (mapping.executable ? 2 : 0), true);
    at += 16;
  }
  out.set(frames, at);
  at += frames.length;
  for (const [index, vector] of vectors.entries()) {
    view.setUint16(at, sizes[index], true);
    out[at + 2] = (vector.repeat ? Want.repeat : 0) | (vector.fx ? Want.fx : 0) | (vector.segments ? Want.segments : 0);
    out[at + 3] = vector.code.length;
    view.setUint16(at + 4, vector.codeVa - CODE_VA, true);
    out[at + 6] = vector.patches.length;
    out[at + 7] = MAX_STEPS;
    view.setBigUint64(at + 8, BigInt(vector.codeVa), true);
    for (let i = 0; i < 16; i++) view.setBigUint64(at + 16 + i * 8, vector.gpr[i], true);
    view.setUint32(at + 144, vector.rflags, true);
    at += 152;
    out.set(vector.code, at);
    at += vector.code.length;
    for (const patch of vector.patches) {
      view.setUint16(at, patch.offset, true);
      out[at + 2] = patch.bytes.length;
      out.set(patch.bytes, at + 3);
      at += 3 + patch.bytes.length;
    }
    if (vector.fx) {
      out.set(vector.fx, at);
      at += 512;
    }
  }
  return out;
}

function decode(bytes: Uint8Array, vectors: readonly Vector[], outcomes: (Outcome | null)[]): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let start = 0;
  for (const vector of vectors) {
    const size = view.getUint16(start, true);
    const kind = bytes[start + 2];
    const end = start + size;
    if (kind === Kind.unfinished || kind === Kind.died) {
      outcomes.push(null);
      start = end;
      continue;
    }
    const gpr = new BigUint64Array(16);
    for (let i = 0; i < 16; i++) gpr[i] = view.getBigUint64(start + 16 + i * 8, true);
    const changes: Patch[] = [];
    let at = start + 160;
    for (let count = view.getUint16(start + 156, true); count > 0; count--) {
      const length = view.getUint16(at + 2, true);
      changes.push({ offset: view.getUint16(at, true), bytes: bytes.slice(at + 4, at + 4 + length) });
      at += 4 + length;
    }
    let segments: Segments | undefined;
    if (vector.segments) {
      segments = {
        ds: view.getUint16(at, true),
        es: view.getUint16(at + 2, true),
        fs: view.getUint16(at + 4, true),
        gs: view.getUint16(at + 6, true),
        fsBase: view.getBigUint64(at + 8, true),
        gsBase: view.getBigUint64(at + 16, true),
      };
      at += 24;
    }
    const fault = {
      vector: bytes[start + 3],
      errorCode: view.getUint32(start + 4, true),
      cr2: view.getBigUint64(start + 8, true),
    };
    outcomes.push({
      fault: kind === Kind.fault ? fault : null,
      gpr,
      rip: view.getBigUint64(start + 144, true),
      rflags: view.getUint32(start + 152, true),
      changes,
      fx: vector.fx ? bytes.slice(at, at + 512) : undefined,
      segments,
    });
    start = end;
  }
}
