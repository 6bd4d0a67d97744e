/** A xenstore of the simplest kind, for Domain 0 alone: every path and its value in one map. The model that the real one is held to. */
import { Errno } from "../../src/abi/errno.ts";

export type Op =
  | { readonly kind: "read" | "list" | "mkdir" | "remove"; readonly path: string }
  | { readonly kind: "write"; readonly path: string; readonly value: string };

export class NaiveStore {
  readonly #nodes = new Map<string, string>([["/", ""]]);

  run(op: Op): string | number {
    const here = this.#nodes.get(op.path);
    switch (op.kind) {
      case "read":
        return here ?? -Errno.ENOENT;
      case "list": {
        if (here === undefined) return -Errno.ENOENT;
        const prefix = `${op.path}/`;
        const below = [...this.#nodes.keys()].filter((key) => key.startsWith(prefix));
        const names = below.map((key) => key.slice(prefix.length)).filter((name) => !name.includes("/"));
        return names.sort().join(" ");
      }
      case "write":
        this.#parents(op.path);
        this.#nodes.set(op.path, op.value);
        return 0;
      case "mkdir":
        this.#parents(op.path);
        if (here === undefined) this.#nodes.set(op.path, "");
        return 0;
      case "remove": {
        if (here === undefined) return this.#nodes.has(parent(op.path)) ? 0 : -Errno.ENOENT;
        for (const key of [...this.#nodes.keys()]) {
          if (key === op.path || key.startsWith(`${op.path}/`)) this.#nodes.delete(key);
        }
        return 0;
      }
    }
  }

  dump(): [string, string][] {
    return [...this.#nodes].sort(([a], [b]) => (a < b ? -1 : 1));
  }

  #parents(path: string): void {
    for (let up = parent(path); !this.#nodes.has(up); up = parent(up)) this.#nodes.set(up, "");
  }
}

function parent(path: string): string {
  return path.slice(0, path.lastIndexOf("/")) || "/";
}
