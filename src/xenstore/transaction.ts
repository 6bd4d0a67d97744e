/**
 * A transaction: a snapshot of the tree, its own version of it, and what it has seen.
 *
 * Every request runs in one; a request outside a transaction is a transaction of one request. Starting costs one reference. Reads
 * and writes see the snapshot and the transaction's own changes. What was observed is kept as facts by path, so that a commit
 * conflicts only with changes of what the transaction has read or written, and merges with all others.
 *
 * Operations answer a value, or a negative errno: EACCES, ENOENT, EINVAL, ENOSPC (quota), EPERM (change of owner).
 */
import { Errno } from "../abi/errno.ts";
import { type Path, parentOf, prefixOf } from "./path.ts";
import {
  Access,
  accessOf,
  formatPermissions,
  inherit,
  type Liveness,
  ownerOf,
  type Permissions,
  parsePermissions,
} from "./permissions.ts";
import type { Quotas } from "./quotas.ts";
import { childNames, graft, lookup, Node, prune, trail, walk } from "./tree.ts";

/** What a transaction needs of the store around it. */
export interface TransactionHost {
  readonly quotas: Quotas;
  readonly live: Liveness;
  nextGeneration(): number;
  /** Nodes charged to a domain in the committed tree. */
  nodesOf(domid: number): number;
}

/** What a transaction saw of a path: its node or absence, its list of children, everything below it. */
const Fact = { node: 1, listing: 2, subtree: 4 } as const;

/** A change, as it can be done again on a newer tree. */
export type Change =
  | { readonly kind: "write"; readonly path: Path; readonly value: string }
  | { readonly kind: "mkdir" | "remove"; readonly path: Path }
  | { readonly kind: "permissions"; readonly path: Path; readonly permissions: readonly string[] };

export class Transaction {
  readonly domid: number;
  /** The committed tree when it began. */
  readonly base: Node;
  /** Which domains were alive then, as a number that changes when they do. */
  readonly population: number;
  readonly #host: TransactionHost;
  readonly #facts: Map<string, { path: Path; seen: number }> | undefined;
  readonly #changes: Change[] = [];
  readonly #charged = new Map<number, number>();
  #root: Node;

  /** `observing`: other commits may come between, so observations are kept. */
  constructor(
    host: TransactionHost,
    begun: { readonly tree: Node; readonly population: number },
    domid: number,
    observing: boolean,
  ) {
    this.#host = host;
    this.base = begun.tree;
    this.population = begun.population;
    this.#root = begun.tree;
    this.domid = domid;
    this.#facts = observing ? new Map() : undefined;
  }

  /** The tree as this transaction sees it. */
  get root(): Node {
    return this.#root;
  }

  /** Effective changes, oldest first. */
  get changes(): readonly Change[] {
    return this.#changes;
  }

  /** How many nodes each domain owns more than in the snapshot. */
  get charged(): ReadonlyMap<number, number> {
    return this.#charged;
  }

  /** The value, a byte string. */
  read(path: Path): string | number {
    const node = this.#locate(path, Access.read, Fact.node);
    return typeof node === "number" ? node : node.value;
  }

  /** Names of the children, oldest first. */
  list(path: Path): string[] | number {
    const node = this.#locate(path, Access.read, Fact.node | Fact.listing);
    return typeof node === "number" ? node : childNames(node);
  }

  /** A number that stays the same as long as the list of children does. */
  listingGeneration(path: Path): number {
    const node = this.#locate(path, Access.read, Fact.node | Fact.listing);
    return typeof node === "number" ? node : node.listing;
  }

