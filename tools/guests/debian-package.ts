/** Debian's packages without root: downloaded by apt-get, unpacked by dpkg-deb into a folder of ours. */
import { execFile } from "node:child_process";
import { access, mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { promisify } from "node:util";

/** Where fetched guests are kept; not part of the repository. */
export const guestsFolder = resolve(import.meta.dirname, "../../.guests");

/** Why it did not work, in a sentence for the person who typed the command. */
export class Failure extends Error {}

/** Runs a program; what it printed. Throws a Failure, with `remedy` where the program ran and failed. */
export async function command(name: string, args: readonly string[], cwd: string, remedy: string): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)(name, args, {
      cwd,
      env: { ...process.env, LC_ALL: "C" },
      maxBuffer: 1 << 24,
    });
    return stdout;
  } catch (error) {
    const { code, stderr } = error as { code?: string | number; stderr?: string };
    if (code === "ENOENT") throw new Failure(`${name} is not installed. This script needs Debian's or Ubuntu's tools.`);
    const said = (stderr ?? "").trim().split("\n").at(-1);
    throw new Failure(`${name} ${args[0]} failed: ${said || `exit ${code}`}\n${remedy}`);
  }
}

const NO_LISTS =
  "Without package lists run `sudo apt-get update` once; otherwise see that the network reaches Debian's mirror.";

/** Downloads a package and unpacks it in a folder below `scratch`, whose path is given. */
export async function fetchPackage(name: string, scratch: string): Promise<string> {
  const folder = await mkdtemp(join(scratch, "package-"));
  await command("apt-get", ["download", name], folder, NO_LISTS);
  const archive = (await readdir(folder)).find((file) => file.endsWith(".deb"));
  if (archive === undefined) throw new Failure(`apt-get download ${name} left no package behind.`);
  await command("dpkg-deb", ["-x", archive, "root"], folder, "The download may be damaged: try again.");
  await rm(join(folder, archive));
  return join(folder, "root");
}

/** The first package that `name`, a package without content of its own, depends on and that begins like `prefix`. */
export async function dependencyOf(name: string, prefix: string): Promise<string> {
  const shown = await command("apt-cache", ["show", "--no-all-versions", name], ".", NO_LISTS);
  const found = new RegExp(`^Depends:.*?(${prefix}[^\\s,]+)`, "m").exec(shown)?.[1];
  if (found === undefined)
    throw new Failure(`${name} depends on no ${prefix}*: this release names its kernels otherwise.`);
  return found;
}

/** The first of `candidates`, relative to `root`, that is there. */
export async function firstOf(root: string, candidates: readonly string[]): Promise<string> {
  for (const candidate of candidates) if (await exists(join(root, candidate))) return join(root, candidate);
  throw new Failure(`The package has no ${candidates.join(" and no ")}.`);
}

export const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

/** Calls `work` with a scratch folder in .guests/, and removes that afterwards. */
export async function withScratch(work: (scratch: string) => Promise<void>): Promise<void> {
  await mkdir(guestsFolder, { recursive: true });
  const scratch = await mkdtemp(join(guestsFolder, "fetch-"));
  try {
    await work(scratch);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** The main function of a script: a Failure is told on stderr, in the script's name. */
export async function runScript(name: string, main: () => Promise<void>): Promise<void> {
  try {
    await main();
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    process.stderr.write(`${name}: ${error.message}\n`);
    process.exitCode = 1;
  }
}
