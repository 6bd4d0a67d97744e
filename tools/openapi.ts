/** Writes openapi/openapi.json from the routes; with --check it only says whether the committed one is still true. */

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import pino from "pino";
import { buildApp } from "../src/http/app.ts";
import type { Toolstack } from "../src/toolstack/toolstack.ts";

const path = resolve(import.meta.dirname, "../openapi/openapi.json");
const { version } = JSON.parse(readFileSync(resolve(import.meta.dirname, "../package.json"), "utf8"));

// No request is made, so nothing behind the routes is needed.
const app = await buildApp({
  toolstack: { bootEpoch: 0, onCommit() {} } as unknown as Toolstack,
  version,
  log: pino({ level: "silent" }),
  access: { token: "", listen: { host: "127.0.0.1", port: 0 }, trusted: () => false },
  now: () => 0,
});
const text = `${JSON.stringify(app.swagger(), null, 2)}\n`;
await app.close();

if (!process.argv.includes("--check")) writeFileSync(path, text);
else if (!existsSync(path) || readFileSync(path, "utf8") !== text) {
  console.error("openapi/openapi.json is not what the routes say: npm run openapi");
  process.exitCode = 1;
}
