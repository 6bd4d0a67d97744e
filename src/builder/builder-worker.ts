/** The builder worker: unpacks kernels and fills fresh memories on a thread of its own, and zeroes those that domains left. */
import { readFile, stat } from "node:fs/promises";
import { parentPort } from "node:worker_threads";
import { PAGE_SIZE } from "../abi/xen.ts";
import type { DomctlRefusal, DomctlResult } from "../machine/domctl.ts";
import { collectGarbage } from "../machine/garbage.ts";
import type { BuilderPort, BuildJob, BuiltImage } from "../machine/ports.ts";
import { isCall, type Methods, serve } from "../machine/rpc.ts";
import { build } from "./build.ts";
import { MAX_KERNEL_BYTES } from "./decompress.ts";
import { scrub } from "./scrub.ts";
import { readSuspendHead, readSuspendImage } from "./suspend-image/read.ts";
import { writeSuspendImage } from "./suspend-image/write.ts";

if (parentPort === null) throw new Error("the builder worker is the entry of a thread");
const controlPlane = parentPort;

const methods: BuilderPort = {
  async build(job) {
    const kernel = await load(job.kernelPath, "kernel", "bad-kernel", MAX_KERNEL_BYTES);
    if (!kernel.ok) return kernel;
    const ramdisk = await loadRamdisk(job);
    if (!ramdisk.ok) return ramdisk;
    const built = build({ ...job, map: job, kernel: kernel.value, ramdisk: ramdisk.value });
    if (!built.ok) return { ok: false, code: built.kind, detail: built.detail };
    const { l4Pfn, entry, startInfoVa, stackVa, storePfn, consolePfn, guestOs } = built;
    const image: BuiltImage = { l4Pfn, entry, startInfoVa, stackVa, storePfn, consolePfn, guestOs };
    return { ok: true, value: image };
  },
  async saveSuspended(job) {
    try {
      return { ok: true, value: await writeSuspendImage(job) };
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === "ENOSPC")
        return { ok: false, code: "storage-full", detail: "The disk of the state folder is full." };
      return { ok: false, code: "cannot-save", detail: `The file cannot be written: ${message}.` };
    }
  },
  readSuspended: readSuspendHead,
  loadSuspended: readSuspendImage,
  scrub(memory) {
    scrub(memory.buffer);
  },
  collectGarbage,
};

async function loadRamdisk(job: BuildJob): Promise<DomctlResult<Uint8Array | undefined>> {
  if (job.ramdiskPath === undefined) return { ok: true, value: undefined };
  return load(job.ramdiskPath, "ramdisk", "bad-ramdisk", job.pages * PAGE_SIZE);
}

/** A whole file. One above `limit` bytes is refused unread. */
async function load(
  path: string,
  what: string,
  refusal: DomctlRefusal["code"],
  limit: number,
): Promise<DomctlResult<Uint8Array>> {
  try {
    const { size } = await stat(path);
    if (size > limit) {
      return {
        ok: false,
        code: refusal,
        detail: `The ${what} has ${size} bytes; ${limit} is the most that could be used.`,
      };
    }
    return { ok: true, value: await readFile(path) };
  } catch (error) {
    return { ok: false, code: "internal", detail: `The ${what} file cannot be read: ${(error as Error).message}.` };
  }
}

controlPlane.on("message", (message: unknown) => {
  if (!isCall(message)) return;
  serve(methods as BuilderPort & Methods<BuilderPort>, message, (reply) => controlPlane.postMessage(reply));
});
