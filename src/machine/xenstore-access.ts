/**
 * Domain 0's xenstore as the control plane sees it: single requests, each a transaction of its own, and watches.
 *
 * Paths are absolute. Values are bytes. What xenstore refuses comes back as a value with the errno's meaning, never as an exception.
 */

/** Why xenstore did not do it. `limit`: the bound that was passed, where there is one. */
export interface XenstoreRefusal {
  readonly ok: false;
  readonly code:
    | "bad-path"
    | "node-not-found"
    | "home-gone"
    | "value-too-large"
    | "bad-permissions"
    | "too-many-watches";
  readonly detail: string;
  readonly limit?: number;
}

export type XenstoreResult<T> = { readonly ok: true; readonly value: T } | XenstoreRefusal;

/** A node, with a page of the names of its children. */
export interface XenstoreNode {
  readonly path: string;
  readonly value: Uint8Array;
  /** As xenstore writes them: the owner with what everybody may (`n0`), then grants (`r5`). */
  readonly permissions: readonly string[];
  /** In order of names. */
  readonly children: readonly string[];
  /** The last name given where there are more; pass it as `after`. */
  readonly next: string | null;
}

export interface ChildrenPage {
  /** Names after this one; all of them unless given. */
  readonly after?: string;
  readonly limit: number;
}

/** What one answer holds unless it is asked for less. */
export const FIRST_PAGE: ChildrenPage = { limit: 1000 };

export interface XenstoreWrite {
  readonly path: string;
  /** Left as it is unless given; a node that is made is empty then. */
  readonly value?: Uint8Array;
  /** Left as they are, or inherited from the parent, unless given. */
  readonly permissions?: readonly string[];
}

/** What was written. */
export interface XenstoreWritten {
  /** Whether the first of the nodes was not there before. */
  readonly made: boolean;
  /** The first of the nodes as it is then. */
  readonly node: XenstoreNode;
}

/** Answers that only a service thread gives: what goes over the line between control plane and services worker. */
export interface XenstorePort {
  xenstoreRead(path: string, page: ChildrenPage): XenstoreResult<XenstoreNode>;
  /**
   * All of the writes or none. `home`: the home of the domain that they are for, which has to be there still: a write makes a node's
   * parents, and would otherwise leave nodes that are nobody's behind a domain that has just gone.
   */
  xenstoreWrite(writes: readonly XenstoreWrite[], home?: string): XenstoreResult<XenstoreWritten>;
  /** Removes a node with everything below it. */
  xenstoreRemove(path: string): XenstoreResult<void>;
  /** Registers a watch under a number that the caller has not given to another. */
  xenstoreWatch(watch: number, path: string): XenstoreResult<void>;
  xenstoreUnwatch(watch: number): void;
}

export interface XenstoreEvents {
  /** Paths that changed since the last time; the watched path itself when they were too many to name. */
  xenstoreChanged(watch: number, paths: readonly string[]): void;
}

export interface XenstoreAccess {
  read(path: string, page?: ChildrenPage): Promise<XenstoreResult<XenstoreNode>>;
  /** See `XenstorePort.xenstoreWrite`. */
  write(writes: readonly XenstoreWrite[], home?: string): Promise<XenstoreResult<XenstoreWritten>>;
  remove(path: string): Promise<XenstoreResult<void>>;
  /**
   * Calls back once soon, with the watched path, and then after changes at or below it, several at a time: each path once, and
   * the watched path alone when there were too many to name. `path` may be @introduceDomain or @releaseDomain. Gives what ends it.
   */
  watch(path: string, listener: (paths: readonly string[]) => void): Promise<XenstoreResult<() => void>>;
}
