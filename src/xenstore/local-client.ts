/**
 * Domain 0's own access to the store, by function calls.
 *
 * Values are text, stored as UTF-8. Watches are told between operations, never in the middle of one: events queue until
 * `deliver`. A malformed path is Domain 0's own mistake: `Bug`.
 */
import { Errno } from "../abi/errno.ts";
import { Bug } from "./bug.ts";
import { encodeText } from "./byte-string.ts";
import { homeOf, type Path, parsePath } from "./path.ts";
import type { Store } from "./store.ts";
import type { Transaction } from "./transaction.ts";
import { SPECIAL_PATHS, type WatchOwner } from "./watches.ts";

export type WatchCallback = (path: string) => void;

/** Reads and writes of Domain 0, alone or in a transaction. */
export class LocalView {
  readonly #run: <T>(operation: (transaction: Transaction) => T) => T;

  constructor(run: <T>(operation: (transaction: Transaction) => T) => T) {
    this.#run = run;
  }

  /** The value as text, or undefined if there is no node. */
  read(path: string): string | undefined {
    const value = this.#run((transaction) => transaction.read(parse(path)));
    return typeof value === "number" ? undefined : Buffer.from(value, "latin1").toString("utf8");
  }

  /** Names of the children, oldest first; undefined if there is no node. */
  list(path: string): readonly string[] | undefined {
    const names = this.#run((transaction) => transaction.list(parse(path)));
    return typeof names === "number" ? undefined : names;
  }

  /** As in `n0 r5`; undefined if there is no node. */
  permissions(path: string): readonly string[] | undefined {
    const strings = this.#run((transaction) => transaction.permissions(parse(path)));
    return typeof strings === "number" ? undefined : strings;
  }

  /** Sets a value, makes what is missing, and sets permissions if they are given. */
  write(path: string, value: string, permissions?: readonly string[]): void {
    this.#run((transaction) => {
      check(transaction.write(parse(path), encodeText(value)), path);
      if (permissions !== undefined) check(transaction.setPermissions(parse(path), permissions), path);
    });
  }

  /** Removes a node with everything below it, if it is there. */
  remove(path: string): void {
    this.#run((transaction) => {
      const result = transaction.remove(parse(path));
      if (result !== -Errno.ENOENT) check(result, path);
    });
  }
}

export class LocalClient extends LocalView {
  readonly #store: Store;
  #events: { path: string; callback: WatchCallback; owner: WatchOwner }[] = [];
  readonly #owners = new Set<WatchOwner>();

  constructor(store: Store) {
    super((operation) => {
      const transaction = store.begin(0, false);
      const result = operation(transaction);
      check(store.commit(transaction), "/");
      return result;
    });
    this.#store = store;
  }

  /** Several operations as one: all of them are seen, and told to watches, at once. */
  transaction<T>(body: (view: LocalView) => T): T {
    const transaction = this.#store.begin(0, false);
    const result = body(new LocalView((operation) => operation(transaction)));
    check(this.#store.commit(transaction), "/");
    return result;
  }

  /** An operation whose refusals are its result: what it did becomes the tree if it says `ok`, else nothing happens. */
  request<T extends { readonly ok: boolean }>(operation: (transaction: Transaction) => T): T {
    const transaction = this.#store.begin(0, false);
    const result = operation(transaction);
    if (result.ok) check(this.#store.commit(transaction), "/");
    return result;
  }

  /** Calls back once now (at the next delivery) and for every change at or below `path`. Returns what ends the watch. */
  watch(path: string, callback: WatchCallback): () => void {
    const owner: WatchOwner = {
      domid: 0,
      watchEvent: (changed) => {
        this.#events.push({ path: changed, callback, owner });
      },
    };
    const watch = { owner, path: SPECIAL_PATHS.get(path) ?? parse(path), token: "", cut: 0 };
    this.#owners.add(owner);
    this.#store.watch(watch);
    return () => {
      this.#owners.delete(owner);
      this.#store.unwatch(watch);
    };
  }

  /** Tells watches what happened since. False if there was nothing to tell. */
  deliver(): boolean {
    const events = this.#events;
    this.#events = [];
    for (const { path, callback, owner } of events) if (this.#owners.has(owner)) callback(path);
    return events.length > 0;
  }
}

function parse(text: string): Path {
  const path = parsePath(text, homeOf(0));
  if (typeof path === "number") throw new Bug(`Domain 0 uses a malformed xenstore path: ${JSON.stringify(text)}`);
  return path;
}

function check(result: number, path: string): void {
  if (result < 0) throw new Bug(`Domain 0's xenstore operation on ${path} was refused: errno ${-result}`);
}
