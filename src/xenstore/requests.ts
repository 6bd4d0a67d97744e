/**
 * Requests of the wire protocol, as a table: number -> who may, how it stands to transactions, what it does. No row: ENOSYS.
 *
 * A handler answers the reply's payload, or a negative errno. Requests that only Domain 0 may make are refused to others with
 * EACCES; those that are Domain 0's own business in this machine (INTRODUCE and its like happen by function calls) have no handler.
 */
import { Errno } from "../abi/errno.ts";
import { XS } from "../abi/io-xenstore.ts";
import type { Path } from "./path.ts";
import type { Store } from "./store.ts";
import type { Transaction } from "./transaction.ts";
import { onlyString, PAYLOAD_MAX, terminatedStrings, withNuls } from "./wire.ts";

/** What requests can do to the connection that they came by. */
export interface Requester {
  readonly domid: number;
  readonly store: Store;
  parse(path: string): Path | number;
  /** 0, -EINVAL, -EEXIST, -E2BIG. The first event follows. */
  watch(path: string, token: string): number;
  /** 0, -EINVAL, -ENOENT. */
  unwatch(path: string, token: string): number;
  resetWatches(): void;
  /** A new transaction's id, or -ENOSPC. */
  startTransaction(): number;
  endTransaction(txId: number, commit: boolean): number;
}

interface Request {
  readonly requester: Requester;
  /** 0, or the id of an open transaction. */
  readonly txId: number;
  readonly transaction: Transaction;
  readonly payload: string;
}

type Handler = (request: Request) => string | number;

export interface RequestRow {
  readonly name: string;
  readonly handler: Handler | undefined;
  readonly privileged?: boolean;
  /** The transaction id in its header means nothing. */
  readonly outside?: boolean;
}

const OK = "OK\0";
const done = (result: number): string | number => (result < 0 ? result : OK);

/** For requests whose whole payload is one path. */
const onPath =
  (handle: (transaction: Transaction, path: Path) => string | number): Handler =>
  ({ requester, transaction, payload }) => {
    const text = onlyString(payload);
    if (text === undefined) return -Errno.EINVAL;
    const path = requester.parse(text);
    return typeof path === "number" ? path : handle(transaction, path);
  };

const joined = (strings: string[] | number): string | number =>
  typeof strings === "number" ? strings : withNuls(strings);

function write({ requester, transaction, payload }: Request): string | number {
  const end = payload.indexOf("\0");
  if (end < 0) return -Errno.EINVAL;
  const path = requester.parse(payload.slice(0, end));
  return typeof path === "number" ? path : done(transaction.write(path, payload.slice(end + 1)));
}

/** The list of children from a byte offset on, as much as fits, with an empty name at its end. */
function directoryPart({ requester, transaction, payload }: Request): string | number {
  const strings = terminatedStrings(payload);
  if (strings === undefined || strings.length < 2 || !/^\d{1,10}$/.test(strings[1])) return -Errno.EINVAL;
  const path = requester.parse(strings[0]);
  if (typeof path === "number") return path;
  const names = transaction.list(path);
  if (typeof names === "number") return names;
  const generation = `${transaction.listingGeneration(path)}\0`;
  const all = withNuls(names);
  const offset = Number(strings[1]);
  if (offset >= all.length) return `${generation}\0`;
  const room = PAYLOAD_MAX - generation.length - 1;
  if (all.length - offset <= room) return `${generation}${all.slice(offset)}\0`;
  const end = all.lastIndexOf("\0", offset + room - 1) + 1;
  return end > offset ? generation + all.slice(offset, end) : -Errno.E2BIG;
}

function getPermissions(request: Request): string | number {
  const text = onlyString(request.payload);
  if (text?.startsWith("@")) return joined(request.requester.store.specialPermissions(text, request.requester.domid));
  return onPath((transaction, path) => joined(transaction.permissions(path)))(request);
}

