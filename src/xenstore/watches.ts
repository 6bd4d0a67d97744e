/**
 * Watches by path, as a trie over names: a change finds the watches on its path and above it in the length of its path, and a
 * removal those below it without looking at any other.
 */
import type { Path } from "./path.ts";
import { get } from "./sorted-map.ts";
import type { Node } from "./tree.ts";

/** Who is told of events. */
export interface WatchOwner {
  readonly domid: number;
  /** `path` is spelt as the watch was, relative to the owner's home if it was. */
  watchEvent(path: string, token: string): void;
}

export interface Watch {
  readonly owner: WatchOwner;
  readonly path: Path;
  readonly token: string;
  /** Bytes to cut from the front of an event's path, 0 unless the watch is relative. */
  readonly cut: number;
}

/** The special events are not paths; they stand in the same table under names that no path can have. */
export const SPECIAL_PATHS: ReadonlyMap<string, Path> = new Map(
  ["@introduceDomain", "@releaseDomain"].map((name) => [name, { text: name, names: ["/", name] }]),
);

interface Branch {
  readonly watches: Set<Watch>;
  readonly children: Map<string, Branch>;
}

const branch = (): Branch => ({ watches: new Set(), children: new Map() });

export class WatchTable {
  readonly #root = branch();

  add(watch: Watch): void {
    let at = this.#root;
    for (const name of watch.path.names) {
      const next = at.children.get(name) ?? branch();
      at.children.set(name, next);
      at = next;
    }
    at.watches.add(watch);
  }

  delete(watch: Watch): void {
    const branches = [this.#root];
    for (const name of watch.path.names) {
      const next = branches[branches.length - 1].children.get(name);
      if (next === undefined) return;
      branches.push(next);
    }
    branches[branches.length - 1].watches.delete(watch);
    for (let i = branches.length - 1; i > 0; i--) {
      if (branches[i].watches.size > 0 || branches[i].children.size > 0) return;
      branches[i - 1].children.delete(watch.path.names[i - 1]);
    }
  }

  /** Watches on a path or above it, outermost first. */
  covering(path: Path): Watch[] {
    const found = [...this.#root.watches];
    let at: Branch | undefined = this.#root;
    for (const name of path.names) {
      at = at.children.get(name);
      if (at === undefined) break;
      found.push(...at.watches);
    }
    return found;
  }

  /** Watches strictly below a path, on nodes that existed in `removed`, the tree that stood there. */
  below(path: Path, removed: Node): { watch: Watch; node: Node; parent: Node }[] {
    let at: Branch | undefined = this.#root;
    for (const name of path.names) {
      at = at.children.get(name);
      if (at === undefined) return [];
    }
    const found: { watch: Watch; node: Node; parent: Node }[] = [];
    const descend = (from: Branch, parent: Node) => {
      for (const [name, child] of from.children) {
        const node = get(parent.children, name);
        if (node === undefined) continue;
        for (const watch of child.watches) found.push({ watch, node, parent });
        descend(child, node);
      }
    };
    descend(at, removed);
    return found;
  }
}
