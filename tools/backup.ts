/** `npm run backup -- FOLDER` copies the state folder, in use or not; `npm run restore -- FOLDER` makes a state folder of a copy. */

import { readdirSync } from "node:fs";
import { resolve } from "node:path";
import { BackupRefused, backUp, restore } from "../src/store/backup.ts";

const [action, folder] = process.argv.slice(2);
const stateDir = resolve(process.env.DOMZERO_STATE_DIR || "state");
const migrations = readdirSync(resolve(import.meta.dirname, "../migrations"));
const newest = Math.max(...migrations.map((file) => Number(file.slice(0, 4))));

try {
  if (!folder) throw new BackupRefused(`say where: npm run ${action} -- FOLDER`);
  const path = resolve(folder);
  const { files } =
    action === "restore" ? await restore(path, stateDir, newest) : await backUp(stateDir, path, new Date());
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  console.log(`${action === "restore" ? stateDir : path}: ${files.length} files, ${bytes} bytes`);
} catch (error) {
  if (!(error instanceof BackupRefused)) throw error;
  console.error(`domzero: ${error.message}`);
  process.exitCode = 1;
}
