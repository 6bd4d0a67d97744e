/** `npm run bench`: every benchmark after the other, each a process of its own. Name some to run only those. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";

const ALL = [
  "engine",
  "page-tables",
  "trace",
  "domains",
  "event-channels",
  "api",
  "events",
  "history",
  "orchestration",
  "many",
  "hostile",
  "linux",
  "idle-linux",
];
const asked = process.argv.slice(2);
for (const name of asked.length > 0 ? asked : ALL) {
  console.log(`\n== ${name}`);
  const { status } = spawnSync(process.execPath, [join(import.meta.dirname, `${name}.ts`)], { stdio: "inherit" });
  if (status !== 0) process.exitCode = 1;
}
