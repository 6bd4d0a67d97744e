/** What GRUB showed and asked for on a real Xen 4.17 host (test/golden/grub-xen417-*), in a form that compares. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";

const golden = (name: string) => readFileSync(join(import.meta.dirname, "../golden", name));

const CURSOR = new RegExp(`${String.fromCharCode(27)}\\[[0-9;?]*[A-Za-z]`, "g");

/** Console text without the cursor's movements and without what differs from run to run. */
export function steady(text: string): string {
  return text
    .replace(CURSOR, "")
    .replaceAll("\r", "")
    .replace(/[\d.]+(Ki|Mi)?B\/s/g, "R KiB/s")
    .replace(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [A-Z][a-z]+day/g, "DATE");
}

export const PROMPT = "grub> ";

/** The greeting, then for each line typed its echo and the answer. */
export function grubSections(): readonly string[] {
  const file = golden("grub-xen417-console.log").toString("latin1");
  const begin = file.indexOf("#----\n") + "#----\n".length;
  return steady(file.slice(begin)).split(PROMPT);
}

/** A hypercall as GRUB made it, the same on each host: a frame number in a page-table entry is left out. */
export interface GrubCall {
  readonly name: string;
  /** rdi, rsi, rdx. */
  readonly args: readonly number[];
}

/** The numbers in the recording (xen/xen.h). */
const NAMES: Readonly<Record<string, string>> = {
  1: "mmu_update",
  14: "update_va_mapping",
  20: "grant_table_op",
  26: "mmuext_op",
  29: "sched_op",
  32: "event_channel_op",
};
const POLLING = ["sched_op", "event_channel_op"];
const PREEMPTED = 0x8000_0000;

/**
 * All but its polling (yields, and the events that it sends along with its messages), in order: what sets its memory up. A call
 * that the hypervisor interrupted and continued is one call.
 */
export function setUpCalls(calls: readonly GrubCall[]): GrubCall[] {
  return calls
    .filter(({ name }) => !POLLING.includes(name))
    .filter(({ name, args }) => name === "update_va_mapping" || args[1] < PREEMPTED)
    .map(({ name, args: [rdi, rsi, rdx] }) => ({
      name,
      args: [rdi, name === "update_va_mapping" ? rsi % 4096 : rsi, rdx],
    }));
}

/** In the order of the recording. */
export function recordedCalls(): GrubCall[] {
  const lines = gunzipSync(golden("grub-xen417-hypercalls.log.gz")).toString("latin1").split("\n");
  return lines.flatMap((line) => {
    const match = /^\d+ H@\d+ (\d+) (\w+) (\w+) (\w+)/.exec(line);
    if (!match) return [];
    return [{ name: NAMES[match[1]] ?? match[1], args: match.slice(2).map((hex) => Number.parseInt(hex, 16)) }];
  });
}
