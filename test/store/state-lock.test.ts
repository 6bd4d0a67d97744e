/** Two services on one state would each believe that they own its domains. The lock must hold, and must never outlive its holder. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { lockState, StateLocked } from "../../src/store/state-lock.ts";

let stateDir: string;
beforeEach(() => {
  stateDir = join(mkdtempSync(join(tmpdir(), "domzero-lock-")), "state");
});
afterEach(() => rmSync(stateDir, { recursive: true, force: true }));

const MODULE = resolve(import.meta.dirname, "../../src/store/state-lock.ts");

async function holder(): Promise<ChildProcess> {
  const code = `import { lockState } from ${JSON.stringify(MODULE)}; lockState(${JSON.stringify(stateDir)}); console.log("held"); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module-typescript", "-e", code], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout as NodeJS.ReadableStream, "data");
  return child;
}

test("makes the folder its owner's alone", () => {
  const lock = lockState(stateDir);
  expect(statSync(stateDir).mode & 0o777).toBe(0o700);
  lock.release();
});

test("a second holder is refused, and hears who has it", async () => {
  const child = await holder();
  expect(() => lockState(stateDir)).toThrow(
    new StateLocked(`the state folder ${stateDir} is in use by process ${child.pid}`),
  );
  child.kill("SIGKILL");
  await once(child, "exit");
});

test("goes with its holder, even one that was killed", async () => {
  const child = await holder();
  child.kill("SIGKILL");
  await once(child, "exit");
  lockState(stateDir).release();
});

test("of many that come at once, one gets it", async () => {
  const children = Array.from({ length: 4 }, () => {
    const code = `import { lockState } from ${JSON.stringify(MODULE)}; try { lockState(${JSON.stringify(stateDir)}); console.log("held"); } catch (error) { console.log(error.message); } setTimeout(() => {}, 3000);`;
    return spawn(process.execPath, ["--input-type=module-typescript", "-e", code], {
      stdio: ["ignore", "pipe", "inherit"],
    });
  });
  const said = await Promise.all(children.map(async (child) => String((await once(child.stdout, "data"))[0])));
  expect(said.filter((line) => line === "held\n")).toHaveLength(1);
  expect(said.filter((line) => line.includes("in use"))).toHaveLength(3);
  for (const child of children) child.kill("SIGKILL");
});
