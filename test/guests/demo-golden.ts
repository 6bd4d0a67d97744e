/**
 * What the demo kernel showed on a real Xen host (test/golden/demo-kernel-xen417.log), by section, in a form that compares: whatever
 * differs from run to run (times, counts, frames, domain ids) stands as a letter.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";

export interface GoldenSection {
  /** "typed: help", "xl save; xl restore" ... */
  readonly title: string;
  /** As on the console, without carriage returns and trailing empty lines. */
  readonly lines: readonly string[];
}

const NOTES = /^## (xl (list|dmesg): |idle )/;

/** In the order of the recording; a title may come more than once. */
export function goldenSections(): GoldenSection[] {
  const file = join(import.meta.dirname, "../golden/demo-kernel-xen417.log");
  const sections: { title: string; lines: string[] }[] = [];
  for (const line of readFileSync(file, "utf8").split("\n")) {
    if (NOTES.test(line)) continue;
    if (line.startsWith("## ")) sections.push({ title: line.slice(3), lines: [] });
    else sections.at(-1)?.lines.push(line);
  }
  for (const { lines } of sections) while (lines.at(-1) === "") lines.pop();
  return sections;
}

const VARYING: readonly (readonly [RegExp, string])[] = [
  [/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC/g, "DATE UTC"],
  [/\bup \d+\.\d+ s/g, "up T s"],
  [/\d+ upcalls$/g, "N upcalls"],
  [/\bslept \d+\.\d+ ms/g, "slept T ms"],
  [/ +\d+ (ns|us|ms)\b/g, " T $1"],
  [/, \d+ KiB\/s/g, ", R KiB/s"],
  [/\bmfn [0-9a-f]+/g, "mfn M"],
  [/machine address [0-9a-f]+/g, "machine address M"],
  [/last frame is [0-9a-f]+/g, "last frame is M"],
  [/ring-ref = "\d+"/g, 'ring-ref = "M"'],
  [/domain 0 port \d+/g, "domain 0 port P"],
  [/\bdomain( +)[1-9]\d*/g, "domain$1D"],
  [/domid = "\d+"/g, 'domid = "D"'],
  [/\/console\/\d+\/0/g, "/console/D/0"],
  [/\/vm\/[0-9a-f-]{36}/g, "/vm/UUID"],
  [/\/dev\/pts\/\d+/g, "/dev/pts/N"],
];

/** A console line with all that varies from run to run taken out. */
export function steady(line: string): string {
  return VARYING.reduce((text, [pattern, letter]) => text.replace(pattern, letter), line);
}
