/**
 * Permissions of a node: an owner, what everybody else may, and a list of exceptions by domain.
 *
 * A grant names a domid, and a domid may one day name another domain. So each set of permissions remembers the generation in
 * which it was made, and a grant counts only for a domain that was alive by then (the hole that XSA-322 describes). A node
 * whose owner is gone would belong to Domain 0; the store removes it.
 */
import { Errno } from "../abi/errno.ts";

/** What a domain may do with a node, as bits. */
export const Access = { none: 0, read: 1, write: 2, both: 3, owner: 4, all: 7 } as const;

interface Grant {
  readonly domid: number;
  readonly access: number;
}

export interface Permissions {
  readonly owner: number;
  /** Access of domains that are neither the owner nor listed. */
  readonly others: number;
  readonly grants: readonly Grant[];
  /** Store generation in which these permissions were made. */
  readonly since: number;
}

/** Says whether the domain that had this domid in a generation is the one that has it now. */
export type Liveness = (domid: number, since: number) => boolean;

const LETTERS = ["n", "r", "w", "b"] as const;
const PERMISSION = /^([nrwb])(\d{1,5})$/;

/** Parses `n5`, `r0`...: the first is the owner with everybody else's access, the rest are grants. -EINVAL if malformed. */
export function parsePermissions(strings: readonly string[], since: number): Permissions | number {
  const parsed: Grant[] = [];
  for (const text of strings) {
    const match = PERMISSION.exec(text);
    if (match === null) return -Errno.EINVAL;
    const domid = Number(match[2]);
    if (domid > 0xffff) return -Errno.EINVAL;
    parsed.push({ domid, access: LETTERS.indexOf(match[1] as (typeof LETTERS)[number]) });
  }
  if (parsed.length === 0) return -Errno.EINVAL;
  const [first, ...grants] = parsed;
  return { owner: first.domid, others: first.access, grants, since };
}

/** The strings that `parsePermissions` takes. Grants of domains that are gone are told, though they count no more, as xenstored tells them. */
export function formatPermissions(permissions: Permissions, live: Liveness): string[] {
  const grants = permissions.grants.map(({ domid, access }) => `${LETTERS[access]}${domid}`);
  return [`${LETTERS[permissions.others]}${ownerOf(permissions, live)}`, ...grants];
}

/** The domain to which a node's bytes are charged. */
export function ownerOf(permissions: Permissions, live: Liveness): number {
  return live(permissions.owner, permissions.since) ? permissions.owner : 0;
}

/** Bits of `Access` that a domain has. Domain 0 may do everything. */
export function accessOf(permissions: Permissions, domid: number, live: Liveness): number {
  if (domid === 0) return Access.all;
  if (permissions.owner === domid && live(domid, permissions.since)) return Access.all;
  for (const grant of permissions.grants) {
    if (grant.domid === domid && live(domid, permissions.since)) return grant.access;
  }
  return permissions.others;
}

/** What a node made by `creator` under a parent gets: the parent's, but a guest owns what it makes. */
export function inherit(parent: Permissions, creator: number, since: number, live: Liveness): Permissions {
  const owner = creator === 0 ? ownerOf(parent, live) : creator;
  if (owner === parent.owner && live(owner, parent.since)) return parent;
  const grants = parent.grants.filter(({ domid }) => live(domid, parent.since));
  return { owner, others: parent.others, grants, since };
}