function setPermissions({ requester, transaction, payload }: Request): string | number {
  const strings = terminatedStrings(payload);
  if (strings === undefined || strings.length < 2) return -Errno.EINVAL;
  const [text, ...permissions] = strings;
  if (text.startsWith("@")) return done(requester.store.setSpecialPermissions(text, requester.domid, permissions));
  const path = requester.parse(text);
  return typeof path === "number" ? path : done(transaction.setPermissions(path, permissions));
}

const onWatch =
  (handle: (requester: Requester, path: string, token: string) => number): Handler =>
  ({ requester, payload }) => {
    const strings = terminatedStrings(payload);
    if (strings === undefined || strings.length < 2) return -Errno.EINVAL;
    return done(handle(requester, strings[0], strings[1]));
  };

function startTransaction({ requester, txId }: Request): string | number {
  if (txId !== 0) return -Errno.EBUSY;
  const started = requester.startTransaction();
  return started < 0 ? started : `${started}\0`;
}

function endTransaction({ requester, txId, payload }: Request): string | number {
  if (payload !== "T\0" && payload !== "F\0") return -Errno.EINVAL;
  return done(requester.endTransaction(txId, payload === "T\0"));
}

function domidOf(payload: string): number | undefined {
  const text = onlyString(payload);
  return text !== undefined && /^\d{1,5}$/.test(text) && Number(text) <= 0xffff ? Number(text) : undefined;
}

function getDomainPath({ payload }: Request): string | number {
  const domid = domidOf(payload);
  return domid === undefined ? -Errno.EINVAL : `/local/domain/${domid}\0`;
}

function isDomainIntroduced({ requester, payload }: Request): string | number {
  const domid = domidOf(payload);
  if (domid === undefined) return -Errno.EINVAL;
  return requester.store.isIntroduced(domid) ? "T\0" : "F\0";
}

function resetWatches({ requester }: Request): string | number {
  requester.resetWatches();
  return OK;
}

export const REQUESTS: ReadonlyMap<number, RequestRow> = new Map<number, RequestRow>([
  [XS.control, { name: "CONTROL", handler: undefined, privileged: true }],
  [XS.directory, { name: "DIRECTORY", handler: onPath((transaction, path) => joined(transaction.list(path))) }],
  [XS.directoryPart, { name: "DIRECTORY_PART", handler: directoryPart }],
  [XS.read, { name: "READ", handler: onPath((transaction, path) => transaction.read(path)) }],
  [XS.write, { name: "WRITE", handler: write }],
  [XS.mkdir, { name: "MKDIR", handler: onPath((transaction, path) => done(transaction.mkdir(path))) }],
  [XS.rm, { name: "RM", handler: onPath((transaction, path) => done(transaction.remove(path))) }],
  [XS.getPerms, { name: "GET_PERMS", handler: getPermissions }],
  [XS.setPerms, { name: "SET_PERMS", handler: setPermissions }],
  [
    XS.watch,
    { name: "WATCH", handler: onWatch((requester, path, token) => requester.watch(path, token)), outside: true },
  ],
  [
    XS.unwatch,
    { name: "UNWATCH", handler: onWatch((requester, path, token) => requester.unwatch(path, token)), outside: true },
  ],
  [XS.resetWatches, { name: "RESET_WATCHES", handler: resetWatches, outside: true }],
  [XS.transactionStart, { name: "TRANSACTION_START", handler: startTransaction }],
  [XS.transactionEnd, { name: "TRANSACTION_END", handler: endTransaction }],
  [XS.getDomainPath, { name: "GET_DOMAIN_PATH", handler: getDomainPath }],
  [XS.isDomainIntroduced, { name: "IS_DOMAIN_INTRODUCED", handler: isDomainIntroduced, privileged: true }],
  [XS.introduce, { name: "INTRODUCE", handler: undefined, privileged: true }],
  [XS.release, { name: "RELEASE", handler: undefined, privileged: true }],
  [XS.resume, { name: "RESUME", handler: undefined, privileged: true }],
  [XS.setTarget, { name: "SET_TARGET", handler: undefined, privileged: true }],
]);
