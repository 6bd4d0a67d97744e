/** Debian's GRUB for Xen, where it is at hand. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "vitest";

const PLACES = [
  join(import.meta.dirname, "../../.guests/grub-x86_64-xen.bin"),
  "/usr/lib/grub-xen/grub-x86_64-xen.bin",
];
const found = PLACES.find((place) => existsSync(place));

/** Its path. Without the image the test is skipped and says how to get it; in CI, which fetches it, the test fails. */
export function grubImage(context: TestContext): string {
  if (found !== undefined) return found;
  const remedy = "GRUB's image is not here: `npm run guests:grub` fetches it";
  if (process.env.CI) throw new Error(remedy);
  return context.skip(remedy);
}
