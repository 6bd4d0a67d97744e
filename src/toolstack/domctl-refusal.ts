/** What the machine refuses, in the toolstack's words. */

import type { DomctlRefusal } from "../machine/domctl.ts";
import { type Refusal, refuse } from "./refusal.ts";

export function gone(uuid: string): Refusal {
  return refuse("domain-not-found", `There is no domain ${uuid}.`);
}

export function refusalOf(result: { ok: true } | DomctlRefusal): Refusal | undefined {
  return result.ok ? undefined : fromDomctl(result);
}

/** The request field at fault. */
const FIELDS: Partial<Record<DomctlRefusal["code"], string>> = {
  "no-memory": "memoryMiB",
  "no-worker": "cpuAffinity",
  "does-not-fit": "memoryMiB",
  "bad-kernel": "kernel",
  "unsupported-kernel": "kernel",
  "bad-ramdisk": "ramdisk",
};

export function fromDomctl(refusal: DomctlRefusal): Refusal {
  const code = refusal.code === "no-such-domain" ? "wrong-state" : refusal.code;
  const field = FIELDS[refusal.code];
  return refuse(code, refusal.detail, field ? { field } : {});
}
