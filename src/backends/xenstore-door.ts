/**
 * The door by which people reach xenstore with Domain 0's rights: single requests and watches, with errors as values.
 *
 * Nobody can flood who listens: a watch's events are collected for a while, each path once, and when there are too many paths to name
 * the watched path alone stands for all below it.
 */
import { Errno } from "../abi/errno.ts";
import {
  type ChildrenPage,
  FIRST_PAGE,
  type XenstoreNode,
  type XenstorePort,
  type XenstoreRefusal,
  type XenstoreResult,
  type XenstoreWrite,
  type XenstoreWritten,
} from "../machine/xenstore-access.ts";
import { Bug } from "../xenstore/bug.ts";
import { byteString } from "../xenstore/byte-string.ts";
import type { LocalClient } from "../xenstore/local-client.ts";
import { homeOf, type Path, parsePath } from "../xenstore/path.ts";
import { namesAfter } from "../xenstore/sorted-map.ts";
import type { Transaction } from "../xenstore/transaction.ts";
import { lookup } from "../xenstore/tree.ts";
import { SPECIAL_PATHS } from "../xenstore/watches.ts";
import { PAYLOAD_MAX } from "../xenstore/wire.ts";

const COLLECT_NS = 20e6;
const MOST_PATHS = 256;
const MOST_WATCHES = 1024;
const NEVER = Number.POSITIVE_INFINITY;

interface Watching {
  readonly path: string;
  readonly unwatch: () => void;
  readonly changed: Set<string>;
}

const done: XenstoreResult<void> = { ok: true, value: undefined };

export interface XenstoreDoorOptions {
  readonly xenstore: LocalClient;
  /** Monotonic time, ns. */
  now(): number;
  changed(watch: number, paths: readonly string[]): void;
}

export class XenstoreDoor implements XenstorePort {
  readonly #options: XenstoreDoorOptions;
  readonly #watches = new Map<number, Watching>();
  readonly #due = new Set<number>();
  /** When the collected events go out. */
  #at = NEVER;

  constructor(options: XenstoreDoorOptions) {
    this.#options = options;
  }

  xenstoreRead(text: string, page: ChildrenPage): XenstoreResult<XenstoreNode> {
    const path = parse(text);
    if ("ok" in path) return path;
    return this.#options.xenstore.request((transaction) => readOne(transaction, path, page));
  }

  xenstoreWrite(writes: readonly XenstoreWrite[], home?: string): XenstoreResult<XenstoreWritten> {
    return this.#options.xenstore.request((transaction): XenstoreResult<XenstoreWritten> => {
      const parsed = writes.map(({ path }) => parse(path));
      for (const path of parsed) if ("ok" in path) return path;
      const paths = parsed as readonly Path[];
      if (home !== undefined && !isThere(transaction, home))
        return { ok: false, code: "home-gone", detail: `${home} is gone: its domain has ended.` };
      const first = paths[0]!;
      const made = lookup(transaction.root, first) === undefined;
      for (const [index, write] of writes.entries()) {
        const refusal = writeOne(transaction, paths[index]!, write);
        if (refusal) return refusal;
      }
      const node = readOne(transaction, first, FIRST_PAGE);
      return node.ok ? { ok: true, value: { made, node: node.value } } : node;
    });
  }

  xenstoreRemove(text: string): XenstoreResult<void> {
    const path = parse(text);
    if ("ok" in path) return path;
    if (path.names.length === 0) return { ok: false, code: "bad-path", detail: "The root cannot be removed." };
    return this.#options.xenstore.request((transaction) => {
      if (lookup(transaction.root, path) === undefined) return missing(text);
      check(transaction.remove(path), text);
      return done;
    });
  }

  xenstoreWatch(watch: number, text: string): XenstoreResult<void> {
    if (!SPECIAL_PATHS.has(text)) {
      const path = parse(text);
      if ("ok" in path) return path;
    }
    if (this.#watches.size >= MOST_WATCHES) {
      const detail = `${MOST_WATCHES} watches are open already: end one first.`;
      return { ok: false, code: "too-many-watches", detail, limit: MOST_WATCHES };
    }
    const changed = new Set<string>();
    const unwatch = this.#options.xenstore.watch(text, (path) => {
      if (changed.has(text) && changed.size > MOST_PATHS) return;
      changed.add(path);
      if (changed.size > MOST_PATHS) changed.add(text);
      this.#due.add(watch);
      this.#at = Math.min(this.#at, this.#options.now() + COLLECT_NS);
    });
    this.#watches.set(watch, { path: text, unwatch, changed });
    return done;
  }

  xenstoreUnwatch(watch: number): void {
    this.#watches.get(watch)?.unwatch();
    this.#watches.delete(watch);
    this.#due.delete(watch);
  }

  /** Tells what is due. When to call again, ns; Infinity if only after events. */
  run(): number {
    if (this.#options.now() < this.#at) return this.#at;
    this.#at = NEVER;
    for (const watch of this.#due) {
      const watching = this.#watches.get(watch);
      if (watching === undefined) continue;
      const { changed, path } = watching;
      this.#options.changed(watch, changed.size > MOST_PATHS ? [path] : [...changed]);
      changed.clear();
    }
    this.#due.clear();
    return NEVER;
  }
}

