/**
 * Archives in the "new ASCII" format of cpio, which Linux unpacks as its first root file system (Linux,
 * Documentation/driver-api/early-userspace/buffer-format.rst). Everything belongs to root and has time 0: same input, same archive.
 */

export type CpioEntry =
  | { readonly path: string; readonly kind: "directory" }
  /** `mode`: permission bits. */
  | { readonly path: string; readonly kind: "file"; readonly content: Uint8Array; readonly mode: number }
  | { readonly path: string; readonly kind: "symlink"; readonly target: string }
  | { readonly path: string; readonly kind: "character device"; readonly major: number; readonly minor: number };

const MODE = { directory: 0o040755, file: 0o100000, symlink: 0o120777, "character device": 0o020600 };
const ALIGN = 4;

const hex8 = (value: number) => value.toString(16).toUpperCase().padStart(8, "0");
const padding = (length: number) => Buffer.alloc(-length & (ALIGN - 1));

function contentOf(entry: CpioEntry): Uint8Array {
  if (entry.kind === "file") return entry.content;
  return Buffer.from(entry.kind === "symlink" ? entry.target : "");
}

function member(path: string, inode: number, mode: number, content: Uint8Array, major = 0, minor = 0): Buffer {
  const name = Buffer.from(`${path}\0`);
  const links = mode === MODE.directory ? 2 : 1;
  // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
  const fields = [inode, mode, 0, 0, links, 0, content.length, 0, 0, major, minor, name.length, 0];
  const head = Buffer.concat([Buffer.from(`070701${fields.map(hex8).join("")}`), name]);
  return Buffer.concat([head, padding(head.length), content, padding(content.length)]);
}

/** Entries in the order given: a folder before what it holds. Paths without a slash in front. */
export function cpioArchive(entries: readonly CpioEntry[]): Buffer {
  const members = entries.map((entry, i) => {
    const mode = MODE[entry.kind] | (entry.kind === "file" ? entry.mode : 0);
    const [major, minor] = entry.kind === "character device" ? [entry.major, entry.minor] : [0, 0];
    return member(entry.path, i + 1, mode, contentOf(entry), major, minor);
  });
  return Buffer.concat([...members, member("TRAILER!!!", 0, 0, new Uint8Array(0))]);
}

/** The folders that `paths` stand in, each once, outer ones first. */
export function foldersOf(paths: readonly string[]): CpioEntry[] {
  const folders = new Set<string>();
  for (const path of paths) {
    for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", at + 1)) folders.add(path.slice(0, at));
  }
  return [...folders].sort().map((path) => ({ path, kind: "directory" }));
}