  permissions(path: Path): string[] | number {
    const node = this.#locate(path, Access.read, Fact.node);
    return typeof node === "number" ? node : formatPermissions(node.permissions, this.#host.live);
  }

  /** Sets a value; makes the node, and its parents, where they are missing. */
  write(path: Path, value: string): number {
    if (this.domid !== 0 && value.length > this.#host.quotas.valueBytes) return -Errno.ENOSPC;
    const node = this.#locate(path, Access.write, Fact.node);
    if (typeof node !== "number") this.#replace(path, node.withValue(value, this.#host.nextGeneration()));
    else if (node !== -Errno.ENOENT) return node;
    else {
      const made = this.#make(path, value);
      if (made < 0) return made;
    }
    return this.#changed({ kind: "write", path, value });
  }

  /** Makes an empty node unless there is one. */
  mkdir(path: Path): number {
    const node = this.#locate(path, Access.write, Fact.node);
    if (typeof node !== "number") return 0;
    if (node !== -Errno.ENOENT) return node;
    const made = this.#make(path, "");
    return made < 0 ? made : this.#changed({ kind: "mkdir", path });
  }

  /** Removes a node and all below it. Nothing there: 0 if its parent is there, else -ENOENT. The root: -EINVAL. */
  remove(path: Path): number {
    if (path.names.length === 0) return -Errno.EINVAL;
    const node = this.#locate(path, Access.write, Fact.node | Fact.subtree);
    if (typeof node === "number") {
      if (node !== -Errno.ENOENT) return node;
      return lookup(this.#root, parentOf(path)) === undefined ? node : 0;
    }
    walk(node, "", (_, gone) => this.#charge(gone.permissions, -1));
    this.#root = prune(trail(this.#root, path), path, this.#host.nextGeneration());
    return this.#changed({ kind: "remove", path });
  }

  /** Only the owner may, and only Domain 0 gives a node to another owner (-EPERM). */
  setPermissions(path: Path, strings: readonly string[]): number {
    const generation = this.#host.nextGeneration();
    const permissions = parsePermissions(strings, generation);
    if (typeof permissions === "number") return permissions;
    if (this.domid !== 0 && strings.length > this.#host.quotas.permissions) return -Errno.ENOSPC;
    const node = this.#locate(path, Access.write | Access.owner, Fact.node);
    if (typeof node === "number") return node;
    if (this.domid !== 0 && permissions.owner !== this.domid) return -Errno.EPERM;
    this.#charge(node.permissions, -1);
    this.#charge(permissions, 1);
    this.#replace(path, node.withPermissions(permissions, generation));
    return this.#changed({ kind: "permissions", path, permissions: strings });
  }

  /** Does a recorded change again; for a commit onto a newer tree. */
  redo(change: Change): number {
    switch (change.kind) {
      case "write":
        return this.write(change.path, change.value);
      case "mkdir":
        return this.mkdir(change.path);
      case "remove":
        return this.remove(change.path);
      case "permissions":
        return this.setPermissions(change.path, change.permissions);
    }
  }

  /** Whether everything this transaction has seen in its snapshot is still so in another tree. */
  holdsIn(tree: Node): boolean {
    for (const { path, seen } of this.#facts?.values() ?? []) {
      const before = lookup(this.base, path);
      const now = lookup(tree, path);
      if (before === now) continue;
      if (before === undefined || now === undefined || seen & Fact.subtree) return false;
      if (before.generation !== now.generation) return false;
      if (seen & Fact.listing && before.listing !== now.listing) return false;
    }
    return true;
  }

  /** The node, if it is there with the access that is needed. A missing one is told only to those who have it on the nearest parent. */
  #locate(path: Path, need: number, seen: number): Node | number {
    const nodes = trail(this.#root, path);
    const nearest = nodes[nodes.length - 1];
    const found = nodes.length === path.names.length + 1;
    this.#observe(prefixOf(path, nodes.length - 1), found ? seen : Fact.node);
    if (!found) this.#observe(prefixOf(path, nodes.length), Fact.node);
    if (this.#overfull()) return -Errno.ENOSPC;
    const access = accessOf(nearest.permissions, this.domid, this.#host.live);
    if ((access & need) !== need) return -Errno.EACCES;
    return found ? nearest : -Errno.ENOENT;
  }

  #observe(path: Path, seen: number): void {
    if (this.#facts === undefined) return;
    const fact = this.#facts.get(path.text);
    if (fact === undefined) this.#facts.set(path.text, { path, seen });
    else fact.seen |= seen;
  }

  #overfull(): boolean {
    if (this.domid === 0 || this.#facts === undefined) return false;
    return Math.max(this.#facts.size, this.#changes.length + 1) > this.#host.quotas.transactionPaths;
  }

  /** Makes a missing node with its missing parents. */
  #make(path: Path, value: string): number {
    const nodes = trail(this.#root, path);
    const depth = nodes.length - 1;
    const missing = path.names.length - depth;
    const { live, quotas } = this.#host;
    if (this.domid !== 0) {
      const owned = this.#host.nodesOf(this.domid) + (this.#charged.get(this.domid) ?? 0);
      if (owned + missing > quotas.nodes) return -Errno.ENOSPC;
    }
    const generation = this.#host.nextGeneration();
    const permissions = inherit(nodes[depth].permissions, this.domid, generation, live);
    let made = new Node(value, permissions, generation);
    for (let i = path.names.length - 1; i > depth; i--) {
      const above = new Node("", permissions, generation);
      made = graft([above], { text: "", names: [path.names[i]] }, 1, made, generation);
    }
    for (let i = 0; i < missing; i++) this.#charge(permissions, 1);
    this.#root = graft(nodes, path, depth + 1, made, generation);
    return 0;
  }

  #replace(path: Path, node: Node): void {
    this.#root = graft(trail(this.#root, path), path, path.names.length, node, 0);
  }

  #charge(permissions: Permissions, count: number): void {
    const owner = ownerOf(permissions, this.#host.live);
    this.#charged.set(owner, (this.#charged.get(owner) ?? 0) + count);
  }

  #changed(change: Change): number {
    this.#changes.push(change);
    return 0;
  }
}
