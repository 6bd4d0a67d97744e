/** The recording from a real Xen host belongs to the demo kernel that is committed: its texts are in the image. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { goldenSections, steady } from "./demo-golden.ts";

const image = readFileSync(join(import.meta.dirname, "../../src/builder/demo-kernel/demo.elf"), "latin1");
const sections = goldenSections();
const section = (title: string) => sections.find((one) => one.title === title)!.lines;

test("every command that help lists was recorded, and its help is in the image", () => {
  const listed = section("typed: help").filter((line) => line.startsWith("  "));
  expect(listed.length).toBeGreaterThan(10);
  for (const line of listed) {
    const name = line.trim().split(" ")[0];
    const help = line.slice(33); // behind the columns of name and usage
    expect(image).toContain(help);
    expect(sections.some((one) => one.title.startsWith(`typed: ${name}`))).toBe(true);
  }
});

test("every page-table attempt was recorded with the rule that the image names", () => {
  const rules = section("typed: pt").filter((line) => line.startsWith("    ["));
  expect(rules).toHaveLength(15);
  for (const rule of rules) expect(image).toContain(rule.slice(5, -1));
  expect(section("typed: pt")).toContain("all 15 refused; the window's entry is as it was");
});

test("two recordings of one command are the same but for what varies from run to run", () => {
  for (const title of ["typed: events", "typed: pt", "typed: cpus", "typed: info", "typed: uptime"]) {
    const [first, ...others] = sections.filter((one) => one.title === title).map(({ lines }) => lines.map(steady));
    expect(others.length).toBeGreaterThan(0);
    for (const other of others) expect(other).toEqual(first);
  }
});
