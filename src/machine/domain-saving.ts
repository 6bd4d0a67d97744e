/** Writing a domain that has suspended itself to a file: its shard gives its state, the builder worker writes both it and the memory. */
import { setTimeout as sleep } from "node:timers/promises";
import type { RunningDomain } from "./domain-assembly.ts";
import { type DomctlResult, refuse } from "./domctl.ts";
import type { SavedFile } from "./suspended-domain.ts";
import type { Threads } from "./threads.ts";

/** A vCPU that waits for another shard's answer keeps its domain from being saved: asked again, this often and after this long. */
const SAVE_TRIES = 200;
const SAVE_RETRY_MS = 5;

/** Nobody writes the domain's memory meanwhile, and after a refusal the back ends go on. */
export async function saveDomain(
  { services, builder }: Threads,
  { domid, uuid, worker, memory, map }: RunningDomain,
  path: string,
): Promise<DomctlResult<SavedFile>> {
  const typed = await services.call("freeze", domid);
  const saved = await write();
  await (saved.ok ? services.call("syncLogs", domid) : services.call("thaw", domid));
  return saved;

  async function write(): Promise<DomctlResult<SavedFile>> {
    for (let tries = 0; tries < SAVE_TRIES; tries++) {
      const state = await worker.rpc.call("saveDomain", domid);
      if (!state.ok) return state;
      if (state.value !== "busy") {
        const { ramOffset, ownFrames } = map;
        return builder.call("saveSuspended", { path, uuid, memory, ramOffset, ownFrames, state: state.value, typed });
      }
      await sleep(SAVE_RETRY_MS);
    }
    return refuse("cannot-save", `a vCPU of domain ${domid} still waits for another domain`);
  }
}