function readOne(
  transaction: Transaction,
  path: Path,
  { after = "", limit }: ChildrenPage,
): XenstoreResult<XenstoreNode> {
  const value = transaction.read(path);
  const permissions = transaction.permissions(path);
  const node = lookup(transaction.root, path);
  if (typeof value === "number" || typeof permissions === "number" || node === undefined) return missing(path.text);
  const children = namesAfter(node.children, after, limit + 1);
  const more = children.length > limit;
  if (more) children.pop();
  const next = more ? (children.at(-1) ?? null) : null;
  return { ok: true, value: { path: path.text, value: Buffer.from(value, "latin1"), permissions, children, next } };
}

function isThere(transaction: Transaction, text: string): boolean {
  const path = parse(text);
  return !("ok" in path) && lookup(transaction.root, path) !== undefined;
}

function writeOne(transaction: Transaction, path: Path, write: XenstoreWrite): XenstoreRefusal | undefined {
  const { value, permissions } = write;
  // What no READ could give back to a guest, and no WRITE could bring.
  const most = PAYLOAD_MAX - path.text.length - 1;
  if (value !== undefined && value.length > most) {
    const detail = `A value has at most ${most} bytes at this path: it travels in one message with it.`;
    return { ok: false, code: "value-too-large", detail, limit: most };
  }
  const result = value === undefined ? transaction.mkdir(path) : transaction.write(path, byteString(value));
  check(result, path.text);
  if (permissions === undefined) return undefined;
  const granted = transaction.setPermissions(path, permissions);
  if (granted === -Errno.EINVAL) {
    const detail = "Permissions are n, r, w or b with a domid each, as in n0 and r5; the first names the owner.";
    return { ok: false, code: "bad-permissions", detail };
  }
  check(granted, path.text);
  return undefined;
}

function parse(text: string): Path | XenstoreRefusal {
  const path = text.startsWith("/") ? parsePath(text, homeOf(0)) : -Errno.EINVAL;
  if (typeof path !== "number") return path;
  return {
    ok: false,
    code: "bad-path",
    detail:
      "A path starts with a slash and does not end with one, has names of letters, digits, '-', '_' and '@', and at most 2048 bytes below a domain's home.",
  };
}

function missing(text: string): XenstoreRefusal {
  return { ok: false, code: "node-not-found", detail: `There is no node ${text}.` };
}

function check(result: number, path: string): void {
  if (result < 0) throw new Bug(`Domain 0's xenstore operation on ${path} was refused: errno ${-result}`);
}
