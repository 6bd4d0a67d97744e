/** Xenstore as the fake machine has it: the real store and the real door to it, without a thread between. */
import { removeDomainNodes, writeDomainNodes } from "../../src/backends/domain-nodes.ts";
import { XenstoreDoor } from "../../src/backends/xenstore-door.ts";
import type { DomainSpec } from "../../src/machine/domctl.ts";
import type { ChildrenPage, XenstoreAccess, XenstoreWrite } from "../../src/machine/xenstore-access.ts";
import { LocalClient } from "../../src/xenstore/local-client.ts";
import { Store } from "../../src/xenstore/store.ts";

export class FakeXenstore implements XenstoreAccess {
  readonly local: LocalClient;
  readonly #store = new Store();
  readonly #door: XenstoreDoor;
  readonly #listeners = new Map<number, (paths: readonly string[]) => void>();
  readonly #uuids = new Map<number, string>();
  #now = 0;
  #nextWatch = 1;

  constructor() {
    this.local = new LocalClient(this.#store);
    this.#door = new XenstoreDoor({
      xenstore: this.local,
      now: () => this.#now,
      changed: (watch, paths) => this.#listeners.get(watch)?.(paths),
    });
  }

  /** Watches that are open. */
  get watches(): number {
    return this.#listeners.size;
  }

  async read(path: string, page: ChildrenPage = { limit: 1000 }) {
    return this.#door.xenstoreRead(path, page);
  }

  async write(writes: readonly XenstoreWrite[], home?: string) {
    const written = this.#door.xenstoreWrite(writes, home);
    this.tell();
    return written;
  }

  async remove(path: string) {
    const removed = this.#door.xenstoreRemove(path);
    this.tell();
    return removed;
  }

  async watch(path: string, listener: (paths: readonly string[]) => void) {
    const watch = this.#nextWatch++;
    const made = this.#door.xenstoreWatch(watch, path);
    if (!made.ok) return made;
    this.#listeners.set(watch, listener);
    setImmediate(() => this.tell());
    const end = () => {
      this.#listeners.delete(watch);
      this.#door.xenstoreUnwatch(watch);
    };
    return { ok: true as const, value: end };
  }

  /** Tells watches what happened since. */
  tell(): void {
    this.local.deliver();
    this.#now += 1e9;
    this.#door.run();
  }

  addDomain(domid: number, { uuid, name, memoryMiB, maxMemoryMiB, vcpus }: DomainSpec): void {
    this.#store.addDomain(domid);
    this.#uuids.set(domid, uuid);
    const rings = { storePort: 1, storeMfn: 1, consolePort: 2, consoleMfn: 2 };
    const sizes = { memoryKiB: memoryMiB * 1024, maxMemoryKiB: maxMemoryMiB * 1024, vcpus };
    this.local.transaction((store) =>
      writeDomainNodes(store, { domid, uuid, name, ...sizes, ...rings, image: undefined, startTime: undefined }),
    );
    this.tell();
  }

  removeDomain(domid: number): void {
    const uuid = this.#uuids.get(domid) ?? "";
    this.local.transaction((store) => removeDomainNodes(store, domid, uuid, false));
    this.#store.removeDomain(domid);
    this.tell();
  }
}
