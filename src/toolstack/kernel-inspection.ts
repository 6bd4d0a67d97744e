/** What an uploaded kernel is, told at once where a look is cheap; starting it is the judge in any case. */

import { open } from "node:fs/promises";
import { inspectKernel } from "../builder/build.ts";
import { isWrapped } from "../builder/unwrap-kernel.ts";
import type { ImageInspection } from "./model.ts";

/** Larger files are read by the builder's own thread when they are started. */
const MOST_BYTES = 4 * 2 ** 20;

/** Null for a file that is too large, or that would have to be decompressed first. Rejects when it cannot be read. */
export async function inspectKernelFile(path: string): Promise<ImageInspection | null> {
  const file = await open(path, "r");
  try {
    const { size } = await file.stat();
    if (size > MOST_BYTES) return null;
    const bytes = await file.readFile();
    if (isWrapped(bytes)) return null;
    const found = inspectKernel(bytes);
    if (!found.ok) return { bootable: false, summary: found.detail };
    const { guestOs, guestVersion, imageBytes } = found.kernel;
    const name = [guestOs, guestVersion].filter(Boolean).join(" ") || "A kernel";
    const needs = `${imageBytes} bytes loaded, at least ${Math.ceil(found.minimumPages / 256)} MiB of memory.`;
    return { bootable: true, summary: `${name}: ${needs}` };
  } finally {
    await file.close();
  }
}
