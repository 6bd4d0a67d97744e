/**
 * The builder worker: builds boot images into domains' memories, and zeroes the memories of domains that are gone, away from the
 * threads that guests, their back ends and HTTP run on.
 */
import { readFile } from "node:fs/promises";
import { parentPort } from "node:worker_threads";
import type { DomctlResult } from "../machine/domctl.ts";
import { collectGarbage } from "../machine/garbage.ts";
import { scrub } from "../machine/memory-pool.ts";
import type { BuilderPort, BuildJob, BuiltImage } from "../machine/ports.ts";
import { isCall, serve } from "../machine/rpc.ts";
import { build } from "./build.ts";

async function buildJob(job: BuildJob): Promise<DomctlResult<BuiltImage>> {
  const kernel = await readFile(job.kernelPath);
  const ramdisk = job.ramdiskPath === undefined ? undefined : await readFile(job.ramdiskPath);
  const { memory, ramOffset, baseMfn, pages, cmdline, sharedInfoMfn, storePort, consolePort } = job;
  const map = { ramOffset, baseMfn };
  const built = build({ memory, map, pages, kernel, ramdisk, cmdline, sharedInfoMfn, storePort, consolePort });
  if (!built.ok) {
    const at = built.offset === undefined ? "" : ` (at byte ${built.offset} of the image)`;
    return { ok: false, code: built.kind, detail: `${built.detail}${at}` };
  }
  const { l4Pfn, entry, startInfoVa, stackVa, storePfn, consolePfn, guestOs } = built;
  return { ok: true, value: { l4Pfn, entry, startInfoVa, stackVa, storePfn, consolePfn, guestOs } };
}

const builder: BuilderPort = { build: buildJob, scrub, collectGarbage };

const control = parentPort!;
control.on("message", (message: unknown) => {
  if (isCall(message)) {
    serve(builder, message, (reply) => control.postMessage(reply));
  }
});
