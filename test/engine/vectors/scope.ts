/** What this machine's processor cannot judge. */

import { existsSync, readFileSync } from "node:fs";
import type { Row } from "../../../src/engine/ops/row.ts";
import type { Vendor } from "./vendor-differences.ts";

/** Rows that the table itself would leave out and that can be judged all the same, with Linux's GDT on both sides. */
const judgedAnyway =
  /^(callf|jmpf|retf|iret|int3|int|movseg|l[fgs]s|push[fg]s|pop[fg]s|lar|lsl|verr|verw|f2xm1|fyl2x|fyl2xp1|fptan|fpatan|fsin|fcos|fsincos|rcp[ps]s|rsqrt[ps]s)$/;

/** Rows without vectors, and why. */
const unjudgedRows: readonly { readonly name: RegExp; readonly why: string }[] = [
  { name: /^(popcnt|rd[fg]sbase|wr[fg]sbase)$/, why: "our CPUID does not offer it, this processor may have it" },
  { name: /^(syscall|sysenter|sysret|sysexit)$/, why: "leaves the process" },
  { name: /^(cpuid|rdtscp?|rdpmc|rdrand|rdseed)$/, why: "its result is the machine's or the moment's" },
  { name: /^(s[gi]dt|sldt|str|smsw)$/, why: "Linux emulates it where the processor has UMIP" },
];

export function unjudgedName(mnemonic: string): boolean {
  return unjudgedRows.some(({ name }) => name.test(mnemonic));
}

export function isJudged(row: Row): boolean {
  if (judgedAnyway.test(row.name)) return true;
  return !row.noVectors && !unjudgedName(row.name);
}

const cpuInfo = existsSync("/proc/cpuinfo") ? readFileSync("/proc/cpuinfo", "utf8") : "";

/** Who made this machine's processor; null: neither of the two whose differences are known. */
export function processorVendor(): Vendor | null {
  if (cpuInfo.includes("AuthenticAMD")) return "amd";
  return cpuInfo.includes("GenuineIntel") ? "intel" : null;
}

/** Does a locked access across cache lines just work here? Processors with split-lock detection stop it. */
export function processorSplitsLocks(): boolean {
  return !/\bsplit_lock_detect\b|\bbus_lock_detect\b/.test(cpuInfo);
}
