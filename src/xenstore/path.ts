/**
 * Paths of nodes. A parsed path is always absolute, and its text is canonical: one spelling for each node.
 *
 * Characters, slashes and lengths are those of Xen's docs/misc/xenstore.txt; relative paths stand under the caller's home,
 * `/local/domain/<domid>`.
 */
import { Errno } from "../abi/errno.ts";
import { XENSTORE_ABS_PATH_MAX, XENSTORE_REL_PATH_MAX } from "../abi/io-xenstore.ts";

export interface Path {
  /** Starts with a slash; no slash at the end but for the root. */
  readonly text: string;
  /** Names from the root down; the root has none. */
  readonly names: readonly string[];
}

export const ROOT: Path = { text: "/", names: [] };

const CHARACTERS = /^[A-Za-z0-9\-/_@]+$/;
const DOMAIN_PREFIX = /^\/local\/domain\/\d{1,5}\//;

/** The home of a domain, where its relative paths begin. */
export function homeOf(domid: number): string {
  return `/local/domain/${domid}`;
}

/**
 * Parses a path as a domain sends it. -EINVAL if it is empty, has a character outside [A-Za-z0-9-/_@], a doubled or trailing
 * slash, starts with @, or is too long: 2048 bytes relative (or below a domain's home, or absolute elsewhere beyond
 * `longest`), 3072 in all.
 */
export function parsePath(text: string, home: string, longest = XENSTORE_REL_PATH_MAX): Path | number {
  const relative = text.charCodeAt(0) !== 0x2f;
  if (relative && (text.length > longest || text.charCodeAt(0) === 0x40)) return -Errno.EINVAL;
  if (!CHARACTERS.test(text)) return -Errno.EINVAL;
  const full = relative ? `${home}/${text}` : text;
  if (full === "/") return ROOT;
  if (full.length > XENSTORE_ABS_PATH_MAX || full.endsWith("/") || full.includes("//")) return -Errno.EINVAL;
  const local = DOMAIN_PREFIX.exec(full)?.[0].length ?? 0;
  if (full.length - local > longest) return -Errno.EINVAL;
  return { text: full, names: full.slice(1).split("/") };
}

/** The path one step up. The root has no parent: it is its own. */
export function parentOf(path: Path): Path {
  return prefixOf(path, path.names.length - 1);
}

/** The first `depth` names of a path, as a path. */
export function prefixOf(path: Path, depth: number): Path {
  if (depth <= 0) return ROOT;
  if (depth >= path.names.length) return path;
  const names = path.names.slice(0, depth);
  return { text: `/${names.join("/")}`, names };
}
