/** A vector and where two outcomes differ, for people. */

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bytesText, type Difference, flagsText, hex64, memoryBefore } from "./compare.ts";
import { Fx } from "./fx-image.ts";
import { GPR_NAMES, type Vector } from "./vector.ts";

/** Disassembly by objdump, or nothing where it is absent. */
export function disassemble(code: Uint8Array, va: number): string {
  const folder = mkdtempSync(join(tmpdir(), "domzero-disassemble-"));
  try {
    writeFileSync(join(folder, "code"), code);
    const args = [
      "-D",
      "-b",
      "binary",
      "-m",
      "i386:x86-64",
      "-M",
      "intel",
      `--adjust-vma=${va}`,
      "--no-show-raw-insn",
      join(folder, "code"),
    ];
    const { stdout, status } = spawnSync("objdump", args, { encoding: "utf8" });
    if (status !== 0) return "";
    const lines = stdout
      .split("\n")
      .flatMap((line) => /^\s*[0-9a-f]+:\s+(.*)$/.exec(line)?.[1].trim().replace(/\s+/g, " ") ?? []);
    return lines.join("; ");
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export function describeFailure(
  vector: Vector,
  differences: readonly Difference[],
  log: readonly string[] = [],
): string {
  const lines = [
    `${vector.row}`,
    `  ${bytesText(vector.code)}  at ${vector.codeVa.toString(16)}   ${disassemble(vector.code, vector.codeVa)}`,
    `  before: rflags ${flagsText(vector.rflags)}`,
  ];
  for (let i = 0; i < 16; i += 4) {
    lines.push(
      `    ${[0, 1, 2, 3].map((j) => `${GPR_NAMES[i + j].padEnd(3)} ${hex64(vector.gpr[i + j])}`).join("  ")}`,
    );
  }
  for (const { offset, bytes } of vector.patches) {
    const shown = Uint8Array.from(bytes, (_, i) => memoryBefore(vector)(offset + i));
    lines.push(`    frame ${offset >> 12}+${(offset & 0xfff).toString(16).padStart(3, "0")}: ${bytesText(shown)}`);
  }
  if (vector.fx) {
    const { fx } = vector;
    lines.push(
      `    fcw ${bytesText(fx, 0, 2)} fsw ${bytesText(fx, 2, 4)} ftw ${bytesText(fx, 4, 5)} mxcsr ${bytesText(fx, Fx.mxcsr, 28)} (bytes)`,
    );
    const st = Array.from({ length: 8 }, (_, i) => `st${i} ${bytesText(fx, Fx.st + i * 16, Fx.st + i * 16 + 10)}`);
    lines.push(`    ${st.slice(0, 4).join("  ")}`, `    ${st.slice(4).join("  ")}`);
    const xmm = Array.from({ length: 16 }, (_, i) => `xmm${i} ${bytesText(fx, Fx.xmm + i * 16, Fx.xmm + i * 16 + 16)}`);
    for (let i = 0; i < 16; i += 4) lines.push(`    ${xmm.slice(i, i + 4).join("  ")}`);
  }
  for (const { what, expected, got } of differences) lines.push(`  ${what}: expected ${expected}, got ${got}`);
  for (const message of log) lines.push(`  engine: ${message}`);
  return lines.join("\n");
}
