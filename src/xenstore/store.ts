/**
 * The store: the committed tree, the domains that may use it, and the watches on it.
 *
 * Everything happens in `commit`, one at a time: a transaction is checked against the committed tree, becomes it, and its events go
 * out. There is no other writer, so the node counts of domains are always those of the committed tree.
 */
import { Errno } from "../abi/errno.ts";
import { Bug } from "./bug.ts";
import { type Path, parentOf, ROOT } from "./path.ts";
import { Access, accessOf, formatPermissions, ownerOf, type Permissions, parsePermissions } from "./permissions.ts";
import { type Quotas, XEN_QUOTAS } from "./quotas.ts";
import { each } from "./sorted-map.ts";
import { Transaction, type TransactionHost } from "./transaction.ts";
import { lookup, Node } from "./tree.ts";
import { SPECIAL_PATHS, type Watch, WatchTable } from "./watches.ts";

/** What the store knows of a domain that is alive. */
interface Account {
  /** Generation in which it came to life: older grants to its domid meant another domain. */
  readonly since: number;
  /** Nodes it owns in the committed tree. */
  nodes: number;
  /** Whether it is connected, as XS_IS_DOMAIN_INTRODUCED tells. */
  introduced: boolean;
}

export type SpecialEvent = "@introduceDomain" | "@releaseDomain";

export class Store implements TransactionHost {
  readonly quotas: Quotas;
  readonly #accounts = new Map<number, Account>([[0, { since: 0, nodes: 0, introduced: true }]]);
  readonly #watches = new WatchTable();
  readonly #special = new Map<string, Permissions>();
  #generation = 1;
  /** Counts changes of the set of living domains. */
  #population = 0;
  #root: Node;

  constructor(quotas: Quotas = XEN_QUOTAS) {
    this.quotas = quotas;
    const permissions: Permissions = { owner: 0, others: Access.none, grants: [], since: 0 };
    this.#root = new Node("", permissions, 0);
    for (const name of SPECIAL_PATHS.keys()) this.#special.set(name, permissions);
  }

  /** The committed tree: a snapshot that never changes. */
  get root(): Node {
    return this.#root;
  }

  nextGeneration(): number {
    return ++this.#generation;
  }

  readonly live = (domid: number, since: number): boolean => {
    const account = this.#accounts.get(domid);
    return account !== undefined && account.since <= since;
  };

  nodesOf(domid: number): number {
    return this.#accounts.get(domid)?.nodes ?? 0;
  }

