/** The committed demo kernel is what its source says, bit for bit, wherever the compiler that made it is at hand. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { inspectKernel } from "../../src/builder/build.ts";

const folder = join(import.meta.dirname, "../../src/builder/demo-kernel");
const committed = readFileSync(join(folder, "demo.elf"));
const needed = readFileSync(join(folder, "compiler.txt"), "utf8");

/** First lines of `gcc --version` and `ld --version`, as compiler.txt has them; empty without these tools. */
function compilerHere(): string {
  try {
    return ["gcc", "ld"]
      .map((tool) => `${execFileSync(tool, ["--version"], { encoding: "utf8" }).split("\n")[0]}\n`)
      .join("");
  } catch {
    return "";
  }
}

test("the demo kernel is under 64 KiB", () => {
  expect(committed.length).toBeLessThan(64 << 10);
});

test("the builder finds in it a 64-bit PV kernel that names itself and its hypercall page", () => {
  const inspection = inspectKernel(committed);
  expect(inspection).toMatchObject({
    ok: true,
    kernel: {
      guestOs: "domzero-demo",
      virtBase: "0xffffffff80000000",
      entry: "0xffffffff80000000",
      hasHypercallPage: true,
    },
  });
});

test("its source builds to the committed bytes", (context) => {
  const here = compilerHere();
  if (here !== needed) {
    const need = `needs ${needed.trim().replace("\n", " and ")}; here is ${here.trim().replace("\n", " and ") || "neither"}`;
    if (process.env.CI) expect.fail(need);
    context.skip(need);
  }
  const scratch = mkdtempSync(join(tmpdir(), "demo-kernel-"));
  try {
    const rebuilt = join(scratch, "demo.elf");
    execFileSync(join(folder, "build.sh"), [rebuilt], { stdio: ["ignore", "ignore", "pipe"] });
    expect(readFileSync(rebuilt).equals(committed), "run src/builder/demo-kernel/build.sh and commit demo.elf").toBe(
      true,
    );
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
});
