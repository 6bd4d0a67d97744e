/** Writes docs/metrics.md from the metrics that there are; with --check it only says whether the committed one is still true. */

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { Metrics } from "../src/http/metrics.ts";
import type { Toolstack } from "../src/toolstack/toolstack.ts";

const path = resolve(import.meta.dirname, "../docs/metrics.md");

const rows = new Metrics({} as Toolstack, false).families
  .toSorted((a, b) => (a.name < b.name ? -1 : 1))
  .map(({ name, type, labels, help }) => `| \`${name}\` | ${type} | ${labels.join(", ")} | ${help} |`);

const text = `# Metrics

\`GET /metrics\`, for Prometheus. Made by \`npm run metrics\`.

| metric | kind | labels | |
|---|---|---|---|
${rows.join("\n")}

Besides these there are Node's own: \`process_*\` (processor time, memory, file descriptors) and \`nodejs_*\`, whose
\`nodejs_eventloop_lag_*\` count in the 10 ms that they are taken at.

A domain has series while it lives. They are counted from its start: after a reboot or a resume they begin anew, as \`rate()\` expects.
Hypercalls and exits that were never made have no series.
`;

if (!process.argv.includes("--check")) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
} else if (!existsSync(path) || readFileSync(path, "utf8") !== text) {
  console.error("docs/metrics.md is not what the service gives: npm run metrics");
  process.exitCode = 1;
}