  /** A domain comes to life: from now on nodes can be given to it. Before its nodes are made. */
  addDomain(domid: number): void {
    if (this.#accounts.has(domid)) throw new Bug(`xenstore knows domain ${domid} already`);
    this.#accounts.set(domid, { since: this.nextGeneration(), nodes: 0, introduced: false });
    this.#population++;
  }

  /**
   * A domain is gone. What it owned goes with it, wherever that is and whatever is below: two guests that reboot in turn could else fill
   * the store with nodes that are nobody's (XSA-419). What was granted to it is void.
   */
  removeDomain(domid: number): void {
    const account = domid === 0 ? undefined : this.#accounts.get(domid);
    if (account === undefined) throw new Bug(`xenstore knows no domain ${domid} to forget`);
    if (account.nodes > 0) this.#removeNodesOf(domid);
    this.#accounts.delete(domid);
    this.#population++;
  }

  #removeNodesOf(domid: number): void {
    const removal = this.begin(0, false);
    const look = (node: Node, path: Path): void => {
      if (ownerOf(node.permissions, this.live) === domid) removal.remove(path);
      else
        each(node.children, (name, child) => {
          look(child, { text: `${path.names.length === 0 ? "" : path.text}/${name}`, names: [...path.names, name] });
        });
    };
    look(this.#root, ROOT);
    this.commit(removal);
  }

  setIntroduced(domid: number, introduced: boolean): void {
    const account = this.#accounts.get(domid);
    if (account === undefined) throw new Bug(`xenstore knows no domain ${domid}`);
    account.introduced = introduced;
  }

  isIntroduced(domid: number): boolean {
    return this.#accounts.get(domid)?.introduced ?? false;
  }

  /** A transaction over the tree as it is now. `observing` is false if it is committed before anything else is. */
  begin(domid: number, observing: boolean): Transaction {
    return new Transaction(this, { tree: this.#root, population: this.#population }, domid, observing);
  }

  /** 0, -EAGAIN (something it has read or written was changed since) or -ENOSPC (quota); the transaction is over either way. */
  commit(transaction: Transaction): number {
    let merged = transaction;
    if (transaction.base !== this.#root || transaction.population !== this.#population) {
      if (!transaction.holdsIn(this.#root)) return -Errno.EAGAIN;
      merged = this.begin(transaction.domid, false);
      for (const change of transaction.changes) if (merged.redo(change) < 0) return -Errno.EAGAIN;
    }
    if (merged.changes.length === 0) return 0;
    for (const [domid, count] of merged.charged) {
      if (transaction.domid === 0 || domid === 0 || count <= 0) continue;
      if (this.nodesOf(domid) + count > this.quotas.nodes) return -Errno.ENOSPC;
    }
    for (const [domid, count] of merged.charged) {
      const account = this.#accounts.get(domid);
      if (account !== undefined) account.nodes += count;
    }
    const before = this.#root;
    this.#root = merged.root;
    this.#announce(merged, before);
    return 0;
  }

  /** Adds a watch and fires it once. */
  watch(watch: Watch): void {
    this.#watches.add(watch);
    watch.owner.watchEvent(watch.path.text.slice(watch.cut), watch.token);
  }

  unwatch(watch: Watch): void {
    this.#watches.delete(watch);
  }

  /** Tells those that watch a special event and may read it. */
  fireSpecial(name: SpecialEvent): void {
    const path = SPECIAL_PATHS.get(name);
    const permissions = this.#special.get(name);
    if (path === undefined || permissions === undefined) throw new Bug(`no special event ${name}`);
    for (const watch of this.#watches.covering(path)) {
      if (watch.path !== path) continue;
      if (accessOf(permissions, watch.owner.domid, this.live) & Access.read) watch.owner.watchEvent(name, watch.token);
    }
  }

  /** Permissions of a special event's node; -ENOENT, -EACCES. */
  specialPermissions(name: string, domid: number): string[] | number {
    const permissions = this.#special.get(name);
    if (permissions === undefined) return -Errno.ENOENT;
    if (!(accessOf(permissions, domid, this.live) & Access.read)) return -Errno.EACCES;
    return formatPermissions(permissions, this.live);
  }

  /** Domain 0 decides who may see special events; -EACCES for others. */
  setSpecialPermissions(name: string, domid: number, strings: readonly string[]): number {
    if (!this.#special.has(name)) return -Errno.ENOENT;
    if (domid !== 0) return -Errno.EACCES;
    const permissions = parsePermissions(strings, this.nextGeneration());
    if (typeof permissions === "number") return permissions;
    this.#special.set(name, permissions);
    return 0;
  }

  #announce(transaction: Transaction, before: Node): void {
    const told = new Set<string>();
    for (const { path, kind } of transaction.changes) {
      if (kind !== "remove" && told.has(path.text)) continue;
      told.add(path.text);
      const old = lookup(before, path);
      const now = lookup(this.#root, path);
      // Made and removed again within the transaction.
      if (old === undefined && now === undefined) continue;
      const parents = [lookup(before, parentOf(path)), lookup(this.#root, parentOf(path))];
      for (const watch of this.#watches.covering(path)) {
        if (this.#maySee(watch, old, now, ...parents)) {
          watch.owner.watchEvent(path.text.slice(watch.cut), watch.token);
        }
      }
      if (kind !== "remove" || old === undefined) continue;
      for (const { watch, node, parent } of this.#watches.below(path, old)) {
        if (this.#maySee(watch, node, parent)) watch.owner.watchEvent(watch.path.text.slice(watch.cut), watch.token);
      }
    }
  }

  /** A change is told to those that can read the node or its parent, as it was or as it is (XSA-115). */
  #maySee(watch: Watch, ...nodes: readonly (Node | undefined)[]): boolean {
    for (const node of nodes) {
      if (node === undefined) continue;
      if (accessOf(node.permissions, watch.owner.domid, this.live) & Access.read) return true;
    }
    return false;
  }
}
