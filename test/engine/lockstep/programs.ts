/** The programs of the lockstep test: C sources next to it, and busybox on files generated here. */

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { compileC, type Program, workFolder } from "./recording.ts";

export interface NamedProgram {
  readonly name: string;
  readonly program: Program;
}

const INITRAMFS = join(import.meta.dirname, "../../../.guests/initramfs.img");
const SOURCES = join(import.meta.dirname, "programs");
/** Name, source, what gcc is told. No contraction or vector width beyond x86-64-v1. */
const cPrograms = [
  ["doubles -O2", "doubles.c", ["-O2"]],
  ["integers -O2", "integers.c", ["-O2"]],
  ["integers -O0", "integers.c", ["-O0"]],
  ["doubles by x87", "doubles.c", ["-O1", "-mfpmath=387"]],
  ["integers vectorized", "integers.c", ["-O3", "-funroll-loops"]],
  ["integers for size", "integers.c", ["-Os", "-minline-all-stringops"]],
] as const;
/** How many of the C programs `npm test` runs. */
const SHORT_C = 4;

/** C programs, as far as this machine can build them. */
export function cProgramList(all: boolean): NamedProgram[] {
  return cPrograms.slice(0, all ? undefined : SHORT_C).flatMap(([name, source, flags]) => {
    const path = compileC(join(SOURCES, source), [...flags, "-march=x86-64", "-static", "-lm"]);
    return path === null ? [] : [{ name, program: { words: [path], folder: workFolder() } }];
  });
}

/** One line a program: a name, its words, and `< file` for standard input. Files: see `writeFiles`. */
const short = [
  "sha256sum words noise",
  "md5sum words noise",
  "sort -k2 -n words",
  "gzip -c words",
  "gunzip -c < words.gz",
  "bzip2 -c noise",
  "awk -f sums.awk words",
  "sed -n s/\\([a-z]*\\)-\\([0-9]*\\)/\\2+\\1/gp words",
  "dc sums.dc",
  "bc -l < sums",
  "tar -cf - words noise tree",
  "find tree -type f -name *1",
  "od -x noise",
] as const;
const long = [
  "sha512sum noise words",
  "sha1sum words",
  "sha3sum words",
  "crc32 noise",
  "sort -r words",
  "sort -u -k3 words",
  "bunzip2 -c < words.bz2",
  "xz -dc < words.xz",
  "cpio -o -H newc < names",
  "hexdump -C noise",
  "xxd noise",
  "uuencode -m noise x",
  "base64 noise",
  "diff words words2",
  "grep -E -n ^a.*[0-9]+-?7|zz words",
  "grep -i -c AB words",
  "tr a-z A-Z < words",
  "wc words",
  "uniq -c words",
  "cut -d- -f1 words",
  "tac words",
  "rev words",
  "nl words",
  "fold -w 13 words",
  "expr 12345678 * 87654321 + 17 / 3",
  "expr abcdef : a\\(.*\\)e",
  "factor 1234567890123 9007199254740993",
  "seq 1 0.37 60",
  "printf %5.3f|%x|%s|%e\\n 3.14159 255 text 1e10",
  "date -u -d @1700000000",
  "cal 2 2024",
  "ls -la tree",
  "du -a tree",
  "stat words",
  "cmp words words2",
  "paste words words2",
  "shuf -i 1-100",
  "ash script",
  "vi -c :q words",
  "test 3 -gt 2",
] as const;

/** Busybox programs, as far as there is a static busybox: from .guests/initramfs.img, /bin/busybox or LOCKSTEP_BUSYBOX. */
export function busyboxList(all: boolean): NamedProgram[] {
  const path = busyboxPath();
  if (path === null) return [];
  const folder = mkdtempSync(join(tmpdir(), "domzero-lockstep-files-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  writeFiles(folder);
  return (all ? [...short, ...long] : short).map((line) => {
    const [command, input] = line.split(" < ");
    const words = [path, ...command!.split(" ")];
    return { name: `busybox ${line}`, program: { words, folder, ...(input && { input: join(folder, input) }) } };
  });
}

function busyboxPath(): string | null {
  if (process.platform !== "linux" || process.arch !== "x64") return null;
  if (process.env.LOCKSTEP_BUSYBOX) return process.env.LOCKSTEP_BUSYBOX;
  if (!existsSync(INITRAMFS)) return existsSync("/bin/busybox") ? "/bin/busybox" : null;
  const path = join(workFolder(), "busybox");
  const content = member(gunzipSync(readFileSync(INITRAMFS)), "bin/busybox");
  if (content === null) return null;
  if (!existsSync(path) || !readFileSync(path).equals(content)) writeFileSync(path, content, { mode: 0o700 });
  return path;
}

/** A file of a "new ASCII" cpio archive (Linux, buffer-format.rst). */
function member(archive: Buffer, wanted: string): Buffer | null {
  const field = (at: number, index: number) =>
    Number.parseInt(archive.toString("latin1", at + 6 + index * 8, at + 14 + index * 8), 16);
  const aligned = (n: number) => (n + 3) & ~3;
  for (let at = 0; at + 110 <= archive.length; ) {
    const [size, nameBytes] = [field(at, 6), field(at, 11)];
    const name = archive.toString("latin1", at + 110, at + 110 + nameBytes - 1);
    const start = aligned(at + 110 + nameBytes);
    if (name === wanted) return archive.subarray(start, start + size);
    at = aligned(start + size);
  }
  return null;
}

/** What the programs work on: always the same bytes. */
function writeFiles(folder: string): void {
  let seed = 0x2545_f491;
  const random = (below: number) => {
    seed = (Math.imul(seed ^ (seed >>> 15), 0x2c1b_3c6d) + 0x9e37_79b9) | 0;
    return ((seed >>> 8) % below) | 0;
  };
  const word = () => String.fromCharCode(...Array.from({ length: 2 + random(6) }, () => 97 + random(26)));
  const lines = Array.from(
    { length: 1500 },
    () => `${word()}-${random(999)} ${random(100_000)} ${random(9)} ${word()}\n`,
  );
  const words = lines.join("");
  const put = (name: string, content: string | Uint8Array) => writeFileSync(join(folder, name), content);
  put("words", words);
  put("words2", lines.filter((_, i) => i % 50 !== 7).join(""));
  put("words.gz", gzipSync(words));
  put(
    "noise",
    Uint8Array.from({ length: 20_000 }, () => random(256)),
  );
  put("sums", "scale=15\n2^100/7\ns(1)\nl(2)\nsqrt(2)\n");
  put("sums.dc", "20k 7 d * 3 / p 2 v p 3 50 ^ 17 % p\n");
  put(
    "sums.awk",
    '{ n[$3] += $2 * 1.5; s += $2 / 7 } END { for (i = 0; i < 9; i++) printf "%d:%.3f:", i, n[i]; print s, s % 13, 1e300 * 1e10 }',
  );
  for (const [name, ...command] of [
    ["words.bz2", "bzip2", "-c"],
    ["words.xz", "xz", "-c"],
  ] as const) {
    const { stdout, status } = spawnSync(command[0], command.slice(1), { input: words });
    put(name, status === 0 ? stdout : "");
  }
  put("names", "words\nnoise\n");
  put("script", "i=0\nwhile [ $i -lt 300 ]; do i=$((i + 1)); s=$s$i; done\necho $i $s\n");
  mkdirSync(join(folder, "tree"));
  for (let i = 0; i < 12; i++) {
    mkdirSync(join(folder, "tree", `d${i}`));
    put(`tree/d${i}/file${i}`, word().repeat(i * 10));
  }
}
