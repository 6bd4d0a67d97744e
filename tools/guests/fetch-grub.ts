/**
 * Fetches GRUB's PV image (Debian's package grub-xen-host) into .guests/, unpacked without root, and prints its path.
 * Asked for again it answers with the file that is there; `--again` downloads anew.
 */
import { copyFile, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { inspectKernel } from "../../src/builder/build.ts";
import { exists, Failure, fetchPackage, firstOf, guestsFolder, runScript, withScratch } from "./debian-package.ts";

const file = join(guestsFolder, "grub-x86_64-xen.bin");

/** Throws a Failure where the file is not GRUB's 64-bit PV image. */
async function verify(path: string): Promise<void> {
  const inspection = inspectKernel(await readFile(path));
  if (!inspection.ok) throw new Failure(`${path} is no PV kernel: ${inspection.detail}`);
  if (inspection.kernel.guestOs !== "GRUB") {
    throw new Failure(`${path} is a PV kernel, but of ${inspection.kernel.guestOs || "no name"}, not GRUB.`);
  }
}

await runScript("guests:grub", async () => {
  if (!(await exists(file)) || process.argv.includes("--again")) {
    await withScratch(async (scratch) => {
      const root = await fetchPackage("grub-xen-host", scratch);
      const unpacked = await firstOf(root, ["usr/lib/grub-xen/grub-x86_64-xen.bin"]);
      await verify(unpacked);
      await copyFile(unpacked, join(scratch, "verified"));
      await rename(join(scratch, "verified"), file);
    });
  }
  await verify(file);
  process.stdout.write(`${file}\n`);
});
