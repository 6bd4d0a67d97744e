/** What has happened to the names in a folder is on the disk only when the folder itself has been synced. */

import { open, rename } from "node:fs/promises";
import { dirname } from "node:path";

export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Resolves when the new name is on the disk. `to` is in the same folder. */
export async function renameDurably(from: string, to: string): Promise<void> {
  await rename(from, to);
  await syncFolder(dirname(to));
}
