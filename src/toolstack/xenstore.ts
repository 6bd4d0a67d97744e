/**
 * Xenstore for the people who run the host: all of it, or the part of one running domain.
 *
 * A place is an absolute path, or a path relative to the home of a domain; both become absolute here and nowhere else. A relative
 * path cannot leave its home: xenstore has no name that would.
 */

import type { Domctl } from "../machine/domctl.ts";
import type {
  ChildrenPage,
  XenstoreNode,
  XenstoreRefusal,
  XenstoreWrite,
  XenstoreWritten,
} from "../machine/xenstore-access.ts";
import { homeOf } from "../xenstore/path.ts";
import type { DomainRecord } from "./model.ts";
import { done, type Refusal, type RefusalCode, type Result, refuse } from "./refusal.ts";

export type { XenstoreNode };

export interface Place {
  /** A domain's uuid or name; then `path` is relative to its home, or empty for the home itself. */
  readonly domain?: string;
  readonly path: string;
}

export interface XenstoreWatch {
  /** The absolute path that is watched. */
  readonly path: string;
  /** The domid whose home it is in, where it was asked for by domain: it is another one's after the domain's next start. */
  readonly domid: number | undefined;
  end(): void;
}

interface XenstoreOptions {
  readonly domctl: Domctl;
  find(reference: string): Result<DomainRecord>;
}

export class Xenstore {
  readonly #options: XenstoreOptions;

  constructor(options: XenstoreOptions) {
    this.#options = options;
  }

  async read(place: Place, page: ChildrenPage): Promise<Result<XenstoreNode>> {
    const at = this.#locate(place);
    if (!at.ok) return at;
    const read = await this.#access.read(at.value.path, page);
    return read.ok ? read : fromXenstore(read);
  }

  /** Writes, and gives the node as it was then. */
  async write(place: Place, what: Omit<XenstoreWrite, "path">): Promise<Result<XenstoreWritten>> {
    const at = this.#locate(place);
    if (!at.ok) return at;
    const { path, domid } = at.value;
    const written = await this.#access.write([{ path, ...what }], domid === undefined ? undefined : homeOf(domid));
    return written.ok ? written : fromXenstore(written);
  }

  async remove(place: Place): Promise<Result<void>> {
    const at = this.#locate(place);
    if (!at.ok) return at;
    const removed = await this.#access.remove(at.value.path);
    return removed.ok ? removed : fromXenstore(removed);
  }

  /** See `XenstoreAccess.watch`. */
  async watch(place: Place, listener: (paths: readonly string[]) => void): Promise<Result<XenstoreWatch>> {
    const at = this.#locate(place);
    if (!at.ok) return at;
    const watching = await this.#access.watch(at.value.path, listener);
    return watching.ok ? done({ ...at.value, end: watching.value }) : fromXenstore(watching);
  }

  get #access() {
    return this.#options.domctl.xenstore;
  }

  #locate({ domain, path }: Place): Result<{ path: string; domid: number | undefined }> {
    if (domain === undefined) return done({ path, domid: undefined });
    const found = this.#options.find(domain);
    if (!found.ok) return found;
    const { domid, name, state } = found.value;
    if (domid === null)
      return refuse("wrong-state", `Domain ${name} is ${state} and has no part of xenstore; start it first.`);
    if (/^[/@]/.test(path))
      return refuse("bad-path", "The path of a node of a domain is relative to its home: memory/target, say.", {
        field: "path",
      });
    const home = homeOf(domid);
    return done({ path: path === "" ? home : `${home}/${path}`, domid });
  }
}

const CODES: Readonly<Record<XenstoreRefusal["code"], { code: RefusalCode; field?: string }>> = {
  "bad-path": { code: "bad-path", field: "path" },
  "home-gone": { code: "wrong-state" },
  "node-not-found": { code: "node-not-found", field: "path" },
  "value-too-large": { code: "value-too-large", field: "value" },
  "bad-permissions": { code: "bad-value", field: "permissions" },
  "too-many-watches": { code: "too-many-watches", field: "path" },
};

function fromXenstore({ code, detail, limit }: XenstoreRefusal): Refusal {
  const known = CODES[code];
  return refuse(known.code, detail, {
    ...(known.field !== undefined && { field: known.field }),
    ...(limit !== undefined && { limit }),
  });
}
