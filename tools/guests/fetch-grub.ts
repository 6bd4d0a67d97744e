/**
 * Fetches GRUB's PV image (Debian's package grub-xen-host) into .guests/, unpacked without root, and prints its path.
 * Asked for again it answers with the file that is there; `--again` downloads anew.
 */
import { execFile } from "node:child_process";
import { access, copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { inspectKernel } from "../../src/builder/build.ts";

const PACKAGE = "grub-xen-host";
const INSIDE = "usr/lib/grub-xen/grub-x86_64-xen.bin";
const run = promisify(execFile);

/** Why it did not work, in a sentence for the person who typed the command. */
class Failure extends Error {}

async function command(name: string, args: readonly string[], cwd: string, remedy: string): Promise<void> {
  try {
    await run(name, args, { cwd, env: { ...process.env, LC_ALL: "C" } });
  } catch (error) {
    const { code, stderr } = error as { code?: string | number; stderr?: string };
    if (code === "ENOENT") throw new Failure(`${name} is not installed. This script needs Debian's or Ubuntu's tools.`);
    const said = (stderr ?? "").trim().split("\n").at(-1);
    throw new Failure(`${name} ${args[0]} failed: ${said || `exit ${code}`}\n${remedy}`);
  }
}

/** Throws a Failure where the file is not GRUB's 64-bit PV image. */
async function verify(file: string): Promise<void> {
  const inspection = inspectKernel(await readFile(file));
  if (!inspection.ok) throw new Failure(`${file} is no PV kernel: ${inspection.detail}`);
  if (inspection.kernel.guestOs !== "GRUB") {
    throw new Failure(`${file} is a PV kernel, but of ${inspection.kernel.guestOs || "no name"}, not GRUB.`);
  }
}

async function fetchInto(folder: string, file: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const scratch = await mkdtemp(join(folder, "fetch-"));
  try {
    await command(
      "apt-get",
      ["download", PACKAGE],
      scratch,
      "Without package lists run `sudo apt-get update` once; otherwise see that the network reaches Debian's mirror.",
    );
    const archive = (await readdir(scratch)).find((name) => name.endsWith(".deb"));
    if (archive === undefined) throw new Failure(`apt-get download ${PACKAGE} left no package behind.`);
    await command("dpkg-deb", ["-x", archive, "root"], scratch, "The download may be damaged: try again.");
    const unpacked = join(scratch, "root", INSIDE);
    await access(unpacked).catch(() => {
      throw new Failure(`${archive} has no ${INSIDE}.`);
    });
    await verify(unpacked);
    await copyFile(unpacked, join(scratch, "verified"));
    await rename(join(scratch, "verified"), file);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

const folder = resolve(import.meta.dirname, "../../.guests");
const file = join(folder, "grub-x86_64-xen.bin");
try {
  const there = await access(file).then(
    () => true,
    () => false,
  );
  if (!there || process.argv.includes("--again")) await fetchInto(folder, file);
  await verify(file);
  process.stdout.write(`${file}\n`);
} catch (error) {
  if (!(error instanceof Failure)) throw error;
  process.stderr.write(`guests:grub: ${error.message}\n`);
  process.exitCode = 1;
}
