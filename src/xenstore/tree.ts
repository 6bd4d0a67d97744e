/**
 * The tree of nodes: immutable, so that a snapshot of the whole store is one reference.
 *
 * An update copies the nodes from the root to the changed one and shares everything else. A node's `generation` changes when
 * the node itself is written or made; `listing` changes when a child appears or goes. Generations are never used twice, so they
 * also tell the order in which children were made, which is the order in which they are listed.
 */
import type { Path } from "./path.ts";
import type { Permissions } from "./permissions.ts";
import { each, get, type SortedMap, set, without } from "./sorted-map.ts";

export class Node {
  /** A byte string. */
  readonly value: string;
  readonly permissions: Permissions;
  readonly children: SortedMap<Node>;
  readonly generation: number;
  readonly listing: number;
  /** Generation in which the node was made. */
  readonly made: number;

  constructor(
    value: string,
    permissions: Permissions,
    generation: number,
    children: SortedMap<Node> = undefined,
    listing = generation,
    made = generation,
  ) {
    this.value = value;
    this.permissions = permissions;
    this.children = children;
    this.generation = generation;
    this.listing = listing;
    this.made = made;
  }

  withValue(value: string, generation: number): Node {
    return new Node(value, this.permissions, generation, this.children, this.listing, this.made);
  }

  withPermissions(permissions: Permissions, generation: number): Node {
    return new Node(this.value, permissions, generation, this.children, this.listing, this.made);
  }

  /** With a child put in or taken out; `listing` is a new generation if that changes the list of names. */
  withChildren(children: SortedMap<Node>, listing: number): Node {
    return new Node(this.value, this.permissions, this.generation, children, listing, this.made);
  }
}

export function lookup(root: Node, path: Path): Node | undefined {
  let node: Node | undefined = root;
  for (const name of path.names) {
    node = get(node.children, name);
    if (node === undefined) return undefined;
  }
  return node;
}

/** Nodes from the root towards a path, as far as they exist; the root is always there. */
export function trail(root: Node, path: Path): Node[] {
  const nodes = [root];
  let node = root;
  for (const name of path.names) {
    const child = get(node.children, name);
    if (child === undefined) break;
    nodes.push(child);
    node = child;
  }
  return nodes;
}

/**
 * A new root in which the node at `names[depth - 1]` is `node`. `trail` holds the existing nodes above it, root first, as many
 * as `depth`. `generation` marks a parent whose list of names grows.
 */
export function graft(nodes: readonly Node[], path: Path, depth: number, node: Node, generation: number): Node {
  let below = node;
  for (let i = depth - 1; i >= 0; i--) {
    const above = nodes[i];
    const isNew = i === depth - 1 && get(above.children, path.names[i]) === undefined;
    below = above.withChildren(set(above.children, path.names[i], below), isNew ? generation : above.listing);
  }
  return below;
}

/** A new root without the node at `path` and all below it. `nodes` is its trail, which must be complete; not for the root. */
export function prune(nodes: readonly Node[], path: Path, generation: number): Node {
  const depth = path.names.length - 1;
  const parent = nodes[depth];
  const shorn = parent.withChildren(without(parent.children, path.names[depth]), generation);
  return graft(nodes, path, depth, shorn, generation);
}

/** Names of a node's children, oldest first. */
export function childNames(node: Node): string[] {
  const children: { name: string; made: number }[] = [];
  each(node.children, (name, { made }) => children.push({ name, made }));
  return children.sort((a, b) => a.made - b.made).map(({ name }) => name);
}

/** Calls back for a node and everything below it, parents first, children in order of names. */
export function walk(node: Node, text: string, visit: (text: string, node: Node) => void): void {
  visit(text, node);
  const prefix = text === "/" ? "/" : `${text}/`;
  each(node.children, (name, child) => walk(child, prefix + name, visit));
}
