/** Archives of our own writer, read by programs of others. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type CpioEntry, cpioArchive, foldersOf } from "../../tools/guests/cpio.ts";

const entries: CpioEntry[] = [
  ...foldersOf(["a/b/c", "a/d", "empty/"]),
  { path: "a/b/c", kind: "file", content: Buffer.from("hello"), mode: 0o755 },
  { path: "a/d", kind: "symlink", target: "b/c" },
  { path: "a/none", kind: "file", content: new Uint8Array(0), mode: 0o600 },
  { path: "a/console", kind: "character device", major: 5, minor: 1 },
];
const archive = cpioArchive(entries);

/** A reader that knows the format from its description only. */
function members(bytes: Buffer): { name: string; mode: string; content: string; device: string }[] {
  const found = [];
  for (let at = 0; ; ) {
    expect(at % 4).toBe(0);
    expect(bytes.toString("latin1", at, at + 6)).toBe("070701");
    const field = (i: number) => Number.parseInt(bytes.toString("latin1", at + 6 + i * 8, at + 14 + i * 8), 16);
    const nameEnd = at + 110 + field(11);
    const start = (nameEnd + 3) & ~3;
    const name = bytes.toString("utf8", at + 110, nameEnd - 1);
    if (name === "TRAILER!!!") return found;
    const end = start + field(6);
    found.push({
      name,
      mode: field(1).toString(8),
      content: bytes.toString("utf8", start, end),
      device: `${field(9)},${field(10)}`,
    });
    at = (end + 3) & ~3;
  }
}

test("names, modes, contents and devices are as given, folders first and once", () => {
  expect(members(archive)).toEqual([
    { name: "a", mode: "40755", content: "", device: "0,0" },
    { name: "a/b", mode: "40755", content: "", device: "0,0" },
    { name: "empty", mode: "40755", content: "", device: "0,0" },
    { name: "a/b/c", mode: "100755", content: "hello", device: "0,0" },
    { name: "a/d", mode: "120777", content: "b/c", device: "0,0" },
    { name: "a/none", mode: "100600", content: "", device: "0,0" },
    { name: "a/console", mode: "20600", content: "", device: "5,1" },
  ]);
});

test("the same input gives the same archive", () => expect(cpioArchive(entries).equals(archive)).toBe(true));

const readers: [program: string, args: string[]][] = [
  ["cpio", ["-it", "--quiet", "-F"]],
  ["bsdtar", ["-tf"]],
  ["busybox", ["cpio", "-it", "-F"]],
];
const installed = (program: string) => {
  try {
    execFileSync("which", [program], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
};
test.for(readers.filter(([program]) => installed(program)))("%s lists it", ([program, args]) => {
  const folder = mkdtempSync(join(tmpdir(), "domzero-cpio-"));
  try {
    const file = join(folder, "archive.cpio");
    writeFileSync(file, archive);
    const listed = execFileSync(program, [...args, file], { stdio: ["ignore", "pipe", "ignore"] }).toString();
    const names = listed.trimEnd().split("\n");
    expect(names.map((name) => name.replace(/\/$/, ""))).toEqual(entries.map(({ path }) => path));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
