/** Who asks: the holder of a token, the owner of the state folder, or nobody in particular; and what each may. */

/** Each may do all that those before it may. */
export const ROLES = ["viewer", "operator", "admin"] as const;
export type Role = (typeof ROLES)[number];

export interface RateLimit {
  /** Requests a second, in the long run. */
  readonly perSecond: number;
  /** Requests at once, after a pause. */
  readonly burst: number;
}

export interface Caller {
  /** The token's id, `root` for the one in the state folder, `socket` for the unix socket, `nobody` without either. */
  readonly id: string;
  /** For people. */
  readonly name: string;
  readonly role: Role;
  readonly projects: readonly string[] | "all";
  readonly rateLimit: RateLimit | null;
  /** Aborts when the token is revoked or has expired: whatever it holds open ends then. */
  readonly ended: AbortSignal;
}

const NEVER = new AbortController().signal;

/** The token in the state folder: whoever can read that file. */
export const ROOT: Caller = {
  id: "root",
  name: "root",
  role: "admin",
  projects: "all",
  rateLimit: null,
  ended: NEVER,
};

/** The unix socket: whoever can open it. */
export const SOCKET: Caller = { ...ROOT, id: "socket", name: "socket" };

/** Asks what is open to everybody, or has not been let in. */
export const NOBODY: Caller = { ...ROOT, id: "nobody", name: "nobody", role: "viewer", projects: [] };

export function hasRole(role: Role, least: Role): boolean {
  return ROLES.indexOf(role) >= ROLES.indexOf(least);
}

/** Is what belongs to `project` there for the caller? What belongs to none is the host's. */
export function sees({ projects }: Caller, project: string | null): boolean {
  return projects === "all" || (project !== null && projects.includes(project));
}

/** For a list: the projects that it is limited to. */
export function sightOf({ projects }: Caller): { readonly projects?: readonly string[] } {
  return projects === "all" ? {} : { projects };
}
