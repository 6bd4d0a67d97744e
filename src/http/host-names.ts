/** The names of this service, for Host headers and Origins. */

import { isIP } from "node:net";

export interface HostNamesOptions {
  /** host:port that the service listens on. */
  readonly listen: { readonly host: string; readonly port: number };
  /** Further host names to answer to, with or without a port. */
  readonly hosts?: readonly string[];
}

/** Is `host`, as a Host header has it, one of them? */
export function isOwnName(host: string, { listen, hosts = [] }: HostNamesOptions): boolean {
  const { name, port } = splitHost(host);
  if (hosts.some((known) => known === host || known === name)) return true;
  if (port !== undefined && port !== listen.port) return false;
  if (name === listen.host) return true;
  const bare = name.replace(/^\[|\]$/g, "");
  if (bare === listen.host) return true;
  if (isWildcard(listen.host)) return name === "localhost" || isIP(bare) !== 0;
  return isLoopback(listen.host) && (name === "localhost" || isLoopback(bare));
}

function splitHost(host: string): { name: string; port: number | undefined } {
  const match = /^(.*?)(?::(\d{1,5}))?$/.exec(host.includes("]") || host.split(":").length < 3 ? host : `[${host}]`);
  return { name: (match?.[1] ?? "").toLowerCase(), port: match?.[2] === undefined ? undefined : Number(match[2]) };
}

function isLoopback(address: string): boolean {
  return address === "localhost" || address === "::1" || (isIP(address) === 4 && address.startsWith("127."));
}

function isWildcard(address: string): boolean {
  return address === "0.0.0.0" || address === "::";
}
