/**
 * What becomes of the nodes of domains that are destroyed, as xenstored 4.17.7 has it (test/golden/xenstore-xen417-deaths.txt: `xenstore-ls -fp /tool`
 * in a real host's dom0 before and after `xl destroy` of two domains, D and E, whose nodes were made by xenstore-write and xenstore-chmod;
 * then what a watch on /tool was told meanwhile).
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { LocalClient } from "../../src/xenstore/local-client.ts";
import { Store } from "../../src/xenstore/store.ts";

const D = 5;
const E = 6;
const golden = readFileSync(join(import.meta.dirname, "../golden/xenstore-xen417-deaths.txt"), "utf8");

const numbered = (permission: string): string => permission.replace("D", `${D}`).replace("E", `${E}`);
const lettered = (permission: string): string => permission.replace(`${D}`, "D").replace(`${E}`, "E");

test("a domain's nodes go with it, and whatever is below; grants to it stay, and count no more", () => {
  const [before, ...after] = golden.split(/^# .*\n/m).slice(1);
  const watched = after.pop()!;
  const store = new Store();
  const dom0 = new LocalClient(store);
  for (const domid of [D, E]) store.addDomain(domid);
  const paths: string[] = [];
  for (const line of before!.trim().split("\n")) {
    const [, path, value, permissions] = /^(\S+) = "(.*)" {3}\((.*)\)$/.exec(line)!;
    paths.push(path!);
    dom0.write(path!, value!, permissions!.split(",").map(numbered));
  }
  const told: string[] = [];
  dom0.watch("/tool", (path) => told.push(path));
  dom0.deliver();
  told.length = 0;
  const listing = (): string =>
    paths
      .filter((path) => dom0.permissions(path) !== undefined)
      .map((path) => `${path} = "${dom0.read(path)}"   (${dom0.permissions(path)!.map(lettered).join(",")})\n`)
      .join("");
  expect(listing()).toBe(before);
  for (const [i, domid] of [D, E].entries()) {
    store.removeDomain(domid);
    dom0.deliver();
    expect(listing()).toBe(after[i]);
  }
  // xenstored goes through children in the order they were made, the store in that of their names.
  expect(told.sort()).toEqual(watched.trim().split("\n").sort());
});
