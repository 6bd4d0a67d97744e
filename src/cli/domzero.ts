/** The command `domzero`: what it can be asked for, as a table. `backup` and `restore` need no service, and harm none that works. */

import { readdirSync } from "node:fs";
import { resolve } from "node:path";
import { backUp } from "../store/backup/back-up.ts";
import { BackupRefused, type Manifest, type OnProgress } from "../store/backup/backup-folder.ts";
import { restore } from "../store/backup/restore.ts";
import { StateLocked } from "../store/state-lock.ts";

interface Command {
  /** What follows its name. */
  readonly takes: readonly string[];
  readonly help: string;
  readonly run: (...given: string[]) => Promise<void>;
}

class Usage extends Error {}

const HOME = resolve(import.meta.dirname, "../..");
const stateDir = resolve(process.env.DOMZERO_STATE_DIR || "state");

const COMMANDS: Readonly<Record<string, Command>> = {
  serve: {
    takes: [],
    help: "start the service, as `npm start` does",
    run: async () => {
      await import("../main.ts");
    },
  },
  backup: {
    takes: ["FOLDER"],
    help: "make FOLDER: a consistent copy of the state folder, whether a service works on it or not",
    run: async (folder) => {
      const target = resolve(folder);
      const { manifest, withoutHistory } = await backUp({
        stateDir,
        target,
        newest: newestSchema(),
        now: new Date(),
        onProgress,
      });
      if (withoutHistory !== undefined)
        console.error(`domzero: the history of figures is damaged and left out: ${withoutHistory}`);
      console.log(`${target}: ${sum(manifest)}`);
    },
  },
  restore: {
    takes: ["FOLDER"],
    help: "make the state folder of the backup in FOLDER; there must be none yet",
    run: async (folder) => {
      const manifest = await restore({ source: resolve(folder), stateDir, newest: newestSchema(), onProgress });
      console.log(`${stateDir}: ${sum(manifest)}, as of ${manifest.createdAt}`);
    },
  },
};

function usage(): string {
  const lines = Object.entries(COMMANDS).map(
    ([name, { takes, help }]) => `  domzero ${[name, ...takes].join(" ").padEnd(16)} ${help}`,
  );
  return `usage:\n${lines.join("\n")}\n\nThe state folder is DOMZERO_STATE_DIR, or \`state\` in the current folder: ${stateDir}`;
}

function newestSchema(): number {
  return Math.max(...readdirSync(resolve(HOME, "migrations")).map((file) => Number(file.slice(0, 4))));
}

function sum({ files }: Manifest): string {
  return `${files.length} files, ${files.reduce((bytes, file) => bytes + file.bytes, 0)} bytes`;
}

/** For people: a line that is written over. */
const onProgress: OnProgress | undefined = process.stderr.isTTY
  ? (doing, bytes, ofBytes) => {
      const over = bytes >= ofBytes;
      const [part, whole] = [bytes, ofBytes].map((count) => (count / 2 ** 20).toFixed(1));
      process.stderr.write(over ? "\r\u001b[K" : `\r\u001b[K${doing} ${part} of ${whole} MiB`);
    }
  : undefined;

async function main([name, ...given]: readonly string[]): Promise<void> {
  if (name === undefined || ["help", "--help", "-h"].includes(name)) return console.log(usage());
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (!command) throw new Usage(`there is no command ${name}`);
  if (given.length !== command.takes.length)
    throw new Usage(`say where: domzero ${[name, ...command.takes].join(" ")}`);
  await command.run(...given);
}

/** Of what the system refuses: no such folder, no permission, no space. */
function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && "syscall" in error;
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  if (
    !(error instanceof Usage || error instanceof BackupRefused || error instanceof StateLocked || isSystemError(error))
  )
    throw error;
  console.error(`domzero: ${error.message}${error instanceof Usage ? `\n${usage()}` : ""}`);
  process.exitCode = error instanceof Usage ? 2 : 1;
}
