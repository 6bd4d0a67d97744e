/** Six fuzzing guests (test/guests/fuzz-kernel) at once in a service: from their seeds to the last trace of them. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { until, type WholeService } from "../whole-service.ts";

/** What each of the guests does; each takes its seed from its command line. */
const MODES = ["all", "all", "calls", "code", "xenstore", "storm"];

export interface HostileRound {
  /** Guests that crashed, or asked to be shut down. */
  readonly ended: number;
  /** Tries of those that lived, as far as they told. */
  readonly tries: number;
}

const TRIES_A_LINE = 2000;
/** For one line; a guest that has armed breakpoints is stepped, and slow. */
const PATIENCE_MS = 60_000;
/** A guest that was asleep whenever it was looked at, so often, sleeps for as long as it likes: that is its own doing. */
const LOOKS_ASLEEP = 500;

/** Puts the kernel among the service's images; its id. */
export async function uploadFuzzKernel(service: WholeService): Promise<string> {
  const elf = readFileSync(join(import.meta.dirname, "../../guests/fuzz-kernel/fuzz.elf"));
  return (await service.ask("POST /v1/images?kind=kernel", { body: elf })).json.id;
}

/**
 * Boots them, waits until each has told of `lines` times 2000 tries, is dead or sleeps, and destroys them. Throws what is wrong: a service that does
 * not answer, anything that is left of them, a defect in its log. `looked` is called after each look, with how long that took, ms.
 */
export async function hostileRound(
  service: WholeService,
  kernel: string,
  seed: number,
  lines: number,
  looked?: (ms: number) => void,
): Promise<HostileRound> {
  const names = MODES.map((_, i) => `fuzz-${i}`);
  for (const [i, name] of names.entries())
    await service.boot(name, { kernel, cmdline: `${MODES[i]} ${seed + i}`, memoryMiB: 8, onCrash: "preserve" });
  let ended = 0;
  let tries = 0;
  for (const name of names) {
    let asleep = 0;
    await until(
      `${name} to have tried a lot`,
      async () => {
        const began = performance.now();
        const { json } = await service.ask(`GET /v1/domains/${name}`);
        looked?.(performance.now() - began);
        const { text } = await service.ask(`GET /v1/domains/${name}/console`);
        const told = Number(/.*\bround (\d+)/s.exec(text)?.[1] ?? 0);
        const dead = json.state !== "running" || json.lastCrash !== null;
        if (json.runtime?.state === "blocked") asleep++;
        if (!dead && told < lines && asleep < LOOKS_ASLEEP) return false;
        tries += told * TRIES_A_LINE;
        if (dead) ended++;
        return true;
      },
      lines * PATIENCE_MS,
    );
  }
  const gone = await Promise.all(names.map((name) => service.ask(`DELETE /v1/domains/${name}?force=true`)));
  for (const { status, text } of gone) if (status !== 204) throw new Error(`a delete is answered ${status}: ${text}`);
  await until("all memory to be free", async () => {
    const { json } = await service.ask("GET /v1/host");
    return json.domains === 0 && json.memoryFreeMiB === json.memoryTotalMiB;
  });
  const { children } = (await service.ask("GET /v1/xenstore?path=/local/domain")).json;
  if (children.join() !== "0") throw new Error(`homes are left in xenstore: ${children}`);
  const defects = service.err.split("\n").filter((line) => line.includes("defect"));
  if (defects.length > 0) throw new Error(defects.join("\n"));
  if (service.ended) throw new Error(`the service ended: ${service.err}`);
  return { ended, tries };
}
