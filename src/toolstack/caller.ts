/** Who asks: the holder of a token, the owner of the state folder, or nobody in particular. */

/** Each may do all that those before it may. */
export const ROLES = ["viewer", "operator", "admin"] as const;
export type Role = (typeof ROLES)[number];

export interface Caller {
  /** The token's id, `root` for the one in the state folder, `socket` for the unix socket, `nobody` without either. */
  readonly id: string;
  /** For people. */
  readonly name: string;
  readonly role: Role;
  readonly projects: readonly string[] | "all";
}

/** The token in the state folder: whoever can read that file. */
export const ROOT: Caller = { id: "root", name: "root", role: "admin", projects: "all" };

/** The unix socket: whoever can open it. */
export const SOCKET: Caller = { id: "socket", name: "socket", role: "admin", projects: "all" };

/** Asks what is open to everybody, or has not been let in. */
export const NOBODY: Caller = { id: "nobody", name: "nobody", role: "viewer", projects: [] };
