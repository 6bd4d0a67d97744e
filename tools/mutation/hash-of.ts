import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";

/** One hash of what is in files, whose paths are from the repository's root. */
export function hashOf(files: readonly string[]): string {
  const hash = createHash("sha256");
  for (const file of files) hash.update(readFileSync(join(import.meta.dirname, "../..", file)));
  return hash.digest("hex").slice(0, 16);
}
