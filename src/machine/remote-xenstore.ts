/** `XenstoreAccess` on the control plane's thread: each request is a call to the services worker, which has the tree. */
import type { ServicesPort } from "./ports.ts";
import type { RpcClient } from "./rpc.ts";
import {
  FIRST_PAGE,
  type XenstoreAccess,
  type XenstoreNode,
  type XenstoreResult,
  type XenstoreWrite,
  type XenstoreWritten,
} from "./xenstore-access.ts";

export class RemoteXenstore implements XenstoreAccess {
  readonly #services: RpcClient<ServicesPort>;
  readonly #listeners = new Map<number, (paths: readonly string[]) => void>();
  #nextWatch = 1;

  constructor(services: RpcClient<ServicesPort>) {
    this.#services = services;
  }

  read(path: string, page = FIRST_PAGE): Promise<XenstoreResult<XenstoreNode>> {
    return this.#services.call("xenstoreRead", path, page);
  }

  write(writes: readonly XenstoreWrite[], home?: string): Promise<XenstoreResult<XenstoreWritten>> {
    return this.#services.call("xenstoreWrite", writes, home);
  }

  remove(path: string): Promise<XenstoreResult<void>> {
    return this.#services.call("xenstoreRemove", path);
  }

  async watch(path: string, listener: (paths: readonly string[]) => void): Promise<XenstoreResult<() => void>> {
    const watch = this.#nextWatch++;
    // Before the call: its first event can arrive before its answer.
    this.#listeners.set(watch, listener);
    const end = () => {
      if (this.#listeners.delete(watch)) this.#services.tell("xenstoreUnwatch", watch);
    };
    try {
      const made = await this.#services.call("xenstoreWatch", watch, path);
      if (made.ok) return { ok: true, value: end };
      this.#listeners.delete(watch);
      return made;
    } catch (error) {
      this.#listeners.delete(watch);
      throw error;
    }
  }

  /** For what the services worker tells. */
  changed(watch: number, paths: readonly string[]): void {
    this.#listeners.get(watch)?.(paths);
  }
}
