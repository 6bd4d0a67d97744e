/** Runs dependency-cruiser over src, and fails when it looked at fewer modules than there are files. */

import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { resolve } from "node:path";

const root = resolve(import.meta.dirname, "..");
const files = readdirSync(resolve(root, "src"), { recursive: true, encoding: "utf8" });
const wanted = files.filter((file) => file.endsWith(".ts")).length;
const cruise = ["src", "--config", ".dependency-cruiser.mjs", "--output-type", "json"];
const { stdout, stderr } = spawnSync("depcruise", cruise, { cwd: root, encoding: "utf8", maxBuffer: 2 ** 28 });

interface Violation {
  readonly from: string;
  readonly to: string;
  readonly rule: { readonly name: string };
}
interface Cruised {
  readonly modules: readonly { readonly source: string }[];
  readonly summary: { readonly violations: readonly Violation[] };
}

if (!stdout) {
  console.error(stderr);
  process.exit(1);
}
const { modules, summary } = JSON.parse(stdout) as Cruised;
const seen = modules.filter(({ source }) => source.startsWith("src/")).length;
for (const { rule, from, to } of summary.violations) console.error(`${rule.name}: ${from} imports ${to}`);
console.log(`import rules: ${seen} of ${wanted} modules looked at, ${summary.violations.length} violations`);
if (wanted === 0 || seen < wanted || summary.violations.length > 0) process.exit(1);
