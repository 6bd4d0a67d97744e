/**
 * Makes what the benches compare with: vcsim, built of Debian's govmomi with Debian's Go, and libvirt's test driver. Into .guests/peers/,
 * without root. Asked for again it does nothing; `--again` fetches anew.
 */
import { cp, mkdir, rename, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import {
  command,
  exists,
  Failure,
  fetchPackage,
  guestsFolder,
  runScript,
  withScratch,
} from "../guests/debian-package.ts";

const folder = join(guestsFolder, "peers");
const source = resolve(import.meta.dirname, "../../test/bench/peers/vcsim.go");

/** The package that a package without content of its own stands for. */
async function goPackage(): Promise<string> {
  const shown = await command("apt-cache", ["show", "--no-all-versions", "golang-go"], ".", "Run apt-get update once.");
  const version = /^Depends:.*?\bgolang-(1\.\d+)-go\b/m.exec(shown)?.[1];
  if (version === undefined) throw new Failure("golang-go depends on no golang-*-go: this release names it otherwise.");
  return version;
}

async function buildVcsim(scratch: string): Promise<void> {
  const version = await goPackage();
  const root = join(scratch, "go");
  const names = [
    `golang-${version}-go`,
    `golang-${version}-src`,
    "golang-github-vmware-govmomi-dev",
    "golang-github-google-uuid-dev",
  ];
  for (const name of names)
    await cp(await fetchPackage(name, scratch), root, { recursive: true, verbatimSymlinks: true });
  const goroot = join(root, "usr/lib", `go-${version}`);
  const environment = [
    `GOROOT=${goroot}`,
    `GOPATH=${join(root, "usr/share/gocode")}`,
    `GOCACHE=${join(scratch, "cache")}`,
    "GO111MODULE=off",
    "CGO_ENABLED=0",
  ];
  const build = [join(goroot, "bin/go"), "build", "-o", join(scratch, "vcsim"), source];
  await command("env", [...environment, ...build], scratch, "See that the packages are of one release.");
  await rename(join(scratch, "vcsim"), join(folder, "vcsim"));
}

async function unpackLibvirt(scratch: string): Promise<void> {
  const root = join(scratch, "libvirt");
  for (const name of ["libvirt0", "python3-libvirt"])
    await cp(await fetchPackage(name, scratch), root, { recursive: true, verbatimSymlinks: true });
  await rm(join(folder, "libvirt"), { recursive: true, force: true });
  await rename(root, join(folder, "libvirt"));
}

await runScript("bench:peers", async () => {
  const again = process.argv.includes("--again");
  await mkdir(folder, { recursive: true });
  await withScratch(async (scratch) => {
    if (again || !(await exists(join(folder, "vcsim")))) await buildVcsim(scratch);
    if (again || !(await exists(join(folder, "libvirt")))) await unpackLibvirt(scratch);
  });
  process.stdout.write(`${folder}\n`);
});
