/**
 * Fetches Debian's stock kernels and a small user space into .guests/, without root:
 *
 *     vmlinuz-cloud-amd64   the kernel behind linux-image-cloud-amd64
 *     vmlinuz-amd64         the kernel behind linux-image-amd64
 *     initramfs.img         busybox, all its applets, and the Xen network and block drivers of both kernels
 *
 * Asked for again it answers with the files that are there; `--again` downloads anew.
 */
import { copyFile, mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { inspectKernel } from "../../src/builder/build.ts";
import { codecOf, decompress } from "../../src/builder/decompress.ts";
import { type CpioEntry, cpioArchive, foldersOf } from "./cpio.ts";
import {
  command,
  dependencyOf,
  exists,
  Failure,
  fetchPackage,
  firstOf,
  guestsFolder,
  runScript,
  withScratch,
} from "./debian-package.ts";

const FLAVOURS = ["cloud-amd64", "amd64"];
const DRIVERS = ["xen-blkfront", "xen-netfront"];
/** major, minor: Linux, Documentation/admin-guide/devices.txt. */
const DEVICES = [
  { path: "dev/console", major: 5, minor: 1 },
  { path: "dev/null", major: 1, minor: 3 },
];

interface Fetched {
  /** In the scratch folder. */
  readonly kernel: string;
  readonly modules: CpioEntry[];
}

async function fetchKernel(flavour: string, scratch: string): Promise<Fetched> {
  const root = await fetchPackage(await dependencyOf(`linux-image-${flavour}`, "linux-image-"), scratch);
  const image = (await readdir(join(root, "boot"))).find((name) => name.startsWith("vmlinuz-"));
  if (image === undefined) throw new Failure(`The package behind linux-image-${flavour} has no kernel in it.`);
  const release = image.slice("vmlinuz-".length);
  const kernel = join(root, "boot", image);
  const inspection = inspectKernel(await readFile(kernel));
  if (!inspection.ok) throw new Failure(`${image} is no PV kernel: ${inspection.detail}`);
  const tree = await firstOf(root, [`lib/modules/${release}/kernel`, `usr/lib/modules/${release}/kernel`]);
  return { kernel, modules: await driverFiles(tree, `mods/${release}`) };
}

/** The drivers and what they depend on, unpacked, named so that loading them in alphabetical order works. */
async function driverFiles(tree: string, folder: string): Promise<CpioEntry[]> {
  const files = new Map<string, string>();
  for (const path of await readdir(tree, { recursive: true })) {
    const name = /([^/]+)\.ko(\.\w+)?$/.exec(path)?.[1];
    if (name !== undefined) files.set(name.replaceAll("_", "-"), join(tree, path));
  }
  const loaded = new Map<string, Uint8Array>();
  const load = async (name: string): Promise<void> => {
    if (loaded.has(name)) return;
    const path = files.get(name);
    if (path === undefined) throw new Failure(`The kernel has no module ${name}.`);
    const bytes = unpacked(await readFile(path), path);
    for (const dependency of dependencies(bytes)) await load(dependency);
    loaded.set(name, bytes);
  };
  for (const driver of DRIVERS) await load(driver);
  return [...loaded].map(([name, content], i) => ({
    path: `${folder}/${i}-${name}.ko`,
    kind: "file",
    content,
    mode: 0o644,
  }));
}

function unpacked(file: Uint8Array, path: string): Uint8Array {
  const codec = codecOf(file);
  if (codec === undefined) return file;
  const bytes = decompress(codec, path, file);
  if (!(bytes instanceof Uint8Array)) throw new Failure(bytes.detail);
  return bytes;
}

/** From the module's own information: `depends=a,b`. */
function dependencies(module: Uint8Array): string[] {
  const listed = /\0depends=([\w,-]*)\0/.exec(Buffer.from(module).toString("latin1"))?.[1] ?? "";
  return listed
    .split(",")
    .filter((name) => name !== "")
    .map((name) => name.replaceAll("_", "-"));
}

async function fetchBusybox(scratch: string): Promise<CpioEntry[]> {
  const root = await fetchPackage("busybox-static", scratch);
  const path = await firstOf(root, ["bin/busybox", "usr/bin/busybox"]);
  const listed = await command(
    path,
    ["--list-full"],
    scratch,
    "This script runs on x86-64 only: it asks busybox for its names.",
  );
  const applets = listed.split("\n").filter((applet) => applet !== "" && applet !== "bin/busybox");
  return [
    { path: "bin/busybox", kind: "file", content: await readFile(path), mode: 0o755 },
    ...applets.map((applet): CpioEntry => ({ path: applet, kind: "symlink", target: "/bin/busybox" })),
  ];
}

async function initramfs(members: readonly CpioEntry[]): Promise<Buffer> {
  const init = await readFile(new URL("init.sh", import.meta.url));
  const all: CpioEntry[] = [
    { path: "init", kind: "file", content: init, mode: 0o755 },
    ...DEVICES.map((device): CpioEntry => ({ ...device, kind: "character device" })),
    ...members,
  ];
  const mountPoints = ["proc/", "sys/", "tmp/", "root/"];
  return gzipSync(cpioArchive([...foldersOf([...mountPoints, ...all.map(({ path }) => path)]), ...all]), { level: 9 });
}

const places = [...FLAVOURS.map((flavour) => `vmlinuz-${flavour}`), "initramfs.img"].map((name) =>
  join(guestsFolder, name),
);

await runScript("guests:debian", async () => {
  const there = await Promise.all(places.map(exists));
  if (there.includes(false) || process.argv.includes("--again")) {
    await withScratch(async (scratch) => {
      const kernels: Fetched[] = [];
      for (const flavour of FLAVOURS) kernels.push(await fetchKernel(flavour, scratch));
      const busybox = await fetchBusybox(scratch);
      const made = join(scratch, "made");
      await mkdir(made);
      const finished = places.map((_, i) => join(made, String(i)));
      for (const [i, { kernel }] of kernels.entries()) await copyFile(kernel, finished[i]);
      const modules = kernels.flatMap((fetched) => fetched.modules);
      await writeFile(finished[kernels.length], await initramfs([...busybox, ...modules]));
      for (const [i, place] of places.entries()) await rename(finished[i], place);
    });
  }
  process.stdout.write(`${places.join("\n")}\n`);
});
